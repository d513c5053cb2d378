"""VGG Image Annotator (VIA), versions 1 and 2: the exports as JSON and CSV, and project files."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.errors import InputError
from crowdcount.files import read_json, read_text
from crowdcount.json_fields import as_number, as_object, as_text, get

_Region = tuple[str, dict[str, Any], dict[str, Any]]  # location, shape, attributes
_CENTRES = {
    "point": ("cx", "cy", "", ""),
    "circle": ("cx", "cy", "", ""),
    "ellipse": ("cx", "cy", "", ""),
    "rect": ("x", "y", "width", "height"),
}
"""Keys of the position and, if this is a corner, of the sides, by shape."""


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the points, and the centres of rectangles, circles and ellipses of VIA; other shapes are skipped.

    The label of a region is the first of its attributes that is chosen, or else the first. VIA does not state the size
    of images. Images without regions are taken for images without people.

    Args:
        path: the `.json` or `.csv` file.
        choice: selection of the shapes.

    Raises:
        InputError: if the file is missing or damaged; the message names file, region and value.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; export the annotations of VIA as JSON or CSV")
    regions = _csv_regions(path) if path.suffix.lower() == ".csv" else _json_regions(path)
    heads: dict[str, list[tuple[float, float]]] = {}
    for name, region in regions:
        heads.setdefault(name, []).extend([] if region is None else _heads(*region, choice))
    return [Annotated(name, points, f"{path}: image {name!r}") for name, points in heads.items()]


def _json_regions(path: Path) -> Iterator[tuple[str, _Region | None]]:
    """Yield the image and each of its regions, and once None."""
    table = as_object(f"{path}: the top", read_json(path))
    for key, value in as_object(f"{path}: images", table.get("_via_img_metadata", table)).items():
        place = f"{path}: {key!r}"
        entry = as_object(place, value)
        name = as_text(f"{place}: filename", get(place, entry, "filename"))
        yield name, None
        regions = get(place, entry, "regions")
        for i, each in enumerate(regions.values() if isinstance(regions, dict) else regions or []):
            here = f"{place}, region {i}"
            region = as_object(here, each)
            shape = as_object(f"{here}: shape_attributes", get(here, region, "shape_attributes"))
            yield name, (here, shape, as_object(here, region.get("region_attributes") or {}))


def _csv_regions(path: Path) -> Iterator[tuple[str, _Region | None]]:
    first, *lines = read_text(path).splitlines() or [""]
    header = [word.strip().strip('"').lstrip("#") for word in first.split(",")]
    reader = csv.DictReader(lines, header, restval="")
    try:
        for row in reader:
            place = f"{path}: line {reader.line_num + 1}"
            name = as_text(f"{place}: filename", get(place, row, "filename"))
            yield name, None
            shape = _parse(place, get(place, row, "region_shape_attributes"))
            if shape:
                yield name, (place, shape, _parse(place, get(place, row, "region_attributes")))
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num + 1} is not readable as CSV ({error}); correct it") from error


def _parse(place: str, text: str) -> dict[str, Any]:
    try:
        return as_object(place, json.loads(text or "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: {text[:80]!r} is no JSON object ({error}); correct it") from error


def _heads(place: str, shape: dict[str, Any], attributes: dict[str, Any], choice: Choice) -> list[tuple[float, float]]:
    # An attribute is a text, or an object of options that are ticked.
    texts = [text for value in attributes.values() for text in (value if isinstance(value, dict) else [str(value)])]
    chosen = [text for text in texts if text in choice.labels]
    if not choice.wants((chosen or texts or [""])[0]):
        return []
    kind = str(shape.get("name"))
    if kind not in _CENTRES:
        return choice.leave(kind)
    x, y, width, height = (
        as_number(f"{place}: {key}", get(place, shape, key)) if key else 0.0 for key in _CENTRES[kind]
    )
    return choice.take("point" if kind == "point" else "box centre", [(x + width / 2, y + height / 2)])
