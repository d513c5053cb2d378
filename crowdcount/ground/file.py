"""The camera file: YAML or JSON with the size of the image and what is known of the camera over the ground.

    image: {width: 1920, height: 1080}
    points:                                   # four or more, on the ground
      - {pixel: [412, 655], metres: [0, 0]}
      - {pixel: [1530, 640], metres: [12, 0]}
      - {pixel: [1320, 380], metres: [12, 20]}
      - {pixel: [560, 385], metres: [0, 20]}

and, if it is known, focal_length in pixels, field_of_view (horizontal, degrees) or height of the camera in metres.
Without points: height and two of tilt (degrees below level; with roll), horizon (a row, or two pixels), and the lens.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from crowdcount.bounded_yaml import parse_yaml
from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.files import read_json, read_text
from crowdcount.ground.calibrate import Pixel, camera_of_horizon, camera_of_points, camera_of_tilt
from crowdcount.ground.camera import Camera, GroundPoints, Settings
from crowdcount.ground.levels import NAMED, Levels
from crowdcount.ground.pose import Size, focal_of_view
from crowdcount.json_fields import as_list, as_number, as_numbers, as_object, as_text, get, image_size
from crowdcount.local_path import local_path

_NUMBERS: Final = tuple(each.name for each in fields(Settings) if each.name != "levels")
_LENS: Final = ("focal_length", "field_of_view")
_POSE: Final = ("height", "tilt", "roll", "horizon")
_KEYS: Final = ("image", "points", *_LENS, *_POSE, *_NUMBERS, "levels")


def read_camera(path: Path | str) -> Camera:
    """Read a camera file.

    Raises:
        InputError: it is missing or damaged, a key is unknown, missing or contradicts another, or the camera cannot be
            had from what it says. The message names file and key.
    """
    file = local_path(path)
    try:
        return _camera(as_object("the top", _content(file)))
    except InputError as error:
        text = str(error)
        raise error if text.startswith(str(file)) else InputError(f"{file}: {text}", file) from error


def _content(file: Path) -> object:
    if file.suffix.lower() == ".json":
        return read_json(file, unique=True)
    if file.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"{file}: a camera file is .yaml or .json")
    try:
        return parse_yaml(read_text(file))
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not readable as YAML ({' '.join(str(error).split())}); correct it") from error


def _camera(table: dict[str, Any]) -> Camera:
    for key in table:
        if key not in _KEYS:
            raise InputError(f"has an unknown key {key!r}; there are {', '.join(_KEYS)}")
    image = as_object("image", get("a camera file", table, "image"))
    size = image_size("image", get("image", image, "width"), get("image", image, "height"))
    numbers = {key: as_number(key, value) for key, value in table.items() if key in (*_NUMBERS, *_LENS, *_POSE[:3])}
    settings = Settings(
        **{key: number for key, number in numbers.items() if key in _NUMBERS},
        levels=_levels(table.get("levels", "walking")),
    )
    _check_pose(numbers)
    focal = _focal(numbers, size)
    if "points" in table:
        return _of_points(table, numbers, focal, size, settings)
    return _of_pose(table, numbers, focal, size, settings)


def _of_points(
    table: Mapping[str, Any], numbers: Mapping[str, float], focal: float | None, size: Size, settings: Settings
) -> Camera:
    known = [key for key in (*_LENS, "height") if key in numbers]
    surplus = [key for key in ("tilt", "roll", "horizon") if key in table] or known[1:]
    if surplus:
        raise InputError(
            f"{surplus[0]}: follows from the points; beside them give one of focal_length, field_of_view, height"
        )
    rows = [_point(f"points[{number}]", value) for number, value in enumerate(as_list("points", table["points"]), 1)]
    pixels, metres = (np.array([row[part] for row in rows], np.float64).reshape(-1, 2) for part in (0, 1))
    return camera_of_points(size, GroundPoints(pixels, metres), focal, numbers.get("height"), settings)


def _of_pose(
    table: Mapping[str, Any], numbers: Mapping[str, float], focal: float | None, size: Size, settings: Settings
) -> Camera:
    given = [focal is not None, "tilt" in table, "horizon" in table]
    if "height" not in table or sum(given) != 2:
        raise InputError(
            "give points; or the height of the camera and two of tilt, horizon and lens (focal_length or field_of_view)"
        )
    if "horizon" not in table:
        assert focal is not None
        return camera_of_tilt(size, numbers["height"], focal, numbers["tilt"], numbers.get("roll", 0.0), settings)
    if "roll" in table:
        raise InputError("roll: follows from the horizon; give two pixels of it")
    horizon = _horizon(table["horizon"], size)
    return camera_of_horizon(size, numbers["height"], horizon, focal, numbers.get("tilt"), settings)


def _check_pose(numbers: Mapping[str, float]) -> None:
    if "height" in numbers:
        check_number("height", numbers["height"], 0, above=True, hint="in metres")
    if "tilt" in numbers:
        check_number("tilt", numbers["tilt"], -45, 90, hint="degrees below level")
    if "roll" in numbers:
        check_number("roll", numbers["roll"], -90, 90, hint="degrees")


def _focal(numbers: Mapping[str, float], size: Size) -> float | None:
    if set(_LENS) <= set(numbers):
        raise InputError("field_of_view: is another word for focal_length; give one of them")
    if "focal_length" in numbers:
        check_number("focal_length", numbers["focal_length"], 0, above=True, hint="in pixels")
        return numbers["focal_length"]
    if "field_of_view" not in numbers:
        return None
    check_number("field_of_view", numbers["field_of_view"], 1, 170, hint="degrees from the left to the right edge")
    return focal_of_view(size, numbers["field_of_view"])


def _point(place: str, value: object) -> tuple[list[float], list[float]]:
    entry = as_object(place, value)
    pixel, metres = get(place, entry, "pixel"), get(place, entry, "metres")
    return as_numbers(f"{place}: pixel", pixel, 2), as_numbers(f"{place}: metres", metres, 2)


def _horizon(value: object, size: Size) -> tuple[Pixel, Pixel]:
    if not isinstance(value, list):
        row = as_number("horizon", value)
        return (0.0, row), (float(size[0]), row)
    ends = as_list("horizon", value)
    if len(ends) != 2:
        raise InputError(f"horizon: {str(value)[:80]} is neither a row nor two pixels [[x1, y1], [x2, y2]]")
    (x1, y1), (x2, y2) = (as_numbers(f"horizon[{number}]", end, 2) for number, end in enumerate(ends))
    return (x1, y1), (x2, y2)


def _levels(value: object) -> Levels:
    if isinstance(value, str):
        if value not in NAMED:
            raise InputError(f"levels: {value!r} is none of {', '.join(NAMED)}; or give names and densities")
        return NAMED[value]
    table = as_object("levels", value)
    bands = [(as_text("levels", name), as_number(f"levels.{name}", above)) for name, above in table.items()]
    return Levels("own", tuple(bands))
