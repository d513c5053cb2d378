"""Counting an image in one pass, in windows or in tiles: the plan and the merging, whatever runs the network.

Everything here is numbers and numpy arrays. torch and the runtimes of exported models give an `ImageRunner` each.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.resize import SizeRule
from crowdcount.inference.prediction import Prediction
from crowdcount.inference.tiling import Span, grid

logger = logging.getLogger(__name__)

Maps = NDArray[np.float32]
"""(C, rows, columns), or (N, C, rows, columns): density, then any of variance, size difference and probabilities."""

GIB: Final = 2**30
_WASTE: Final = 4  # warn if tiles compute more than this times the pixels of the image
_BLIND_MARGIN: Final = 128  # margin in pixels around a tile of a network that sees the whole image
_SLACK: Final = 2.0  # operations need workspaces, and freed memory is not always reused


@dataclass(frozen=True)
class Part:
    """A rectangle of an image in pixels; it may extend beyond the right and bottom edges, where the image is padded."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below it."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column right of it."""
        return self.left + self.width

    def cells(self, stride: int) -> tuple[slice, slice]:
        """Return rows and columns of its cells of `stride` pixels."""
        return slice(self.top // stride, self.bottom // stride), slice(self.left // stride, self.right // stride)


class ImageRunner(Protocol):
    """A network in front of one image.

    Attributes:
        name: of the network, for messages.
        size: height and width of the image in pixels.
        nbytes: memory of the image in bytes, and of those that are held beside it.
        stride: side of a density cell in pixels.
        size_divisor: divisor of the sides of what the network takes.
        predicts_variance: whether its maps have a variance.
        compares_sizes: whether they have a size difference.
        batch: parts that it runs fastest together.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def nbytes(self) -> int: ...  # noqa: D102

    @property
    def stride(self) -> int: ...  # noqa: D102

    @property
    def size_divisor(self) -> int: ...  # noqa: D102

    @property
    def predicts_variance(self) -> bool: ...  # noqa: D102

    @property
    def compares_sizes(self) -> bool: ...  # noqa: D102

    @property
    def batch(self) -> int: ...  # noqa: D102

    def bytes_per_pixel(self) -> float:
        """Return the memory of a pass per pixel, see `receptive_field.bytes_per_pixel`."""

    def margin(self) -> int | None:
        """Return the margin of exact tiles in pixels, None if there are none."""

    def inexact_reason(self) -> str:
        """Return the reason why there are no exact tiles, "" if there are."""

    def maps(self, parts: Sequence[Part], whole: tuple[int, int] | None = None) -> Maps:
        """Run the network on normalised parts, zero beyond the image; returns (N, C, height / stride, width / stride).

        Args:
            parts: parts of one size.
            whole: height and width of the padded image if the parts are tiles of it; None for windows.
        """


class Division(Protocol):
    """How an image is divided; see `crowdcount.inference.Inference`."""

    @property
    def window(self) -> int | None: ...  # noqa: D102

    @property
    def step(self) -> int | None: ...  # noqa: D102

    @property
    def window_batch(self) -> int | None: ...  # noqa: D102

    @property
    def max_memory(self) -> float | None: ...  # noqa: D102


def predict_in_parts(runner: ImageRunner, division: Division) -> Prediction:
    """Count an image in one pass, or in windows or tiles where they are asked for.

    Raises:
        InputError: `max_memory` is too small for any tile.
    """
    if division.window is not None and division.step is not None:
        maps = merge_windows(runner, division.window, division.step, division.window_batch or runner.batch)
        return make_prediction(maps, runner, exact=False)
    room = pixels_that_fit(division.max_memory, runner, runner.nbytes)
    if room is None or in_one_pass(runner, division):
        return make_prediction(runner.maps([whole_part(runner)])[0], runner, exact=True)
    maps, exact = merge_tiles(runner, room)
    return make_prediction(maps, runner, exact)


def in_one_pass(runner: ImageRunner, division: Division, images: int = 1) -> bool:
    """Return whether so many images of one size are counted whole and together.

    Args:
        runner: of one of them, with the memory of all.
        division: windows or memory limit.
        images: how many.

    Raises:
        InputError: not even the images fit into the memory.
    """
    if division.window is not None:
        return False
    room = pixels_that_fit(division.max_memory, runner, runner.nbytes)
    return room is None or images * math.prod(runner.size) <= room


def protocol_text(rule: SizeRule | None, division: str, ignored: IgnoreMask | None) -> str:
    """Return the description of a protocol, by which intervals know what they hold for.

    Args:
        rule: size rule of whole images, None without.
        division: description of one pass, windows, or thresholds of points.
        ignored: pixels under which nobody is counted, None without.
    """
    size = "images as they are" if rule is None else f"size rule {rule}"
    mask = "" if ignored is None else f"; without the pixels of mask {ignored.digest[:12]}"
    return f"{size}; {division}{mask}"


def pixels_that_fit(max_memory: float | None, runner: ImageRunner, nbytes: int) -> float | None:
    """Return how many pixels fit into the memory at a time, None if there is no limit.

    Args:
        max_memory: limit in GiB.
        runner: of one of the images.
        nbytes: memory of all images in bytes.

    Raises:
        InputError: not even the images fit.
    """
    if max_memory is None:
        return None
    left = max_memory * GIB - 2 * nbytes  # the images, and copies left by decoding, resizing or stacking
    if left <= 0:
        raise InputError(f"max_memory: {max_memory} GiB is too little for the image itself; give more")
    return left / (_SLACK * (runner.bytes_per_pixel() + 12))  # with the normalised image


