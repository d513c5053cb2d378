"""Releases: a model as a folder with one self-describing safetensors file and a model card."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from crowdcount import __version__
from crowdcount.errors import InputError
from crowdcount.files import atomic_write, umask
from crowdcount.inference.model import CrowdModel
from crowdcount.weights.download import file_sha256, require_space
from crowdcount.zoo.intervals import intervals_file
from crowdcount.zoo.models import RELEASE, check_name

CARD = "README.md"


def save_release(model: CrowdModel, folder: Path, name: str, half: bool = False) -> Path:
    """Write `model.safetensors`, which `crowdcount.load_model` reads without any other file, and a model card.

    The file's metadata are strings: `name`, `config` (YAML: network, inference, size rule), `preprocessing` and
    `origin` (JSON). The same model gives the same bytes. Intervals of the model are written beside the
    file, but not with `half`, which changes the counts.

    Args:
        model: model to write.
        folder: target folder, created if missing.
        name: name of the released model.
        half: store the weights as float16, in half the space; they are converted back to float32 when loaded.

    Returns:
        Path of the weights file.

    Raises:
        InputError: the name is no short line of text, the folder already holds a release, the disk is full, or a
            weight is too large for float16.
    """
    check_name(name, "name")
    path, card = folder / RELEASE, folder / CARD
    for file in (path, card):
        if file.exists():
            raise InputError(f"{file}: already exists; give another folder, or remove it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder")
    # safetensors rejects tensors that share memory
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.network.state_dict().items()}
    if half:
        state = {key: _halved(key, value) for key, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, sum(value.nbytes for value in state.values()))
    part = folder / f"{RELEASE}.part"
    try:
        save_file(state, part, metadata=_metadata(model, name))
        _sort_header(part)
        atomic_write(card, model_card(model, name))
        part.chmod(0o666 & ~umask())  # safetensors lets nobody but the owner read what it writes
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if model.intervals is not None and not half:
        replace(model.intervals, sha256=file_sha256(path)).save(intervals_file(path))
    return path


def _halved(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    rounded = value.half()
    if not torch.isfinite(rounded).all():
        raise InputError(f"{key}: holds numbers too large for float16; save the model without --half")
    return rounded


def preprocessing(model: CrowdModel) -> dict[str, Any]:
    """Return the preprocessing of an image, and the stride and size divisor of the network."""
    data = model.config.get("data", {})
    network = model.network
    sides = {key: getattr(network, key) for key in ("stride", "size_divisor") if hasattr(network, key)}
    return {
        "color": "RGB, divided by 255",
        "mean": list(network.mean),
        "std": list(network.std),
        "size_rule": data or None,
        **sides,
    }


def model_card(model: CrowdModel, name: str) -> str:
    """Return a model card for the Hugging Face hub: a YAML header, then usage, figures, preprocessing and terms."""
    origin = model.origin
    lines = [
        f"# {name}",
        _purpose(model),
        _usage(model),
        *_adapted(origin),
        "## Figures",
        _figures(origin),
        "## Preprocessing",
        f"```json\n{json.dumps(preprocessing(model), indent=2)}\n```",
        "## Terms",
        _terms(origin),
        "## Where they come from",
        f"```json\n{json.dumps(origin, indent=2)}\n```",
    ]
    return f"---\n{yaml.safe_dump(_head(origin), sort_keys=False)}---\n\n" + "\n\n".join(lines) + "\n"


def _metadata(model: CrowdModel, name: str) -> dict[str, str]:
    return {
        "format": "pt",
        "name": name,
        "config": yaml.safe_dump(without_folders(model.config), sort_keys=False),
        "preprocessing": json.dumps(preprocessing(model)),
        "origin": json.dumps(model.origin),
        "crowdcount": __version__,
    }


def without_folders(value: Any) -> Any:
    """Return a configuration with file names in place of paths of this machine (`pretrained: /home/me/start.pth`)."""
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    # a configuration of another system is not told apart from text; what is written here comes from this one
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _sort_header(path: Path) -> None:
    """Sort the names in a safetensors header: the library writes the metadata in random order."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
        assert len(text) == size, "the same names and numbers take the same space"
        file.seek(8)
        file.write(text)


