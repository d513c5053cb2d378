"""Drawings of densities, points and errors as uint8 RGB arrays; no window is opened.

A density is (h, w) float32, people per block of `stride` x `stride` pixels, from the top left corner of the image.
Smoothing and interpolation affect the display only: captions show the numbers the caller passes.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.geometry import Points, block_counts, inside
from crowdcount.images.read import Image
from crowdcount.visualize.captions import as_rgb, count_text, panel, with_scale

Density = NDArray[np.float32]

_LEAST_TOP: Final = 0.05
EXPRESSION_COLOURS: Final = ((255, 60, 60), (70, 150, 255), (60, 210, 90), (255, 190, 40), (220, 90, 240))


def true_density(points: Points, height: int, width: int, stride: int) -> Density:
    """Count the points in each block of the image, including partial blocks at the right and bottom.

    Returns:
        (ceil(height / stride), ceil(width / stride)) float32, the shape of a prediction.
    """
    rows, columns = -(-height // stride), -(-width // stride)
    return block_counts(points[inside(points, width, height)], rows * stride, columns * stride, stride)


def _check(density: Density, height: int, width: int, stride: int) -> None:
    """Accept ceil(side / stride) blocks, or floor(side / stride), which leaves a remainder uncovered."""
    fits = [n in (side // stride, -(-side // stride)) for n, side in zip(density.shape, (height, width), strict=True)]
    if not all(fits):
        raise InputError(
            f"a density of {density.shape[0]} x {density.shape[1]} blocks of {stride} pixels does not cover an image "
            f"of {height} x {width} pixels; give the image the network saw, and the network's stride"
        )


def _pad(pixels: Density, height: int, width: int) -> Density:
    rest = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]))
    return np.pad(pixels, rest).astype(np.float32, copy=False)


def smooth_density(density: Density, height: int, width: int, stride: int, smooth: float = 1.0) -> Density:
    """Return people per block at every pixel of the image, for display.

    Args:
        density: (h, w) people per block.
        height: image height in pixels.
        width: image width in pixels.
        stride: block side in pixels.
        smooth: standard deviation of a Gaussian, in blocks; 0 shows the blocks as they are.

    Raises:
        InputError: the blocks do not fit the image.
    """
    _check(density, height, width, stride)
    soft = density.astype(np.float32, copy=False)
    if density.size and smooth > 0:
        size = (density.shape[1] * stride, density.shape[0] * stride)
        large = cv2.resize(_blurred(soft, smooth), size, interpolation=cv2.INTER_CUBIC)
    else:
        large = soft.repeat(stride, axis=0).repeat(stride, axis=1)
    return _pad(np.asarray(large, np.float32)[:height, :width], height, width)


def _blurred(density: Density, smooth: float) -> Density:
    if smooth <= 0 or not density.size:
        return density
    soft = cv2.GaussianBlur(density, (0, 0), smooth, borderType=cv2.BORDER_REFLECT)
    return np.asarray(soft, np.float32).reshape(density.shape)


def scale_top(*densities: Density, smooth: float = 1.0) -> float:
    """Return the top of a colour scale shared by all the densities: their largest smoothed value.

    It is at least 0.05 people per block, so that traces in an empty image do not look like a crowd. Pass it to the
    drawings that are to be compared.
    """
    soft = [_blurred(density.astype(np.float32, copy=False), smooth) for density in densities]
    return max([_LEAST_TOP, *(float(np.abs(values).max(initial=0)) for values in soft)])


def heat_map(
    density: Density, height: int, width: int, stride: int, top: float | None = None, smooth: float = 1.0
) -> Image:
    """Draw a density as a heat map with a colour scale in people per block under it.

    Args:
        density: (h, w) people per block.
        height: image height in pixels.
        width: image width in pixels.
        stride: block side in pixels.
        top: people per block at the end of the scale; without it, the largest value.
        smooth: see `smooth_density`.

    Returns:
        (height + scale, width, 3).

    Raises:
        InputError: the blocks do not fit the image.
    """
    top = top or scale_top(density, smooth=smooth)
    values = smooth_density(density, height, width, stride, smooth)
    return with_density_scale(_coloured(values / top, _turbo()), top, f"people per {stride}x{stride} px block")


def overlay(
    image: Image, density: Density, stride: int, top: float | None = None, smooth: float = 1.0, strength: float = 0.75
) -> Image:
    """Blend a heat map of a density over its image; the image stays visible where the density is low.

    Args:
        image: (H, W, 3), or grey (H, W).
        density: (h, w) people per block.
        stride: block side in pixels.
        top: people per block at the end of the colour scale; without it, the largest value.
        smooth: see `smooth_density`.
        strength: opacity from a fifth of the scale upwards, 0 to 1.

    Raises:
        InputError: the blocks do not fit the image.
    """
    base = as_rgb(image)
    height, width = base.shape[:2]
    share = smooth_density(density, height, width, stride, smooth) / (top or scale_top(density, smooth=smooth))
    opacity = strength * np.clip(5 * share, 0, 1)[..., None]
    mixed: NDArray[np.float64] = base * (1 - opacity) + _coloured(share, _turbo()) * opacity
    return np.rint(mixed).astype(np.uint8)


def image_bytes(image: Image, suffix: str = ".png", options: Sequence[int] = ()) -> bytes:
    """Encode an image (H, W, 3) in the format of a file suffix; `options` are OpenCV's `IMWRITE_...`."""
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), options)
    assert done, f"OpenCV writes every uint8 image as {suffix}"
    return data.tobytes()


