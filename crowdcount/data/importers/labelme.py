"""LabelMe: one JSON file per image."""

from pathlib import Path
from typing import Any

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.data.importers.write import TABLE
from crowdcount.errors import InputError
from crowdcount.files import read_json
from crowdcount.json_fields import as_list, as_numbers, as_object, as_text, get, image_size


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the points and rectangle centres of LabelMe files; other shapes are skipped.

    A `points.json` written to the folder by an earlier import is ignored.

    Args:
        path: file, or folder of `.json` files.
        choice: selection of the shapes.

    Raises:
        InputError: if there is no file, or one is damaged; the message names file, shape and value.
    """
    files = [path] * path.is_file()
    if path.is_dir():
        files = sorted(file for file in path.glob("*.json") if not _is_ours(file))
    if not files:
        raise InputError(f"{path}: no .json file of LabelMe, nor a folder with some")
    return [_read_file(file, choice) for file in files]


def _is_ours(file: Path) -> bool:
    """Return whether a file is a point table, not the LabelMe file of an image called `points`."""
    if file.name != TABLE:
        return False
    table = read_json(file)
    return isinstance(table, dict) and "shapes" not in table


def _read_file(file: Path, choice: Choice) -> Annotated:
    table = as_object(f"{file}: the top", read_json(file))
    shapes = as_list(f"{file}: 'shapes'", get(str(file), table, "shapes"))
    points = [point for i, shape in enumerate(shapes) for point in _heads(f"{file}: shape {i}", shape, choice)]
    name = as_text(f"{file}: 'imagePath'", get(str(file), table, "imagePath"))
    width, height = table.get("imageWidth"), table.get("imageHeight")
    size = None if width is None or height is None else image_size(str(file), width, height)
    return Annotated(name.replace("\\", "/"), points, str(file), size)


def _heads(place: str, value: object, choice: Choice) -> list[tuple[float, float]]:
    shape = as_object(place, value)
    if not choice.wants(str(shape.get("label"))):
        return []
    kind = shape.get("shape_type") or "polygon"  # the first versions knew only polygons, and did not say so
    if kind not in ("point", "rectangle"):
        return choice.leave(str(kind))
    corners = _corners(place, shape)
    if kind == "point":
        if len(corners) != 1:
            raise InputError(f"{place}: a point with {len(corners)} positions, expected 1; mark it again")
        return choice.take("point", corners)
    if len(corners) not in (2, 4):  # some editors of the format write all four corners
        raise InputError(f"{place}: a rectangle with {len(corners)} corners, expected 2 or 4; mark it again")
    xs, ys = zip(*corners, strict=True)
    return choice.take("box centre", [((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)])


def _corners(place: str, shape: dict[str, Any]) -> list[tuple[float, float]]:
    values = as_list(f"{place}: 'points'", get(place, shape, "points"))
    rows = [as_numbers(f"{place}: points[{i}]", value, 2) for i, value in enumerate(values)]
    return [(x, y) for x, y in rows]
