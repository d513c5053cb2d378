"""Releases: a model as a folder with one self-describing safetensors file, `config.json` and a model card.

The folder is what the Hugging Face hub expects of a model: https://huggingface.co/docs/hub/models-uploading.
"""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from crowdcount import __version__
from crowdcount.errors import InputError
from crowdcount.files import atomic_write, is_file, read_json, umask, write_error
from crowdcount.inference.card import model_card
from crowdcount.inference.model import CrowdModel
from crowdcount.inference.preprocessing import preprocessing
from crowdcount.intervals.file import intervals_file
from crowdcount.weights.download import file_sha256, require_space
from crowdcount.weights.hub import HubAddress, upload

RELEASE: Final = "model.safetensors"
"""Name of the weights file in the folder of a release."""
CONFIG: Final = "config.json"
CARD: Final = "README.md"
_LONGEST_NAME: Final = 200
_LONGEST_CONFIG: Final = 1 << 20


def save_release(
    model: CrowdModel, folder: Path, name: str | None = None, half: bool = False, address: str | None = None
) -> Path:
    """Write `model.safetensors`, which `crowdcount.load_model` reads without any other file, and what describes it.

    The file's metadata are strings: `name`, `config` (YAML: network, inference, size rule), `preprocessing` and
    `origin` (JSON). The same model gives the same bytes. Beside it are `config.json` (the same for other programs, with
    the SHA-256 of the weights) and `README.md`, a model card. Intervals of the model are written beside the file, but
    not with `half`, which changes the counts. Whatever interrupts it, the folder holds all of them or no model.

    Args:
        model: model to write.
        folder: target folder, created if missing.
        name: name of the released model; None takes that of its weights in the index, or the folder's.
        half: store the weights as float16, in half the space; they are converted back to float32 when loaded.
        address: address that the model will have, for the example in the card; None shows how to load the file.

    Returns:
        Path of the weights file.

    Raises:
        InputError: the name is no short line of text, the folder already holds a release or cannot be written to, the
            disk is full, or a weight is too large for float16.
    """
    name = name or str(model.origin.get("name") or folder.resolve().name)
    check_name(name, "name")
    path, config, card = (folder / each for each in (RELEASE, CONFIG, CARD))
    for file in (path, config, card, intervals_file(path)):
        if file.exists():
            raise InputError(f"{file}: already exists; give another folder, or remove it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder")
    # safetensors rejects tensors that share memory
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.network.state_dict().items()}
    if half:
        state = {key: _halved(key, value) for key, value in state.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_space(folder, sum(value.nbytes for value in state.values()))
        with TemporaryDirectory(prefix=".release-", dir=folder) as stage:
            _write(model, name, state, Path(stage), address or RELEASE, half)
            _give_names(Path(stage), folder)
    except OSError as error:
        raise write_error(folder, error) from error
    return path


def _write(model: CrowdModel, name: str, state: dict[str, Tensor], folder: Path, address: str, half: bool) -> None:
    """Write all files of a release."""
    path = folder / RELEASE
    try:
        save_file(state, path, metadata=_metadata(model, name))
    except SafetensorError as error:
        raise _system_error(error) from error
    _sort_header(path)
    path.chmod(0o666 & ~umask())  # safetensors lets nobody but the owner read what it writes
    digest = file_sha256(path)
    atomic_write(folder / CARD, model_card(model, name, address, intervals=not half))
    atomic_write(folder / CONFIG, json.dumps(_description(model, name, path, digest), indent=2) + "\n")
    if model.intervals is not None and not half:
        replace(model.intervals, sha256=digest).save(intervals_file(path))


def _system_error(error: SafetensorError) -> OSError:
    """Return the error of the system that safetensors tells in words alone, such as that the disk is full."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(0, str(error)) if number is None else OSError(int(number[1]), os.strerror(int(number[1])))


def _give_names(stage: Path, folder: Path) -> None:
    """Move the files of a release to its folder, the weights last: whatever interrupts it, no model lacks its files."""
    moved: list[Path] = []
    try:
        for file in sorted(stage.iterdir(), key=lambda each: each.name == RELEASE):
            moved.append(folder / file.name)
            file.rename(moved[-1])
    except BaseException:
        for path in moved:
            path.unlink(missing_ok=True)
        raise


def with_terms(model: CrowdModel, license: str | None = None, data_terms: str | None = None) -> CrowdModel:
    """Return a model whose card states the licence of its weights (SPDX) and the terms of its training data.

    Raises:
        InputError: the licence is no SPDX identifier.
    """
    if license is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}", license):
        raise InputError(f"license: {license[:80]!r} is no SPDX identifier, such as MIT or CC-BY-NC-4.0")
    stated = {"weights_license": license, "data_terms": data_terms}
    return replace(model, origin=model.origin | {key: value for key, value in stated.items() if value is not None})


def push_release(
    model: CrowdModel,
    address: HubAddress,
    message: str,
    private: bool | None = None,
    token: str | None = None,
    create_pr: bool = False,
    half: bool = False,
) -> str:
    """Upload a release to the Hugging Face hub and return the address of its page; see `CrowdModel.push_to_hub`.

    Raises:
        InputError: the licence of the weights is not known and the upload is not private, the hub refuses it, or there
            is no connection.
    """
    HubAddress.parse(str(address))  # a repository may be named in Python
    if not private and not model.origin.get("weights_license"):
        raise InputError(
            f"{address}: the licence of the weights is not known; state it (license=..., --license), with the terms of "
            "the data they were trained on (data_terms=..., --data-terms), or upload privately (private=True, "
            "--private)"
        )
    with TemporaryDirectory() as folder:
        save_release(model, Path(folder) / "release", address.repository, half, address=str(address))
        return upload(Path(folder) / "release", address, message, private, token, create_pr)


def check_release(path: Path) -> None:
    """Check weights against the `config.json` beside them, if that is of a release; configurations of others pass.

    Raises:
        InputError: they are not the file that it states, or it is damaged.
    """
    config = path.with_name(CONFIG)
    if not is_file(config) or path.name != RELEASE:
        return
    if config.stat().st_size > _LONGEST_CONFIG:
        raise InputError(f"{config}: is too large ({config.stat().st_size} bytes) for a description of a model")
    content = read_json(config)
    stated = content.get("weights") if isinstance(content, dict) else None
    if not isinstance(stated, dict) or "sha256" not in stated:
        return
    if (found := file_sha256(path)) != stated["sha256"]:
        raise InputError(
            f"{path}: is not the file that its {CONFIG} describes: SHA-256 {found} ({path.stat().st_size} bytes) "
            f"instead of {str(stated['sha256'])[:64]}; copy or download the folder again"
        )


def check_name(name: str, key: str) -> None:
    """Check that the name of a model is a line of text, as it stands in tables and messages.

    Raises:
        InputError: the name is too long, empty, or has characters that are not shown.
    """
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        raise InputError(f"{key}: {name[:40]!r} ({len(name)} characters) should be 1 to {_LONGEST_NAME} visible ones")


def without_folders(value: Any) -> Any:
    """Return a configuration with file names in place of paths of this machine (`pretrained: /home/me/start.pth`)."""
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    # a configuration of another system is not told apart from text; what is written here comes from this one
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _halved(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    rounded = value.half()
    if not torch.isfinite(rounded).all():
        raise InputError(f"{key}: holds numbers too large for float16; save the model without --half")
    return rounded


def _metadata(model: CrowdModel, name: str) -> dict[str, str]:
    return {
        "format": "pt",
        "name": name,
        "config": yaml.safe_dump(without_folders(model.config), sort_keys=False),
        "preprocessing": json.dumps(preprocessing(model)),
        "origin": json.dumps(model.origin),
        "crowdcount": __version__,
    }


def _description(model: CrowdModel, name: str, weights: Path, digest: str) -> dict[str, Any]:
    """Return the content of `config.json`. The hub counts downloads by its requests; loading needs the hash alone."""
    return {
        "library_name": "crowdcount",
        "crowdcount": __version__,
        "name": name,
        **without_folders(model.config),
        "preprocessing": preprocessing(model),
        "weights": {"file": RELEASE, "sha256": digest, "bytes": weights.stat().st_size},
    }


def _sort_header(path: Path) -> None:
    """Sort the names in a safetensors header: the library writes the metadata in random order."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
        assert len(text) == size, "the same names and numbers take the same space"
        file.seek(8)
        file.write(text)