def draw_points(image: Image, points: Points, colour: tuple[int, int, int] = (255, 60, 60)) -> Image:
    """Mark points with dots, which are smaller where points are dense.

    Args:
        image: (H, W, 3), or grey (H, W).
        points: (N, 2); those outside are not drawn.
        colour: RGB of the dots; their edge is dark.
    """
    marked = as_rgb(image).copy()
    height, width = image.shape[:2]
    seen = points[inside(points, width, height)]
    sizes = _dot_sizes(seen, height, width)
    for edge, paint in ((True, (20, 20, 20)), (False, colour)):
        for (x, y), radius in zip(seen.tolist(), sizes.tolist(), strict=True):
            centre = (round(x * 16 - 8), round(y * 16 - 8))
            drawn = 1.3 * radius + 0.4 if edge else radius
            cv2.circle(marked, centre, round(drawn * 16), paint, -1, cv2.LINE_AA, 4)
    return marked


def expression_panel(image: Image, found: Sequence[tuple[str, Points, int | None]]) -> Image:
    """Mark the points found for each expression, in one captioned image per expression.

    Args:
        image: (H, W, 3), or grey (H, W).
        found: expression, (K, 2) predicted points, and the true count or None.
    """
    pairs = zip(found, cycle(EXPRESSION_COLOURS), strict=False)
    return panel([expression_drawing(image, *each, colour) for each, colour in pairs])


def expression_drawing(
    image: Image, text: str, points: Points, true: int | None, colour: tuple[int, int, int]
) -> tuple[str, Image]:
    """Return a caption and the image with the points found for one expression; see `expression_panel`."""
    return f"{text}: {count_text(len(points), true)}", draw_points(as_rgb(image), points, colour)


def _dot_sizes(points: Points, height: int, width: int) -> NDArray[np.float64]:
    """Return the radius of each dot in pixels: a fraction of the distance to the neighbouring points."""
    longest = max(height, width)
    cell = max(1, round(longest / 24))
    around = true_density(points, height, width, cell)
    column, row = (points // cell).astype(np.int64).T
    spacing: NDArray[np.float64] = cell / np.sqrt(around[row, column].astype(np.float64))
    return np.clip(0.15 * spacing, 1.2, max(1.2, 0.005 * longest))


def with_density_scale(image: Image, top: float, label: str) -> Image:
    """Put the colour scale of densities under a drawing, from 0 to `top`; see `with_scale`."""
    return with_scale(image, _turbo(), (0.0, top), label)


def density_colour(share: float) -> tuple[int, int, int]:
    """Return the RGB colour at a share of the scale of densities, from 0 to 1."""
    red, green, blue = _coloured(np.array([share]), _turbo())[0].tolist()
    return red, green, blue


def error_map(
    predicted: Density,
    true: Density,
    height: int,
    width: int,
    stride: int,
    top: float | None = None,
    smooth: float = 1.0,
) -> Image:
    """Draw predicted minus true people (red: too many, blue: too few, white: equal) over a symmetric colour scale.

    Args:
        predicted: (h, w) people per block.
        true: (h, w) people per block.
        height: image height in pixels.
        width: image width in pixels.
        stride: block side in pixels.
        top: people per block at the ends of the scale; without it, the largest difference.
        smooth: see `smooth_density`.

    Returns:
        (height + scale, width, 3).

    Raises:
        InputError: the densities differ in shape, or the blocks do not fit the image.
    """
    if predicted.shape != true.shape:
        raise InputError(f"the predicted density is {predicted.shape}, the true one {true.shape}; use one stride")
    difference = predicted.astype(np.float32, copy=False) - true
    top = top or scale_top(difference, smooth=smooth)
    values = smooth_density(difference, height, width, stride, smooth)
    colours = _blue_to_red()
    label = f"predicted - true, per {stride}x{stride} px block"
    return with_scale(_coloured((values / top + 1) / 2, colours), colours, (-top, top), label)


def _turbo() -> Image:
    """Colour table (256, 3) of densities."""
    ramp = np.arange(256, dtype=np.uint8)
    return np.asarray(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO), np.uint8).reshape(256, 3)[:, ::-1]


def _blue_to_red() -> Image:
    """Colour table (256, 3) of signed errors."""
    stops = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]])
    where = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), where, stops[:, channel]) for channel in range(3)]
    table: NDArray[np.float64] = np.stack(channels, axis=1)
    return np.rint(table).astype(np.uint8)


def _coloured(share: NDArray[np.floating], colours: Image) -> Image:
    """Look up values in [0, 1], clipped, in a table of 256 colours."""
    image: Image = colours[np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)]
    return image
