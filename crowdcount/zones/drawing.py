"""Zones on their photograph: outlines, a light tint, and labels with the counts."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import sqrt
from typing import Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from crowdcount.images.read import Image
from crowdcount.visualize.captions import as_rgb
from crowdcount.visualize.labels import Box, Label, roomy_spot, write_labels
from crowdcount.visualize.text import Colour
from crowdcount.zones.zone import Zone

_COLOURS: Final = (
    (255, 190, 40),
    (70, 170, 255),
    (255, 90, 80),
    (80, 220, 110),
    (230, 120, 255),
    (60, 225, 225),
    (255, 140, 60),
    (190, 215, 60),
)
_DARK: Final = (20, 20, 20)
_TINT: Final = 0.2
_FINE: Final = 4
"""Bits for the fraction of a pixel in coordinates that cv2 is given."""

_Rings = list[NDArray[np.int32]]
"""(N, 1, 2) outlines in 1 / 16 pixel, in cv2's frame: whole numbers are centres of pixels."""


def draw_zones(
    image: Image, zones: Sequence[Zone], counts: Mapping[str, float], size: tuple[int, int] | None = None
) -> Image:
    """Outline and tint every zone, and write its name and count on it.

    Args:
        image: (H, W, 3), or grey (H, W): the upright photograph, or a picture of it at another size.
        zones: in the order of drawing, in colours that repeat after eight. What reaches beyond the picture is cut off.
        counts: people by the name of the zone, integers written as such and others with one decimal; a zone that is
            not in it is labelled with its name alone.
        size: height and width in pixels of the photograph that the zones are drawn for, where the picture has another.

    Returns:
        (H, W, 3), a new picture.

    Raises:
        InputError: a mask is of another size than the photograph, or nothing of a zone is inside it.

    Example:
        >>> image = np.zeros((240, 320, 3), np.uint8)
        >>> draw_zones(image, [Zone("entrance", shapely.box(10, 20, 150, 220))], {"entrance": 12.34}).shape
        (240, 320, 3)
    """
    picture = as_rgb(image).copy()
    size = size or (picture.shape[0], picture.shape[1])
    for zone in zones:
        zone.check(*size)
    labels, outlines = [], []
    for zone, colour in zip(zones, cycle(_COLOURS), strict=False):
        region, rings = _shape(zone, size, *picture.shape[:2])
        left, top, wide, high = cv2.boundingRect(region)
        box = (left, top, left + wide, top + high)
        _tint(picture, region, box, colour)
        labels.append(Label(_words(zone.name, counts), roomy_spot(region), box, colour))
        outlines.append((rings, colour))
    _draw_lines(picture, outlines)
    write_labels(picture, labels)
    return picture


def _shape(zone: Zone, size: tuple[int, int], height: int, width: int) -> tuple[NDArray[np.uint8], _Rings]:
    """Return the pixels (H, W) of the picture that are in the zone, not 0, and its outlines."""
    if isinstance(zone.area, np.ndarray):
        mask = cv2.resize(zone.area.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        return np.asarray(mask, np.uint8), [np.asarray(contour, np.int32) << _FINE for contour in contours]
    region, rings = np.zeros((height, width), np.uint8), _rings(zone.area, size, height, width)
    cv2.fillPoly(region, rings, 1, cv2.LINE_8, _FINE)
    return region, rings


def _rings(area: Polygon | MultiPolygon, size: tuple[int, int], height: int, width: int) -> _Rings:
    # A little more than the photograph: its own border is no outline, and cv2 counts in 32 bits.
    frame = shapely.box(0, 0, size[1], size[0]).buffer(max(size), join_style="mitre")
    parts = [part for part in shapely.get_parts(shapely.intersection(area, frame)) if isinstance(part, Polygon)]
    lines = [shapely.get_coordinates(line) for part in parts for line in (part.exterior, *part.interiors)]
    scale = width / size[1], height / size[0]
    return [np.rint((line * scale - 0.5) * 2**_FINE).astype(np.int32)[:, None] for line in lines]


def _tint(picture: Image, region: NDArray[np.uint8], box: Box, colour: Colour) -> None:
    cut = (slice(box[1], box[3]), slice(box[0], box[2]))
    part, held = picture[cut], region[cut] > 0
    mixed = cv2.addWeighted(part, 1 - _TINT, np.full_like(part, colour), _TINT, 0)
    part[held] = np.asarray(mixed)[held]


def _draw_lines(picture: Image, outlines: Sequence[tuple[_Rings, Colour]]) -> None:
    """Draw all outlines, the dark edges of all of them first."""
    line = max(1, round(0.0028 * sqrt(picture.shape[0] * picture.shape[1])))
    for rings, _ in outlines:
        cv2.polylines(picture, rings, True, _DARK, line + 2 * max(1, line // 2), cv2.LINE_AA, _FINE)
    for rings, colour in outlines:
        cv2.polylines(picture, rings, True, colour, line, cv2.LINE_AA, _FINE)


def _words(name: str, counts: Mapping[str, float]) -> str:
    if name not in counts:
        return name
    count = counts[name]
    return f"{name}: {count}" if isinstance(count, int) else f"{name}: {count:.1f}"
