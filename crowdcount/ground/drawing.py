"""Drawings of the ground: people per square metre over an image, and a grid of metres that shows a calibration."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.ground.camera import Camera
from crowdcount.ground.homography import Floats
from crowdcount.ground.levels import Levels
from crowdcount.ground.measure import GroundDensity
from crowdcount.images.read import Image
from crowdcount.visualize.captions import as_rgb
from crowdcount.visualize.density import density_colour, overlay, with_density_scale
from crowdcount.visualize.labels import Label, write_labels
from crowdcount.visualize.legend import legend
from crowdcount.visualize.text import Colour, text_size

_STEP: Final = 3
"""Distance in pixels of the places at which a density is looked up."""

_DARK: Final = (20, 20, 20)
_PEAK: Final = (255, 255, 255)
_GRID: Final = (255, 220, 60)
_POST: Final = (90, 230, 255)
_HORIZON: Final = (255, 80, 80)
_MARK: Final = (255, 60, 60)
_SHADE: Final = 0.45
_MOST_LINES: Final = 40
_LEAST_POST: Final = 0.08
"""Height of the shortest post that is drawn, relative to that of the image."""
_FINE: Final = 4
"""Fractional bits of the coordinates passed to cv2."""


def scale_top(levels: Levels) -> float:
    """Return the people per square metre at the top of a colour scale that holds all bands."""
    return max(1.25 * levels.bands[-1][1], 1.0)


def draw_density(image: Image, found: GroundDensity, top: float | None = None) -> Image:
    """Draw people per square metre over an image: the mean of the 3 x 3 m around each place.

    Ground without a density is darkened, the densest patch outlined. Under the image are the scale and the bands.

    Args:
        image: (H, W, 3), or grey (H, W), of the camera.
        found: its densities.
        top: people per square metre at the top of the colour scale; by default as many as there are, or `scale_top`.

    Returns:
        (H + scale and bands, W, 3); wider than the image where the name of a band does not fit.
    """
    drawing = as_rgb(image)
    height, width = drawing.shape[:2]
    levels, densest = found.camera.settings.levels, found.whole.densest
    top = max(scale_top(levels), densest.density if densest else 0.0) if top is None else top
    density, measured = _look_up(found, height, width)
    drawing = overlay(drawing, density, 1, top, smooth=0)
    drawing[~measured] = (drawing[~measured] * _SHADE).astype(np.uint8)
    if densest is not None:
        outline = _square(densest.centre, found.grid.side)
        pixels = _to_drawing(found.camera, found.camera.to_pixels(outline), height, width)
        _lines(drawing, [pixels], _PEAK, closed=True)
        words = f"{densest.density:.2g}/m² ({found.whole.level})"
        left, top_edge = (int(value) for value in np.clip(pixels.min(axis=0), 0, (width - 1, height - 1)))
        right, bottom = (int(value) for value in np.clip(np.ceil(pixels.max(axis=0)), 1, (width, height)))
        spot = ((left + right) / 2, float(top_edge))
        write_labels(drawing, [Label(words, spot, (left, top_edge, right, bottom), _PEAK)])
    drawn = with_density_scale(drawing, top, "people per m², mean of 3 x 3 m")
    return legend(drawn, [*_bands(levels, top), ("no number", (90, 90, 90))])


def draw_grid(image: Image, camera: Camera) -> Image:
    """Draw a grid of metres on the ground, posts as high as heads at its corners, the horizon and the points.

    The grid ends where the errors exceed the limits. Whether the calibration is right is seen by it: lines run along
    straight edges of the ground, and posts end at the heads of people who stand at their feet.

    Args:
        image: (H, W, 3), or grey (H, W), of the camera.
        camera: the camera.
    """
    drawing = as_rgb(image).copy()
    height, width = drawing.shape[:2]
    ground = _measured_ground(camera)
    labels = []
    if len(ground):
        low, high = ground.min(axis=0), ground.max(axis=0)
        step = _round_step(float((high - low).max()))
        for axis in (0, 1):
            for at in np.arange(np.ceil(low[axis] / step), np.floor(high[axis] / step) + 1) * step:
                pieces = list(_visible(camera, _line(axis, at, low, high), height, width))
                _lines(drawing, pieces, _GRID)
                if pieces:
                    x, y = pieces[0][len(pieces[0]) // 2] if axis else pieces[0][-1]
                    box = (int(x), int(y), int(x) + 1, int(y) + 1)
                    labels.append(Label(f"{'xy'[axis]} {at:g} m", (float(x), float(y)), box, _GRID))
        _lines(drawing, list(_posts(camera, low, high, step, height, width)), _POST)
    horizon = _draw_horizon(drawing, camera)
    write_labels(drawing, _spaced([*_draw_points(drawing, camera), *labels], text_size(height, width)))
    return legend(
        drawing,
        [
            ("metres on the ground", _GRID),
            (f"posts of {camera.settings.head_height:g} m", _POST),
            *([("horizon", _HORIZON)] if horizon else []),
            *([] if camera.points is None else [("points", _MARK)]),
        ],
    )


def _look_up(found: GroundDensity, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return people per square metre at each pixel, 0 where they are unknown, and whether they are known."""
    ys, xs = np.arange(_STEP / 2, height + _STEP, _STEP), np.arange(_STEP / 2, width + _STEP, _STEP)
    own_width, own_height = found.camera.pose.size
    pixels = np.stack(np.meshgrid(xs * own_width / width, ys * own_height / height), axis=-1)
    local, measured = found.local, found.camera.measurable(pixels)
    cells = np.rint((np.nan_to_num(found.camera.to_metres(pixels)) - found.grid.origin) / found.grid.cell)
    rows, columns = (np.clip(cells[..., axis], 0, local.shape[1 - axis] - 1).astype(np.int64) for axis in (1, 0))
    known = measured & np.isfinite(local[rows, columns])
    coarse = np.where(known, local[rows, columns], 0).astype(np.float32)
    large = cv2.resize(coarse, None, fx=_STEP, fy=_STEP, interpolation=cv2.INTER_LINEAR)[:height, :width]
    mask = known.repeat(_STEP, axis=0).repeat(_STEP, axis=1)[:height, :width]
    return np.asarray(large, np.float32), mask


