"""Drawing of zones on their image: outlines, a light tint, and labels with the counts."""

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
from crowdcount.intervals.calibration import Interval
from crowdcount.visualize.captions import as_rgb, interval_text
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
"""Fractional bits of the coordinates passed to cv2."""

_Rings = list[NDArray[np.int32]]
"""(N, 1, 2) outlines in 1/16 pixel, in cv2's frame: whole numbers are pixel centres."""


def draw_zones(
    image: Image,
    zones: Sequence[Zone],
    counts: Mapping[str, float],
    size: tuple[int, int] | None = None,
    intervals: Mapping[str, Interval] | None = None,
) -> Image:
    """Outline and tint each zone, and write its name and count on it.

    Args:
        image: (H, W, 3), or grey (H, W): the upright image, or a drawing of it at another size.
        zones: zones in drawing order, in colours that repeat after eight. Parts beyond the image are cut off.
        counts: people by zone name; integers are written as such, floats with one decimal. A zone without an entry is
            labelled with its name alone.
        size: height and width in pixels of the image that the zones refer to; by default those of `image`.
        intervals: intervals of the counts by zone name, written beside them.

    Returns:
        (H, W, 3), a copy.

    Raises:
        InputError: a mask differs in size from the image, or a zone lies outside the image.

    Example:
        >>> image = np.zeros((240, 320, 3), np.uint8)
        >>> draw_zones(image, [Zone("entrance", shapely.box(10, 20, 150, 220))], {"entrance": 12.34}).shape
        (240, 320, 3)
    """
    drawing = as_rgb(image).copy()
    size = size or (drawing.shape[0], drawing.shape[1])
    for zone in zones:
        zone.check(*size)
    labels, outlines = [], []
    for zone, colour in zip(zones, cycle(_COLOURS), strict=False):
        region, rings = _shape(zone, size, *drawing.shape[:2])
        left, top, wide, high = cv2.boundingRect(region)
        box = (left, top, left + wide, top + high)
        _tint(drawing, region, box, colour)
        labels.append(Label(_words(zone.name, counts, intervals or {}), roomy_spot(region), box, colour))
        outlines.append((rings, colour))
    _draw_lines(drawing, outlines)
    write_labels(drawing, labels)
    return drawing


def _shape(zone: Zone, size: tuple[int, int], height: int, width: int) -> tuple[NDArray[np.uint8], _Rings]:
    """Return a mask (H, W) of the pixels in the zone, nonzero inside, and its outlines."""
    if isinstance(zone.area, np.ndarray):
        mask = cv2.resize(zone.area.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        return np.asarray(mask, np.uint8), [np.asarray(contour, np.int32) << _FINE for contour in contours]
    region, rings = np.zeros((height, width), np.uint8), _rings(zone.area, size, height, width)
    cv2.fillPoly(region, rings, 1, cv2.LINE_8, _FINE)
    return region, rings


def _rings(area: Polygon | MultiPolygon, size: tuple[int, int], height: int, width: int) -> _Rings:
    # Clip slightly outside the image: its border is not an outline, and cv2 uses 32-bit coordinates.
    frame = shapely.box(0, 0, size[1], size[0]).buffer(max(size), join_style="mitre")
    parts = [part for part in shapely.get_parts(shapely.intersection(area, frame)) if isinstance(part, Polygon)]
    lines = [shapely.get_coordinates(line) for part in parts for line in (part.exterior, *part.interiors)]
    scale = width / size[1], height / size[0]
    return [np.rint((line * scale - 0.5) * 2**_FINE).astype(np.int32)[:, None] for line in lines]


def _tint(drawing: Image, region: NDArray[np.uint8], box: Box, colour: Colour) -> None:
    cut = (slice(box[1], box[3]), slice(box[0], box[2]))
    part, held = drawing[cut], region[cut] > 0
    mixed = cv2.addWeighted(part, 1 - _TINT, np.full_like(part, colour), _TINT, 0)
    part[held] = np.asarray(mixed)[held]


def _draw_lines(drawing: Image, outlines: Sequence[tuple[_Rings, Colour]]) -> None:
    """Draw all outlines, starting with all dark edges."""
    line = max(1, round(0.0028 * sqrt(drawing.shape[0] * drawing.shape[1])))
    for rings, _ in outlines:
        cv2.polylines(drawing, rings, True, _DARK, line + 2 * max(1, line // 2), cv2.LINE_AA, _FINE)
    for rings, colour in outlines:
        cv2.polylines(drawing, rings, True, colour, line, cv2.LINE_AA, _FINE)


def _words(name: str, counts: Mapping[str, float], intervals: Mapping[str, Interval]) -> str:
    if name not in counts:
        return name
    count = counts[name]
    if name in intervals:
        return f"{name}: {interval_text(count, intervals[name])}"
    return f"{name}: {count}" if isinstance(count, int) else f"{name}: {count:.1f}"
