"""Label Studio: the export named "JSON", a list of tasks."""

import math
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.data.importers.image_matching import UPLOADED
from crowdcount.errors import InputError
from crowdcount.files import read_json
from crowdcount.images.read import IMAGE_SUFFIXES
from crowdcount.json_fields import as_list, as_number, as_object, get, image_size


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the keypoints and rectangle centres of a Label Studio export; other shapes are skipped.

    Coordinates are percentages of `original_width` and `original_height`. A rectangle is given by its top left corner,
    about which it is rotated clockwise by `rotation` degrees.

    Args:
        path: the file.
        choice: selection of the shapes.

    Raises:
        InputError: if the file is missing or damaged, or a task has several annotations or a rotated image; the message
            names file, task, result and value.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; export the project as JSON")
    tasks = as_list(f"{path}: the top", read_json(path))
    return [_read_task(f"{path}: task {i}", value, choice) for i, value in enumerate(tasks)]


def _read_task(place: str, value: object, choice: Choice) -> Annotated:
    task = as_object(place, value)
    if "data" not in task:
        raise InputError(f'{place}: has no "data"; export the project as "JSON", not as "JSON-MIN"')
    name, uploaded = _image_name(place, as_object(f"{place}: data", task["data"]))
    points: list[tuple[float, float]] = []
    sizes: set[tuple[int, int]] = set()
    for i, result in enumerate(_results(place, task)):
        size, heads = _heads(f"{place} ({name}), result {i}", as_object(f"{place}: result {i}", result), choice)
        points += heads
        sizes |= {size} if size else set()
    if len(sizes) > 1:
        raise InputError(f"{place} ({name}): results state several sizes of the image, {sorted(sizes)}; correct them")
    return Annotated(name, points, f"{place} ({name})", min(sizes, default=None), uploaded=uploaded)


def _image_name(place: str, data: dict[str, Any]) -> tuple[str, bool]:
    """Return the image of a task, which is a path, an address or a local file after `?d=`, and whether it is an upload.

    Label Studio prefixes the name of an uploaded file with eight hexadecimal digits and replaces blanks by `_`.
    """
    texts = [value for value in data.values() if isinstance(value, str)]
    shown = [data["image"]] if isinstance(data.get("image"), str) else [t for t in texts if _file(place, t)]
    if len(shown) != 1 or not _file(place, shown[0]):
        raise InputError(f"{place}: data names {len(shown)} images, expected one in its 'image'; got {str(data)[:80]}")
    name, uploaded = _file(place, shown[0]), "/upload/" in shown[0]
    return UPLOADED.sub("", name, count=1) if uploaded else name, uploaded


def _file(place: str, address: str) -> str:
    """Return the path in an image address; empty if there is none."""
    try:
        parts = urlparse(address.replace("\\", "/"))
    except ValueError as error:
        raise InputError(f"{place}: {address[:80]!r} is no address of an image ({error}); correct it") from error
    local = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    name = local if parts.scheme == "" and "/upload/" not in local else local.rsplit("/", 1)[-1]
    return name.lstrip("/") if name.lower().endswith(IMAGE_SUFFIXES) else ""


def _results(place: str, task: dict[str, Any]) -> list[Any]:
    """Return the results of the only annotation, or of the one marked as ground truth."""
    all_of_them = as_list(f"{place}: annotations", get(place, task, "annotations"))
    entries = [as_object(f"{place}: annotation {i}", value) for i, value in enumerate(all_of_them)]
    entries = [entry for entry in entries if not entry.get("was_cancelled")]
    true = [entry for entry in entries if entry.get("ground_truth")]
    chosen = true or entries
    if len(chosen) != 1:
        raise InputError(
            f"{place}: has {len(chosen)} annotations, expected one; finish the task, or mark one as ground truth"
        )
    return as_list(f"{place}: result", get(place, chosen[0], "result"))


def _heads(
    place: str, result: dict[str, Any], choice: Choice
) -> tuple[tuple[int, int] | None, list[tuple[float, float]]]:
    """Return the size of the image and the heads, at most one, of a result."""
    kind = str(result.get("type"))
    value = as_object(f"{place}: value", result.get("value", {}))
    labels = value.get(kind)
    if not choice.wants(str(labels[0]) if isinstance(labels, list) and labels else ""):
        return None, []
    if kind not in ("keypointlabels", "keypoint", "rectanglelabels", "rectangle"):
        return None, choice.leave(kind)
    if as_number(f"{place}: image_rotation", result.get("image_rotation", 0)):
        # The documentation does not say whether coordinates refer to the image before or after it is turned.
        raise InputError(
            f"{place}: image_rotation is {result['image_rotation']}; turn the image file itself, set the rotation back "
            "in Label Studio and export again"
        )
    size = image_size(place, get(place, result, "original_width"), get(place, result, "original_height"))
    if kind.startswith("keypoint"):
        return size, choice.take("point", [_pixels(place, value, size, "x", "y")])
    return size, choice.take("box centre", [_centre(place, value, size)])


def _pixels(place: str, value: dict[str, Any], size: tuple[int, int], *keys: str) -> tuple[float, float]:
    x, y = (
        as_number(f"{place}: {key}", get(place, value, key)) * side / 100 for key, side in zip(keys, size, strict=True)
    )
    return x, y


def _centre(place: str, value: dict[str, Any], size: tuple[int, int]) -> tuple[float, float]:
    x, y = _pixels(place, value, size, "x", "y")
    width, height = _pixels(place, value, size, "width", "height")
    angle = math.radians(as_number(f"{place}: rotation", value.get("rotation", 0)))
    across, down = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    return x + (width * across[0] + height * down[0]) / 2, y + (width * across[1] + height * down[1]) / 2
