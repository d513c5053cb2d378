"""CVAT: the export "CVAT for images 1.1", one XML file per task."""

from pathlib import Path
from xml.etree import ElementTree

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.data.importers.xml_file import read_xml
from crowdcount.errors import InputError
from crowdcount.json_fields import as_number, image_size


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the points and box centres of a CVAT export; other shapes are skipped.

    One `points` element may hold several heads.

    Args:
        path: `annotations.xml`, or its folder.
        choice: selection of the shapes.

    Raises:
        InputError: if the file is missing or damaged, or of a video; the message names file, image, shape and value.
    """
    file = path / "annotations.xml" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f'{file}: no such file; export the task as "CVAT for images 1.1"')
    top = read_xml(file)
    if top.find("track") is not None:
        raise InputError(f'{file}: holds tracks of a video; export the task as "CVAT for images 1.1"')
    images = top.findall("image")
    if top.tag != "annotations" or not images:
        raise InputError(f'{file}: lists no images; export the task as "CVAT for images 1.1"')
    return [_read_image(file, i, image, choice) for i, image in enumerate(images)]


def _read_image(file: Path, index: int, image: ElementTree.Element, choice: Choice) -> Annotated:
    name = image.get("name", "")
    if not name.strip():
        raise InputError(f"{file}: image element {index} has no name; export the task again")
    place = f"{file}: image {name!r}"
    size = image_size(place, image.get("width"), image.get("height"))
    points = [point for i, shape in enumerate(image) for point in _heads(f"{place}, shape {i}", shape, choice)]
    return Annotated(name.replace("\\", "/"), points, place, size)


def _heads(place: str, shape: ElementTree.Element, choice: Choice) -> list[tuple[float, float]]:
    label = shape.get("label")
    if label is None:
        raise InputError(f"{place}: {shape.tag} has no label; export the task again")
    if not choice.wants(label):
        return []
    if shape.tag == "points":
        return choice.take("point", [_pair(place, pair) for pair in shape.get("points", "").split(";")])
    if shape.tag == "box":
        left, top, right, bottom = (
            as_number(f"{place}: {key}", shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")
        )
        return choice.take("box centre", [((left + right) / 2, (top + bottom) / 2)])
    return choice.leave(shape.tag)


def _pair(place: str, text: str) -> tuple[float, float]:
    words = text.split(",")
    if len(words) != 2:
        raise InputError(f"{place}: {text[:80]!r} in 'points' is no pair x,y; correct it")
    return as_number(f"{place}: x", words[0]), as_number(f"{place}: y", words[1])
