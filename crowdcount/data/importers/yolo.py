"""YOLO: one text file per image with a box per line, in fractions of the image."""

from pathlib import Path
from typing import Any

import yaml

from crowdcount.bounded_yaml import parse_yaml
from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.errors import InputError
from crowdcount.files import read_text
from crowdcount.json_fields import as_number

_FIELDS = "class x y w h"
_LISTS = ("classes.txt", "obj.names")
"""Files with a class name per line: of LabelImg, and of CVAT and Darknet."""


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the box centres of YOLO label files, which are fractions of width and height.

    A line is `class x y w h`, with the centre x, y; a sixth number (a confidence) is ignored. Lines with seven or more
    numbers are outlines and are skipped. Class names are read from `classes.txt`, `obj.names` or `data.yaml` beside the
    labels or up to two folders above; otherwise the label of a class is its number. Images without a label file are not
    imported, since they may be empty or not annotated. Text files without an image (`train.txt`, `README.txt`) are not
    labels and are skipped.

    Args:
        path: label file, or folder of label files, including subfolders.
        choice: selection of the shapes.

    Raises:
        InputError: if no image has a label file, or one is damaged; the message names file, line and value.
    """
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in path.rglob("*.txt") if file.name not in _LISTS) or [path] * path.is_file()
    if not files:
        raise InputError(f"{path}: no .txt file of labels, nor a folder with some")
    labels = [file for file in files if choice.images is None or file.stem in choice.images]
    for _ in range(len(files) - len(labels)):
        choice.leave("text file without an image of its name")
    if not labels:
        raise InputError(
            f"{files[0]}: no image has this name, nor that of another of the {len(files)} .txt files; "
            "give the folder of images with --images"
        )
    names = _names(folder)
    # The ending of the image is not known here: `ImageFolder.find` looks for any.
    return [
        Annotated(
            file.relative_to(folder).with_suffix("").as_posix(), _heads(file, names, choice), str(file), None, True
        )
        for file in labels
    ]


def _heads(file: Path, names: dict[int, str], choice: Choice) -> list[tuple[float, float]]:
    lines = enumerate(read_text(file).splitlines(), 1)
    return [point for i, line in lines if line.strip() for point in _head(f"{file}: line {i}", line, names, choice)]


def _head(place: str, line: str, names: dict[int, str], choice: Choice) -> list[tuple[float, float]]:
    values = [as_number(f"{place}: value {i}", word) for i, word in enumerate(line.split(), 1)]
    if len(values) < 5 or values[0] != int(values[0]) or values[0] < 0:
        raise InputError(f"{place} is {line[:80]!r}, expected the numbers {_FIELDS!r} of one box; correct it")
    if not choice.wants(names.get(int(values[0]), str(int(values[0])))):
        return []
    if len(values) > 6:
        return choice.leave("outline")
    x, y = values[1:3]
    if not (-1 <= x <= 2 and -1 <= y <= 2):
        raise InputError(f"{place}: centre {x:g} {y:g} is no fraction of the image; are these pixels?")
    return choice.take("box centre", [(x, y)])


def _names(folder: Path) -> dict[int, str]:
    """Return the class names by number, from the nearest file that has them."""
    for place in (folder, folder.parent, folder.parent.parent):
        for listed in (place / name for name in _LISTS):
            if listed.is_file():
                return {i: line.strip() for i, line in enumerate(read_text(listed).splitlines()) if line.strip()}
        if (place / "data.yaml").is_file():
            return _yaml_names(place / "data.yaml")
    return {}


def _yaml_names(file: Path) -> dict[int, str]:
    try:
        table: Any = parse_yaml(read_text(file))
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not readable as YAML ({error}); correct it there") from error
    names = table.get("names") if isinstance(table, dict) else None
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else None
    if pairs is None:
        kind = type(names).__name__
        raise InputError(f"{file}: 'names' is of type {kind}, expected a list, or a name for each number")
    return {int(as_number(f"{file}: names", key)): _class_name(file, name) for key, name in pairs}


def _class_name(file: Path, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise InputError(f"{file}: 'names' holds a {type(value).__name__}, expected the name of a class; correct it")
    return str(value)
