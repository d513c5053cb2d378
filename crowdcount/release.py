"""A model as a folder to pass on: one safetensors file that says what it is, and a card for people."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file

from crowdcount.download import require_space
from crowdcount.errors import InputError
from crowdcount.zoo import Model, ReferringModel

WEIGHTS = "model.safetensors"
CARD = "README.md"


def save_release(model: Model | ReferringModel, folder: Path, name: str) -> Path:
    """Write `model.safetensors`, which `crowdcount.load_model` reads without any other file, and a model card.

    The file's metadata are texts: `name`, `config` (YAML: network, inference, size rule), `preprocessing` and `origin`
    (JSON). The same model gives the same bytes.

    Args:
        model: what to write.
        folder: where to; made if it is not there.
        name: what the model is called from now on.

    Returns:
        The file of the weights.

    Raises:
        InputError: the folder holds a release already, or the disk is too small.
    """
    path, card = folder / WEIGHTS, folder / CARD
    for file in (path, card):
        if file.exists():
            raise InputError(f"{file}: is there already; give another folder, or remove it")
    # safetensors refuses tensors that share memory
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, sum(value.nbytes for value in state.values()))
    part, card_part = folder / f"{WEIGHTS}.part", folder / f"{CARD}.part"
    try:
        save_file(state, part, metadata=_metadata(model, name))
        _sort_header(part)
        card_part.write_text(model_card(model, name), encoding="utf-8")
        part.replace(path)
        card_part.replace(card)
    finally:
        part.unlink(missing_ok=True)
        card_part.unlink(missing_ok=True)
    return path


def preprocessing(model: Model | ReferringModel) -> dict[str, Any]:
    """Return what an image has to go through before the network sees it, and what the network makes of its sides."""
    data = model.config.get("data", {})
    network = model.network
    sides = {key: getattr(network, key) for key in ("stride", "multiple") if hasattr(network, key)}
    return {
        "color": "RGB, divided by 255",
        "mean": list(network.mean),
        "std": list(network.std),
        "size_rule": data.get("resize") or data.get("short_side"),
        **sides,
    }


def model_card(model: Model | ReferringModel, name: str) -> str:
    """Return a card in the form of the Hugging Face hub: a head that machines read, and what people should know."""
    origin = model.origin
    lines = [
        f"# {name}",
        f"{_purpose(model)}, with the Python package crowdcount:",
        _usage(model),
        "## Figures",
        _figures(origin),
        "## Preprocessing",
        f"```json\n{json.dumps(preprocessing(model), indent=2)}\n```",
        "## Terms",
        f"- Licence of the authors' code: {_shown(origin.get('code_license'))}",
        f"- Licence of the weights: {_shown(origin.get('weights_license'))}",
        f"- Data they were trained on: {_shown(origin.get('data_terms'))}",
        "## Where they come from",
        f"```json\n{json.dumps(origin, indent=2)}\n```",
    ]
    return f"---\n{yaml.safe_dump(_head(origin), sort_keys=False)}---\n\n" + "\n\n".join(lines) + "\n"


def _metadata(model: Model | ReferringModel, name: str) -> dict[str, str]:
    return {
        "format": "pt",
        "name": name,
        "config": yaml.safe_dump(model.config, sort_keys=False),
        "preprocessing": json.dumps(preprocessing(model)),
        "origin": json.dumps(model.origin),
        "crowdcount": version("crowdcount-zoo"),
    }


def _sort_header(path: Path) -> None:
    """Bring the names in a safetensors file into order: the library writes the metadata in a random one."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
        assert len(text) == size, "the same names and numbers take the same room"
        file.seek(8)
        file.write(text)


def _head(origin: dict[str, Any]) -> dict[str, Any]:
    licence = origin.get("weights_license") or origin.get("code_license")
    known = licence not in (None, "NONE")
    return {
        "library_name": "crowdcount",
        "license": str(licence).lower() if known else "other",
        "tags": ["crowd-counting", "pytorch"],
    }


def _purpose(model: Model | ReferringModel) -> str:
    referring = isinstance(model, ReferringModel)
    return "Counts what an expression names in a photograph" if referring else "Counts people in photographs of crowds"


def _usage(model: Model | ReferringModel) -> str:
    asked = ', ["person in red"]' if isinstance(model, ReferringModel) else ""
    return (
        "```python\nimport crowdcount\nfrom crowdcount.data import read_image\n\n"
        f'model = crowdcount.load_model("{WEIGHTS}")\nmodel.predict(read_image("photo.jpg"){asked})\n```'
    )


def _figures(origin: dict[str, Any]) -> str:
    rows = [("reported", each, each["source"]) for each in origin.get("reported", ())]
    rows += [("measured", each, f"`{each['command']}`") for each in origin.get("measured", ())]
    if not rows:
        return "None are known: nobody has measured these weights yet."
    table = ["| | data | MAE | RMSE | source |", "|---|---|---|---|---|"]
    table += [
        f"| {kind} | {each['data']} | {_shown(each['mae'])} | {_shown(each['rmse'])} | {source} |"
        for kind, each, source in rows
    ]
    return "\n".join(table)


def _shown(value: object) -> str:
    return "not known" if value is None else "none is stated" if value == "NONE" else str(value)