def _head(origin: dict[str, Any]) -> dict[str, Any]:
    # the hub reads this as the licence of the weights, not of the code
    licence = origin.get("weights_license")
    stated = {"license": licence.lower()} if licence else {"license": "other", "license_name": "see-terms-below"}
    return {"library_name": "crowdcount", **stated, "tags": ["crowd-counting", "pytorch"]}


def _purpose(model: CrowdModel) -> str:
    arguments = _network(model).get("init_args", {})
    backbone = arguments.get("backbone") or arguments.get("detector")
    base = f" on `{backbone}`" if backbone else ""
    outside = _outside_package(model)
    beside = f" and with `{outside}`, which has the network" if outside else ""
    return (
        f"Counts {model.subject} in images; the network is `{_class_path(model)}`{base}. It runs with the Python "
        "package `crowdcount` of the distribution `crowdcount-zoo` (`crowdcount` on PyPI is another project)"
        f"{beside}:"
    )


def _network(model: CrowdModel) -> dict[str, Any]:
    """Return class path and arguments of the network, as far as the model was built from a configuration."""
    network: dict[str, Any] = model.config.get("model", {}).get("init_args", {}).get("network", {})
    return network


def _class_path(model: CrowdModel) -> str:
    own = type(model.network)
    return str(_network(model).get("class_path", f"{own.__module__}.{own.__name__}"))


def _outside_package(model: CrowdModel) -> str | None:
    """Return the package, not ours, that has to be imported before the model can be loaded."""
    package = _class_path(model).split(".")[0]
    return None if package == "crowdcount" else package


def _usage(model: CrowdModel) -> str:
    outside = _outside_package(model)
    imports = "import crowdcount\n" + (f"import {outside}\n" if outside else "")
    return (
        f"```python\n{imports}from crowdcount.data import read_image\n\n"
        f'model = crowdcount.load_model("{RELEASE}")\nmodel.{model.example}\n```'
    )


def _adapted(origin: dict[str, Any]) -> list[str]:
    """Return a section about what a model was adapted from, if it was, and on how many frames."""
    about = origin.get("adapted")
    if about is None:
        return []
    rows = [f"| {level} | {each['mae']:.2f} | {each['bias']:+.2f} |" for level, each in about["held_out"].items()]
    table = ["| level | MAE | mean of predicted - true |", "|---|--:|--:|", *rows]
    text = (
        f"From `{about['from']}` to {about['frames']} frames with {about['labels']} of `{about['data']}`, by "
        f"`crowdcount adapt`: level `{about['level']}` ({about['changed']}). Errors of the counts of those frames, "
        f"held out in {about['parts']} parts: each was counted by a model that learned from the other parts."
    )
    return ["## Adapted", text, "\n".join(table)]


def _figures(origin: dict[str, Any]) -> str:
    rows = [("reported", each, each["source"]) for each in origin.get("reported", ())]
    rows += [("measured", each, f"`{each['command']}`") for each in origin.get("measured", ())]
    lines = [
        f"| {kind} | {each['data']} | {_shown(each['mae'])} | {_shown(each['rmse'])} | {source} |"
        for kind, each, source in rows
    ]
    if lines:
        lines = ["| | data | MAE | RMSE | source |", "|---|---|---|---|---|", *lines]
    scores = [f"Its training validated {name} as {value:.2f}." for name, value in origin.get("validation", {}).items()]
    return "\n".join(lines + scores) or "None are known."


def _terms(origin: dict[str, Any]) -> str:
    """Return the terms of weights in the index; for other weights, those who publish them must state the terms."""
    if "code_license" not in origin:
        data = origin.get("trained_on") or "unnamed data"
        return f"Trained on `{data}`. When you publish these weights, state their licence and the terms of the data."
    terms = [
        f"- Licence of the authors' code: {_shown(origin['code_license'])}",
        f"- Licence of the weights: {_shown(origin.get('weights_license'))}",
        f"- Data they were trained on: {_shown(origin.get('data_terms'))}",
    ]
    return "\n".join([*terms, *(f"- {note}" for note in [origin.get("notes")] if note)])


def _shown(value: object) -> str:
    return "not known" if value is None else "none is stated" if value == "NONE" else str(value)
