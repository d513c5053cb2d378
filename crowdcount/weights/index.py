"""Index of downloadable weights: address, hash, authors, licence and accuracy.

An entry is called NAME.TAG: the name of a configuration of the zoo (or of pretrained weights) and its author.
"""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from crowdcount.errors import InputError

Format = Literal["torch", "safetensors", "torchscript", "text"]
"""Formats of files; `torch` and `torchscript` are read without running code in them, `text` is a vocabulary."""


_PACKAGE: Final = "package:"
_CLOSED: Final = ConfigDict(extra="forbid")


@with_config(_CLOSED)
@dataclass(frozen=True)
class Reported:
    """Figures of a model reported by a publication.

    Attributes:
        data: data set and split, such as `nwpu/test`.
        mae: mean absolute error.
        rmse: root of the mean squared error (papers call it MSE).
        source: publication, with table or page.
    """

    data: str
    mae: float | None
    rmse: float | None
    source: str


@with_config(_CLOSED)
@dataclass(frozen=True)
class Measured:
    """Figures measured by `crowdcount evaluate` with exactly these weights; never written by hand.

    Attributes:
        data: data set and split.
        images: number of images.
        mae: mean absolute error.
        rmse: root of the mean squared error.
        nae: mean error relative to the true count, over images with people.
        protocol: size rule and windows.
        command: command that reproduces the figures.
        commit: commit of this project.
        date: YYYY-MM-DD.
    """

    data: str
    images: int
    mae: float
    rmse: float
    nae: float | None
    protocol: str
    command: str
    commit: str | None
    date: str


@with_config(_CLOSED)
@dataclass(frozen=True)
class WeightEntry:
    """One downloadable file. None stands for unknown values.

    Attributes:
        name: NAME.TAG.
        config: configuration of the zoo the weights belong to; None for pretrained backbones and vocabularies.
        arguments: arguments of the network that differ from the configuration's.
        urls: addresses of the file in order of preference; empty if it can only be downloaded in a browser, from
            `page`. `package:NAME` is a file that comes with the package.
        page: web page that describes or offers the file.
        sha256: SHA-256 of the file at `urls`.
        bytes: size of the file at `urls`.
        format: format of the weights.
        member: name of the weights in the archive at `urls` (a pattern such as *.pth); None if it is not an archive.
        code_license: SPDX identifier of the authors' code, NONE if they state no licence.
        weights_license: SPDX identifier of the weights, if one is stated.
        data_terms: terms of the training data.
        code: address of the authors' code.
        paper: address of the paper.
        reported: figures reported by publications.
        measured: figures measured by `crowdcount evaluate`.
        notes: further remarks.
    """

    name: str
    config: str | None
    arguments: dict[str, Any]
    urls: tuple[str, ...]
    page: str | None
    sha256: str | None
    bytes: int | None
    format: Format
    member: str | None
    code_license: str | None
    weights_license: str | None
    data_terms: str | None
    code: str | None
    paper: str | None
    reported: tuple[Reported, ...]
    measured: tuple[Measured, ...]
    notes: str | None

    @property
    def model(self) -> str:
        """Name without the tag."""
        return self.name.rpartition(".")[0]

    @property
    def tag(self) -> str:
        """Author of the weights."""
        return self.name.rpartition(".")[2]

    @property
    def packaged(self) -> Path | None:
        """Path of the file if it comes with the package, otherwise None."""
        names = [url.removeprefix(_PACKAGE) for url in self.urls if url.startswith(_PACKAGE)]
        return Path(__file__).parents[1] / "packaged" / names[0] if names else None


def index_file() -> Path:
    """Return the path of the index: in an installed package, beside the package in a clone."""
    inside = Path(__file__).parents[1] / "weights_index.json"
    return inside if inside.is_file() else inside.parents[1] / inside.name


@cache
def read_index(path: Path | None = None) -> dict[str, WeightEntry]:
    """Return the entries of an index by name, by default those of this project's index.

    Raises:
        InputError: if the file is not a valid index; the message names entry and field.
    """
    path = path or index_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, entries = content["schema"], content["weights"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no index of weights ({type(error).__name__}: {error})") from error
    if schema != 1:
        raise InputError(f"{path}: has schema {schema!r}, and this version reads schema 1")
    return {name: _entry(f"{path}: {name}", name, value) for name, value in entries}


def list_weights(pattern: str = "*") -> list[str]:
    """Return the names of the entries that match a shell pattern such as "clip_ebc/*", in the order of the index."""
    return [name for name in read_index() if fnmatchcase(name, pattern)]


def entries_for(model: str) -> list[WeightEntry]:
    """Return the entries of a configuration in order of preference."""
    return [entry for entry in read_index().values() if entry.model == model]


def find_entry(name: str) -> WeightEntry:
    """Return the entry NAME.TAG, or the first of NAME.

    Raises:
        InputError: if there is none; the message lists similar names.
    """
    index = read_index()
    if name in index:
        return index[name]
    if entries := entries_for(name):
        return entries[0]
    close = difflib.get_close_matches(name, [*index, *(entry.model for entry in index.values())], 3, 0.4)
    hint = f"near it: {', '.join(dict.fromkeys(close))}" if close else "crowdcount weights list shows all there are"
    raise InputError(f"{name!r}: the index has no such weights; {hint}")


def terms(entry: WeightEntry) -> str:
    """Return the known licences and terms of the weights in one line."""
    code = {"NONE": "none is stated", None: "not known"}.get(entry.code_license, entry.code_license)
    weights, data = entry.weights_license or "none is stated", entry.data_terms or "terms not known"
    return f"licence of the code: {code}; of the weights: {weights}; trained on: {data}"


def _entry(where: str, name: str, value: Any) -> WeightEntry:
    if not isinstance(value, dict):
        raise InputError(f"{where}: everything is missing")
    value = {key: each for key, each in value.items() if key != "converter"}  # in indexes of earlier versions
    try:
        entry = _schema().validate_json(json.dumps({**value, "name": name}), strict=True)
    except ValidationError as error:
        raise InputError(f"{where}: {'; '.join(map(_problem, error.errors()))}") from error
    _check(where, entry)
    return entry


@cache
def _schema() -> TypeAdapter[WeightEntry]:
    return TypeAdapter(WeightEntry)


def _problem(error: Mapping[str, Any]) -> str:
    simple = {"missing": " is missing", "unexpected_keyword_argument": ": no such key"}
    said = simple.get(error["type"], f": {error['msg']}, got {error['input']}")
    return f"{'.'.join(map(str, error['loc']))}{said}"


def _check(where: str, entry: WeightEntry) -> None:
    if not re.fullmatch(r"\w+/\w+\.\w+", entry.name) or entry.config not in (None, entry.model):
        raise InputError(f"{where}: a name is NAME.TAG, and config is null or NAME; got {entry.config!r}")
    if entry.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        raise InputError(f"{where}: sha256 is {entry.sha256!r}, not 64 hexadecimal digits")
    if entry.bytes is not None and entry.bytes < 1:
        raise InputError(f"{where}: bytes is {entry.bytes}")
    if not all(re.match(rf"https?://|{_PACKAGE}\w+\.safetensors$", url) for url in entry.urls):
        raise InputError(f"{where}: urls are addresses that begin with https://; got {list(entry.urls)}")
    if not entry.urls and entry.page is None:
        raise InputError(f"{where}: without urls there must be a page where a person finds the file")