def _bands(levels: Levels, top: float) -> list[tuple[str, Colour]]:
    """Return the legend of the bands, each in the colour of its middle."""
    ends = [*(above for _, above in levels.bands), top]
    shown = []
    for (name, low), (_, high) in zip(levels.bands, pairwise(ends), strict=True):
        words = f"{name} above {low:.2g}" if low else f"{name} up to {high:.2g}"
        shown.append((words, density_colour(min((low + high) / 2 / top, 1.0))))
    return [(f"{levels.name}:", (255, 255, 255)), *shown]


def _square(centre: tuple[float, float], side: float) -> Floats:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    # corners between those of the square, as it may reach behind the camera
    return np.concatenate([np.linspace(a, b, 12, endpoint=False) for a, b in pairwise([*corners, corners[0]])]) + centre


def _measured_ground(camera: Camera) -> Floats:
    """Return (N, 2) metres on the ground of a lattice of measured pixels."""
    width, height = camera.pose.size
    lattice = np.stack(np.meshgrid(np.linspace(0, width, 61), np.linspace(0, height, 61)), axis=-1).reshape(-1, 2)
    metres = camera.to_metres(lattice[camera.measurable(lattice)], above=0)
    return metres[np.isfinite(metres).all(axis=1)]


def _round_step(extent: float) -> float:
    steps = (first * 10.0**power for power in range(7) for first in (1, 2, 5))
    return next(step for step in steps if extent / step <= _MOST_LINES)


def _line(axis: int, at: float, low: Floats, high: Floats) -> Floats:
    """Return (N, 2) places along a line of the grid."""
    along = np.linspace(low[1 - axis], high[1 - axis], 400)
    places = np.full((len(along), 2), at)
    places[:, 1 - axis] = along
    return places