def whole_part(runner: ImageRunner) -> Part:
    """Return the whole image, padded to what the network takes."""
    return Part(0, 0, *_padded(runner.size, runner.size_divisor))


def merge_windows(runner: ImageRunner, window: int, step: int, batch: int) -> Maps:
    """Merge the maps of square windows as published: each cell is averaged over the windows that cover it.

    Windows start at multiples of `step`; the last row and column are shifted back to end at the edge.

    Args:
        runner: its maps cover `window // stride` cells.
        window: side of the windows in pixels, a multiple of the network's `size_divisor`.
        step: distance of the windows in pixels, a multiple of the network's `stride`.
        batch: windows in one forward pass.

    Returns:
        (C, H // stride, W // stride), rounded up and at least a window.
    """
    parts = window_parts(runner, window, step)
    sums: Maps | None = None
    hits = np.zeros((1, parts[-1].bottom // runner.stride, parts[-1].right // runner.stride), np.float32)
    for chunk in _chunks(parts, batch):
        maps = runner.maps(chunk)
        if sums is None:
            sums = np.zeros((maps.shape[1], *hits.shape[-2:]), np.float32)
        for part, one in zip(chunk, maps, strict=True):
            cells = part.cells(runner.stride)
            sums[..., *cells] += one
            hits[..., *cells] += 1
    assert sums is not None
    return sums / hits


def window_parts(runner: ImageRunner, window: int, step: int) -> list[Part]:
    """Return the windows of an image, row by row; see `merge_windows`."""
    height, width = (max(side, window) for side in _padded(runner.size, runner.stride))
    corners = product(window_starts(height, window, step), window_starts(width, window, step))
    return [Part(top, left, window, window) for top, left in corners]


def merge_tiles(runner: ImageRunner, pixels: float) -> tuple[Maps, bool]:
    """Count an image tile by tile and join the maps.

    Each tile is cut with a margin as wide as the network's receptive field around a block, and the cells of the margin
    are dropped. Edges of the image have no margin, so that the network pads there as for the whole image. A network
    that sees the whole image gets a fixed margin.

    Args:
        runner: the network and the image.
        pixels: maximum number of pixels of a tile.

    Returns:
        The maps, (C, H // stride, W // stride), rounded up; and whether they equal those of the whole image.

    Raises:
        InputError: no tile is that small.
    """
    step, margin, stride = math.lcm(runner.size_divisor, runner.stride), runner.margin(), runner.stride
    height, width = _padded(runner.size, step)
    exact, margin = margin is not None, -(-_BLIND_MARGIN // step) * step if margin is None else margin
    if not exact:
        logger.warning("%s %s: its density depends on the tiles", runner.name, runner.inexact_reason())
    maps: Maps | None = None
    for row, column in _tiles(height, width, margin, step, pixels):
        part = Part(row.low, column.low, row.high - row.low, column.high - column.low)
        tile = runner.maps([part], (height, width))[0]
        if maps is None:
            maps = np.empty((len(tile), height // stride, width // stride), np.float32)
        inner = (..., _cells(row, row.low, stride), _cells(column, column.low, stride))
        maps[..., _cells(row, 0, stride), _cells(column, 0, stride)] = tile[inner]
    assert maps is not None
    return maps, exact


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Return the starts of the windows along a side: every `step` pixels, the last window ending at the edge."""
    count = -(-(length - window) // step) + 1
    return [min(index * step, length - window) for index in range(count)]


def make_prediction(maps: Maps, runner: ImageRunner, exact: bool) -> Prediction:
    """Build a prediction from maps (C, rows, columns), dropping the cells that lie wholly in the padding."""
    stride, (height, width) = runner.stride, runner.size
    cells = maps[:, : -(-height // stride), : -(-width // stride)]
    declared = {"variance": runner.predicts_variance, "size_difference": runner.compares_sizes}
    found = dict(zip((name for name in declared if declared[name]), cells[1:], strict=False))
    classes = cells[1 + len(found) :]
    return Prediction(
        count=float(cells[0].sum(dtype=np.float64)),
        density=cells[0],
        stride=stride,
        height=height,
        width=width,
        probabilities=classes if len(classes) else None,
        exact=exact,
        **found,
    )


def _tiles(height: int, width: int, margin: int, step: int, pixels: float) -> list[tuple[Span, Span]]:
    try:
        tiles = grid(height, width, margin, step, pixels)
    except InputError as error:
        raise InputError(f"max_memory: too small for this image; {error}") from error
    work = sum((row.high - row.low) * (column.high - column.low) for row, column in tiles)
    if work > _WASTE * height * width:
        logger.warning(
            "max_memory: tiles this small compute each pixel %.0f times; more is faster", work / height / width
        )
    return tiles


def _padded(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width


def _cells(span: Span, origin: int, stride: int) -> slice:
    """Return the cells of the kept part of a span, counted from an origin in pixels."""
    return slice((span.start - origin) // stride, (span.stop - origin) // stride)


def _chunks(items: list[Part], size: int) -> Iterator[list[Part]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
