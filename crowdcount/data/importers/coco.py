"""COCO: one JSON file with images, categories and annotations."""

from pathlib import Path
from typing import Any

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.errors import InputError
from crowdcount.files import read_json
from crowdcount.json_fields import as_list, as_numbers, as_object, as_text, get, image_size

_Category = tuple[str, list[str]]  # name, names of its keypoints


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read one head from each annotation of a COCO file.

    The head of an annotation is, in this order: its `points` (not part of COCO; a list of x, y pairs, as written by
    some tools, may hold several heads); its keypoint, if its category has a single one or `choice.keypoint` selects
    one; the centre of its `bbox` (x, y, width, height). Visible (2) and hidden (1) keypoints are imported, unmarked
    ones (0) are skipped. Regions with `iscrowd` are skipped.

    Args:
        path: the file.
        choice: selection of the shapes.

    Raises:
        InputError: if the file is missing or damaged, or no category has `choice.keypoint`; the message names file,
            entry and value.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the .json file with images and annotations")
    table = as_object(f"{path}: the top", read_json(path))
    images, categories = _images(path, table), _categories(path, table)
    _check_keypoint(path, categories, choice)
    heads: dict[Any, list[tuple[float, float]]] = {key: [] for key in images}
    for i, value in enumerate(as_list(f"{path}: 'annotations'", get(str(path), table, "annotations"))):
        place = f"{path}: annotation {i}"
        entry = as_object(place, value)
        image = get(place, entry, "image_id")
        if not _known(image, images):
            raise InputError(f"{place}: image_id {image!r} is not among the images; correct it or take it out")
        heads[image] += _heads(place, entry, categories, choice)
    return [Annotated(name, heads[key], f"{path}: image {name!r}", size) for key, (name, size) in images.items()]


def _images(path: Path, table: dict[str, Any]) -> dict[Any, tuple[str, tuple[int, int] | None]]:
    """Return name and size of the images by id."""
    images: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    for i, value in enumerate(as_list(f"{path}: 'images'", get(str(path), table, "images"))):
        place = f"{path}: image {i}"
        entry = as_object(place, value)
        key, name = get(place, entry, "id"), as_text(f"{place}: file_name", get(place, entry, "file_name"))
        if not isinstance(key, int | str) or key in images:
            raise InputError(f"{place}: id {key!r} is no number or text of its own; give each image another id")
        width, height = entry.get("width"), entry.get("height")
        size = None if width is None or height is None else image_size(place, width, height)
        images[key] = name.replace("\\", "/"), size
    return images


def _categories(path: Path, table: dict[str, Any]) -> dict[Any, _Category]:
    categories: dict[Any, _Category] = {}
    for i, value in enumerate(as_list(f"{path}: 'categories'", table.get("categories", []))):
        place = f"{path}: category {i}"
        entry = as_object(place, value)
        key, name = get(place, entry, "id"), as_text(f"{place}: name", get(place, entry, "name"))
        if not isinstance(key, int | str) or key in categories:
            raise InputError(f"{place}: id {key!r} is no number or text of its own; give each category another id")
        parts = as_list(f"{place}: keypoints", entry.get("keypoints") or [])
        categories[key] = name, [str(part) for part in parts]
    return categories


def _check_keypoint(path: Path, categories: dict[Any, _Category], choice: Choice) -> None:
    known = dict.fromkeys(part for _, parts in categories.values() for part in parts)
    if choice.keypoint is not None and choice.keypoint not in known:
        shown = ", ".join(map(repr, known)) or "none"
        raise InputError(f"{path}: no category has the keypoint {choice.keypoint!r}; there are {shown}")


def _known(key: object, table: dict[Any, Any]) -> bool:
    return isinstance(key, int | str) and key in table


def _heads(
    place: str, entry: dict[str, Any], categories: dict[Any, _Category], choice: Choice
) -> list[tuple[float, float]]:
    key = get(place, entry, "category_id")
    if categories and not _known(key, categories):
        raise InputError(f"{place}: category_id {key!r} is not among the categories; correct it or take it out")
    label, parts = categories[key] if categories else (str(key), [])
    if not choice.wants(label):
        return []
    if entry.get("iscrowd"):
        return choice.leave("region of a crowd (iscrowd)")
    if entry.get("points"):
        values = enumerate(as_list(f"{place}: points", entry["points"]))
        rows = [as_numbers(f"{place}: points[{i}]", value, 2) for i, value in values]
        return choice.take("point", [(x, y) for x, y in rows])
    index = _keypoint_index(place, entry, label, parts, choice)
    if index is not None:
        return _keypoint(place, entry["keypoints"], index, choice)
    if entry.get("bbox"):
        x, y, width, height = as_numbers(f"{place}: bbox", entry["bbox"], 4)
        if min(width, height) < 0:
            raise InputError(f"{place}: bbox {entry['bbox']} has a negative side; boxes are x, y, width, height")
        return choice.take("box centre", [(x + width / 2, y + height / 2)])
    return choice.leave("annotation without point, keypoint and box")


def _keypoint_index(place: str, entry: dict[str, Any], label: str, parts: list[str], choice: Choice) -> int | None:
    """Return the index of the keypoint of the head; None without keypoints, or if none of several is selected."""
    if not entry.get("keypoints"):
        return None
    if choice.keypoint is None:
        return 0 if len(as_list(f"{place}: keypoints", entry["keypoints"])) == 3 else None
    if choice.keypoint not in parts:
        raise InputError(
            f"{place}: category {label!r} has no keypoint {choice.keypoint!r}, only {', '.join(parts) or 'nameless'}"
        )
    return parts.index(choice.keypoint)


def _keypoint(place: str, value: object, index: int, choice: Choice) -> list[tuple[float, float]]:
    values = as_list(f"{place}: keypoints", value)
    if len(values) < 3 * index + 3 or len(values) % 3:
        raise InputError(
            f"{place}: {len(values)} numbers in keypoints, expected x, y, visibility of each; correct them"
        )
    x, y, visibility = as_numbers(f"{place}: keypoint {index}", values[3 * index : 3 * index + 3], 3)
    if visibility not in (0, 1, 2):
        raise InputError(f"{place}: keypoint {index} has visibility {visibility:g}, expected 0, 1 or 2; correct it")
    return (
        choice.leave("keypoint that nobody marked (visibility 0)")
        if not visibility
        else choice.take("keypoint", [(x, y)])
    )