def _visible(camera: Camera, places: Floats, height: int, width: int) -> Iterator[Floats]:
    """Yield the parts of a line on the ground, in pixels of the drawing, that are in the image and measured."""
    pixels = camera.to_pixels(places, above=0)
    own = np.nan_to_num(pixels, nan=-1.0)
    seen = ((own >= 0) & (own <= camera.pose.size)).all(axis=1) & camera.measurable(own)
    drawn = _to_drawing(camera, pixels, height, width)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]])))
    for first, last in edges.reshape(-1, 2):
        if last - first > 1:
            yield drawn[first:last]


def _posts(camera: Camera, low: Floats, high: Floats, step: float, height: int, width: int) -> Iterator[Floats]:
    xs, ys = (np.arange(np.ceil(low[axis] / step), np.floor(high[axis] / step) + 1) * step for axis in (0, 1))
    feet = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    bottoms, tops = camera.to_pixels(feet, above=0), camera.to_pixels(feet)
    own = np.nan_to_num(bottoms, nan=-1.0)
    seen = ((own >= 0) & (own <= camera.pose.size)).all(axis=1) & camera.measurable(own) & np.isfinite(tops).all(axis=1)
    ends = np.stack([_to_drawing(camera, each[seen], height, width) for each in (bottoms, tops)], axis=1)
    tall = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) >= _LEAST_POST * height
    yield from ends[tall]


def _spaced(labels: list[Label], text: int) -> list[Label]:
    """Return the labels that are clear of those before them, so that none is moved to where it is wrong."""
    kept: list[Label] = []
    for label in labels:
        apart = (np.abs(np.subtract(label.spot, other.spot)) for other in kept)
        if all(dx > 9 * text or dy > 3 * text for dx, dy in apart):
            kept.append(label)
    return kept


def _draw_horizon(drawing: Image, camera: Camera) -> bool:
    """Draw the horizon and return whether it is in the image."""
    height, width = drawing.shape[:2]
    a, b, c = camera.horizon
    if not np.isfinite(c) or abs(b) <= 1e-9:
        return False
    own_width = camera.pose.size[0]
    ends = _to_drawing(camera, np.array([[0, -c / b], [own_width, -(c + a * own_width) / b]]), height, width)
    _lines(drawing, [ends], _HORIZON)
    return bool(ends[:, 1].max() >= 0 and ends[:, 1].min() < height)


def _draw_points(drawing: Image, camera: Camera) -> list[Label]:
    """Mark the points of the calibration; return their labels."""
    if camera.points is None:
        return []
    height, width = drawing.shape[:2]
    labels = []
    places = _to_drawing(camera, camera.points.pixels, height, width)
    for number, ((x, y), metres) in enumerate(zip(places.tolist(), camera.points.metres.tolist(), strict=True), 1):
        cv2.drawMarker(drawing, (round(x), round(y)), _MARK, cv2.MARKER_CROSS, 24, 3)
        words = f"{number}: {metres[0]:g}, {metres[1]:g} m"
        labels.append(Label(words, (x, y + 30), (int(x), int(y), int(x) + 1, int(y) + 1), _MARK))
    return labels


def _to_drawing(camera: Camera, pixels: Floats, height: int, width: int) -> Floats:
    return pixels * (width / camera.pose.size[0], height / camera.pose.size[1])


def _lines(drawing: Image, lines: list[Floats], colour: Colour, closed: bool = False) -> None:
    """Draw lines (N, 2) in pixels of the drawing with a dark edge."""
    thick = max(1, round(0.0018 * float(np.hypot(*drawing.shape[:2]))))
    limit = 8 * max(drawing.shape)
    points = [np.rint((np.clip(line, -limit, limit) - 0.5) * 2**_FINE).astype(np.int32)[:, None] for line in lines]
    for paint, wide in ((_DARK, thick + 2), (colour, thick)):
        cv2.polylines(drawing, points, closed, paint, wide, cv2.LINE_AA, _FINE)
