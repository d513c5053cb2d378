"""VisDrone: text files of images (DET), of sequences (VID, MOT), and of heads in sequences (CC)."""

from pathlib import Path
from typing import Final

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.data.importers.number_lines import frame_name, read_lines
from crowdcount.errors import InputError

_CATEGORIES: Final = (
    *("ignored regions", "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle"),
    *("awning-tricycle", "bus", "motor", "others"),
)
_PERSONS: Final = ("pedestrian", "people")
_HEADS, _BOXES, _TRACKS = 3, 8, 10  # columns
_FIELDS = "frame,x,y of a head, the 8 numbers of a box in an image, or the 10 of one in a sequence"


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the heads of VisDrone-CC, and the box centres of the other tasks of VisDrone.

    A file of 8 columns is of the image of its name; one of 3 or 10 columns is of the sequence of its name, whose frames
    are the images in a folder of that name. Without `choice.labels`, pedestrians and people are read. Ignored regions
    and boxes of score 0 are skipped. Frames without a line are not in the file.

    Args:
        path: text file, or folder of text files.
        choice: selection of the shapes.

    Raises:
        InputError: if there is no file, or one is damaged; the message names file, line and value.
    """
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path] * path.is_file()
    if not files:
        raise InputError(f"{path}: no .txt file of VisDrone, nor a folder with some")
    return [entry for file in files for entry in _read_file(file, choice)]


def _read_file(file: Path, choice: Choice) -> list[Annotated]:
    images: dict[str, list[tuple[float, float]]] = {}
    alone = choice.images is not None and file.stem in choice.images  # an empty file is of an image, if there is one
    if alone:
        images[file.stem] = []
    for place, values in read_lines(file, (_HEADS, _BOXES, _TRACKS), _FIELDS):
        name = file.stem
        if len(values) != _BOXES:
            name += "/" + frame_name(values[0], choice.images, 5 if len(values) == _HEADS else 7)
        images.setdefault(name, []).extend(_heads(place, values, choice))
    return [Annotated(name, heads, f"{file}: {name}") for name, heads in images.items()]


def _heads(place: str, values: list[float], choice: Choice) -> list[tuple[float, float]]:
    if len(values) == _HEADS:
        return choice.take("point", [(values[1], values[2])]) if choice.wants("head") else []
    left, top, width, height, score, category = values[2:8] if len(values) == _TRACKS else values[:6]
    if category not in range(len(_CATEGORIES)):
        raise InputError(f"{place}: category {category:g} is none of 0 to {len(_CATEGORIES) - 1}; correct it")
    label = _CATEGORIES[int(category)]
    if not choice.wants(label):
        return []
    if not choice.labels and label not in _PERSONS:
        return choice.leave(f"category {label!r}")
    if score == 0:
        return choice.leave("box to be ignored (score 0)")
    return choice.take("box centre", [(left + width / 2, top + height / 2)])
