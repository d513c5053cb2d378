"""Inference of density networks on whole images, shared by validation, testing, the tools and the Python API."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.geometry import Points, resize_points
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image
from crowdcount.inference.ignore import ignored_points
from crowdcount.inference.peaks import density_peaks
from crowdcount.inference.plotting import Colour, Plottable, density_overlay
from crowdcount.inference.receptive_field import (
    bytes_per_pixel,
    inexact_reason,
    receptive_margin,
    require_evaluation,
    tile_multiple,
)
from crowdcount.inference.tiling import Span, grid
from crowdcount.intervals.calibration import Alarm, Interval, alarm, interval
from crowdcount.intervals.file import Intervals
from crowdcount.metrics.game import density_cells
from crowdcount.models.base import CountMap, DensityNetwork, count_map
from crowdcount.models.tile_context import TileContext, tile_context
from crowdcount.visualize.captions import caption, count_text
from crowdcount.visualize.density import draw_points, overlay

logger = logging.getLogger(__name__)

GIB = 2**30

DOUBTFUL: Final = 2 / 3
"""`Prediction.doubt` above which a count should not be believed; how often that is right: docs/default_model.md."""

_WASTE = 4  # warn if tiles compute more than this times the pixels of the image
_BLIND_MARGIN = 128  # margin in pixels around a tile of a network that sees the whole image
_SLACK = 2.0  # operations need workspaces, and freed memory is not always reused


@dataclass(frozen=True)
class Prediction(Plottable):
    """The prediction of a density model for one image.

    Attributes:
        count: sum of the density.
        density: (rows, columns) float32, people per block of `stride` pixels, from the top left corner; the last
            row and column may reach beyond the image.
        stride: block side in pixels of the image as the network saw it.
        height: height in pixels of that image.
        width: its width.
        probabilities: (K, rows, columns) float32 class probabilities of blockwise classifiers, otherwise None.
        exact: whether this equals, up to rounding, the output for the whole image in one pass. False for models
            evaluated in windows, and for tiles of a network that sees the whole image at once.
        variance: (rows, columns) float32 variance of the count of each block where the network predicts a distribution,
            otherwise None. Errors of blocks are correlated, so its sum is not the variance of the count.
        intervals: calibrations of the model for the way in which the image was counted, None without.
        ignored: pixels of the image under which nobody is counted, None without.
    """

    count: float
    density: NDArray[np.float32]
    stride: int
    height: int
    width: int
    probabilities: NDArray[np.float32] | None = None
    exact: bool = True
    variance: NDArray[np.float32] | None = None
    intervals: Intervals | None = field(default=None, kw_only=True, repr=False, compare=False)
    ignored: IgnoreMask | None = field(default=None, kw_only=True, repr=False)

    @property
    def total_variance(self) -> float | None:
        """Sum of the variances of the blocks; a scale of the error of the count, not its variance."""
        return None if self.variance is None else float(self.variance.sum(dtype=np.float64))

    def interval(self, level: float = 0.9) -> Interval:
        """Return an interval that holds the true count with a probability of at least `level`.

        That is so for images exchangeable with those that the model was calibrated on, `intervals.about`; nothing is
        guaranteed for images of another kind.

        Args:
            level: wanted probability, between 0 and 1.

        Returns:
            low, high and state: "calibrated", "uncalibrated" (0 to infinity), "too_few_images" (likewise) or
            "outside_range", see `crowdcount.intervals.State`.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        part = self.intervals.image if self.intervals else None
        return interval(part, self.count, self.total_variance, level)

    def alarm(self, threshold: float, miss: float = 0.05) -> Alarm:
        """Return whether there may be more people than `threshold`; true if so, also where the model is uncalibrated.

        For images exchangeable with those of the calibration, the share of images with more people and no alarm is at
        most `miss`.

        Args:
            threshold: limit of the true count.
            miss: accepted probability of a missed excess, between 0 and 1.

        Raises:
            InputError: a number is out of its range.
        """
        part = self.intervals.image if self.intervals else None
        return alarm(part, threshold, self.count, self.total_variance, miss)

    def draw(self, image: Image) -> Image:
        """Draw the density over an image (H, W, 3) uint8 RGB, at the network's input size; see `plot`."""
        return caption(density_overlay(image, self), count_text(self.count))

    def beside_truth(self, image: Image, truth: Points, colour: Colour) -> list[tuple[str, Image]]:
        """Return drawings of the annotation and of the density, at the network's input size."""
        height, width = image.shape[:2]
        seen = (self.width, self.height)
        if seen != (width, height):
            image = np.asarray(cv2.resize(image, seen, interpolation=cv2.INTER_AREA), np.uint8)
        marked = draw_points(image, resize_points(truth, (width, height), seen))
        drawn = overlay(image, self.density, self.stride)
        return [(f"truth {len(truth)}", marked), (count_text(self.count, len(truth)), drawn)]

    @property
    def doubt(self) -> float | None:
        """Share of the count in blocks that hold nobody with a probability above one half; None without probabilities.

        Counts below ten are taken as ten: a few tenths of a person scattered over an empty image are no doubt. High
        for images of things that look like people but a little: see `DOUBTFUL`.
        """
        if self.probabilities is None:
            return None
        return float(self.density[self.probabilities[0] > 0.5].sum()) / max(self.count, 10.0)

    @property
    def relative_radius(self) -> None:
        """Radius of the objects; None, as a density has none. See `PointPrediction.relative_radius`."""
        return

    def points_in(self, height: int, width: int, peak_threshold: float = 0.0) -> Points:
        """Return the strongest peaks of the density, see `density_peaks`; none on ignored pixels.

        Args:
            height: height of the image in whose pixels the points are returned.
            width: its width.
            peak_threshold: people per block that a peak must exceed.

        Returns:
            (K, 2) x, y.
        """
        peaks = resize_points(density_peaks(self, peak_threshold), (self.width, self.height), (width, height))
        return peaks if self.ignored is None else peaks[~ignored_points(peaks, self.ignored, height, width)]

    def cells(self, level: int) -> NDArray[np.float64]:
        """Return the people in each cell of GAME(`level`), (2 ** level, 2 ** level)."""
        return density_cells(self.density, self.stride, self.width, self.height, level)


@dataclass
class Inference:
    """Counting in a whole image: in one pass, in windows or in tiles.

    Args:
        window: side in pixels of square windows; null counts the image in one pass.
        window_stride: distance of the windows in pixels, by default `window`. Overlapping densities are averaged.
        window_batch: windows in one forward pass, which bounds the memory for images of any size. null takes the
            fastest: 4 on a CPU, because of its caches, and 16 on a GPU.
        max_memory: memory limit in GiB for one image, besides the model. A larger image is counted in tiles, with
            margins as wide as the receptive field, so that its density is that of the whole image. null sets no limit.
            A model with windows needs no tiles.

    Raises:
        InputError: a number is not positive, or windows would leave gaps.
    """

    window: int | None = None
    window_stride: int | None = None
    window_batch: int | None = None
    max_memory: float | None = None

    def __post_init__(self) -> None:
        if self.window is not None:
            check_number("inference.window", self.window, 1, hint="or null for the whole image")
        if self.window_stride is not None and not 0 < self.window_stride <= (self.window or 0):
            raise InputError(
                f"inference.window_stride: {self.window_stride} must be between 1 and {self.window}, the window"
            )
        if self.window_batch is not None:
            check_number("inference.window_batch", self.window_batch, 1)
        if self.max_memory is not None:
            check_number("inference.max_memory", self.max_memory, 0, above=True, hint="in GiB, or null for no limit")

    @property
    def protocol(self) -> str:
        """Description of the protocol."""
        if self.window is None:
            return "in one pass"
        return f"windows of {self.window} px every {self.step} px, overlaps averaged"

    @property
    def step(self) -> int | None:
        """Distance of the windows in pixels, None without windows."""
        return self.window if self.window_stride is None else self.window_stride

    def check(self, network: DensityNetwork) -> None:
        """Check that windows suit the network: it must see them whole, and they must start on a block.

        Raises:
            InputError: a number is not a multiple of what the network needs.
        """
        whole = tile_multiple(network)
        needs = (("window", self.window, whole), ("window_stride", self.step, network.stride))
        for key, value, multiple in needs:
            if value is not None and value % multiple:
                raise InputError(f"inference.{key}: {value} is not a multiple of {multiple}, as this network needs")

    def __call__(self, network: DensityNetwork, image: Tensor) -> Prediction:
        """Count in one image.

        The image is padded at the right and bottom with the mean colour (zeros after normalisation, like the padding
        of convolutions) to the size that the network or the window needs, so that people at the edge are counted.
        Cells that lie wholly in the padding are dropped.

        Args:
            network: in evaluation mode, on the device of the image.
            image: (3, H, W) uint8, or float in [0, 1], RGB.

        Raises:
            InputError: a window does not suit the network, `max_memory` is too small for any tile, or the network is in
                training mode.
        """
        return self.predict_batch(network, image.unsqueeze(0))[0]

    @torch.inference_mode()
    def predict_batch(self, network: DensityNetwork, images: Tensor) -> list[Prediction]:
        """Count in images of one size, in one forward pass unless they need windows or tiles.

        Args:
            network: see `__call__`.
            images: (B, 3, H, W), see `__call__`.

        Raises:
            InputError: see `__call__`.
        """
        self.check(network)
        require_evaluation(network)
        room = None if self.window else self._room(network, images)
        if self.window is None and room is None:
            maps = _maps(count_map(network, _pad(network.normalize(images), network.size_divisor)))
            return [_prediction(each, network, images.shape[-2:], exact=True) for each in maps]
        return [self._in_parts(network, image.unsqueeze(0), room) for image in images]

    def density(self, network: DensityNetwork, image: Tensor) -> Tensor:
        """Return the density of a whole image as `predict_batch` has it, with gradients; never in tiles.

        Args:
            network: in any mode, on the device of the image.
            image: (1, 3, H, W) uint8, or float in [0, 1], RGB.

        Returns:
            (1, 1, rows, columns), people per block of `stride` pixels.
        """
        if self.window is None:
            density = count_map(network, _pad(network.normalize(image), network.size_divisor)).density
        else:
            density = self._windows(network, image)[:, :1]
        rows, columns = (-(-side // network.stride) for side in image.shape[-2:])
        return density[..., :rows, :columns]

    def _windows(self, network: DensityNetwork, image: Tensor) -> Tensor:
        assert self.window is not None and self.step is not None, "is asked for with windows alone"
        batch = self.window_batch or (4 if image.device.type == "cpu" else 16)
        return count_windows(network, image, self.window, self.step, batch)

    def _in_parts(self, network: DensityNetwork, image: Tensor, room: float | None) -> Prediction:
        height, width = image.shape[-2:]
        if self.window is not None:
            maps, exact = self._windows(network, image), False
        elif room is None or height * width <= room:  # one at a time, if several do not fit
            maps, exact = _maps(count_map(network, _pad(network.normalize(image), network.size_divisor))), True
        else:
            maps, exact = count_tiles(network, image, room)
        return _prediction(maps[0], network, image.shape[-2:], exact)

    def _room(self, network: DensityNetwork, images: Tensor) -> float | None:
        """Return how many pixels fit into the memory at a time, None if there is no limit."""
        if self.max_memory is None:
            return None
        kept = 2 * images.nbytes  # the images, and copies left by decoding, resizing or stacking
        left = self.max_memory * GIB - kept
        room = left / (_SLACK * (bytes_per_pixel(network) + 12))  # with the normalised image
        if room <= 0:
            raise InputError(f"max_memory: {self.max_memory} GiB is too little for the image itself; give more")
        return None if images.shape[-2] * images.shape[-1] * len(images) <= room else room


def count_windows(network: DensityNetwork, image: Tensor, window: int, step: int, batch: int) -> Tensor:
    """Merge the maps of square windows as published: each cell is averaged over the windows that cover it.

    Windows start at multiples of `step`; the last row and column are shifted back to end at the edge.

    Args:
        network: the network; its maps cover `window // network.stride` cells.
        image: (1, 3, H, W) uint8, or float in [0, 1], RGB.
        window: side of the windows in pixels, a multiple of `network.size_divisor`.
        step: distance of the windows in pixels, a multiple of `network.stride`.
        batch: windows in one forward pass.

    Returns:
        (1, C, H // stride, W // stride), rounded up and at least a window: the density, followed by any variance and
        class probabilities.
    """
    stride = network.stride
    height, width = (max(-(-side // stride) * stride, window) for side in image.shape[-2:])
    corners = list(product(window_starts(height, window, step), window_starts(width, window, step)))
    sums: Tensor | None = None
    hits = torch.zeros(1, 1, height // stride, width // stride, device=image.device)
    for chunk in _chunks(corners, batch):
        maps = _maps(count_map(network, torch.cat([_cut(network, image, y, x, window, window) for y, x in chunk])))
        if sums is None:
            sums = maps.new_zeros(1, maps.shape[1], *hits.shape[-2:])
        for (y, x), one in zip(chunk, maps, strict=True):
            cells = (..., slice(y // stride, (y + window) // stride), slice(x // stride, (x + window) // stride))
            sums[cells] += one
            hits[cells] += 1
    assert sums is not None
    return sums / hits


@torch.inference_mode()
def count_tiles(network: DensityNetwork, image: Tensor, pixels: float) -> tuple[Tensor, bool]:
    """Count an image tile by tile and join the maps.

    Each tile is cut with a margin as wide as the network's receptive field around a block, and the cells of the margin
    are dropped. Edges of the image have no margin, so that the network pads there as for the whole image. A network
    that sees the whole image gets a fixed margin.

    Args:
        network: the network.
        image: (1, 3, H, W) uint8, or float in [0, 1], RGB.
        pixels: maximum number of pixels of a tile.

    Returns:
        The maps, (1, C, H // stride, W // stride), rounded up, on the CPU; and whether they equal those of the whole
        image.

    Raises:
        InputError: no tile is that small.
    """
    step, margin = tile_multiple(network), receptive_margin(network)
    height, width = (-(-side // step) * step for side in image.shape[-2:])
    exact, margin = margin is not None, -(-_BLIND_MARGIN // step) * step if margin is None else margin
    if not exact:
        reason = inexact_reason(network)
        logger.warning("%s %s: its density depends on the tiles", type(network).__name__, reason)
    try:
        tiles = grid(height, width, margin, step, pixels)
    except InputError as error:
        raise InputError(f"max_memory: too small for this image; {error}") from error
    work = sum((row.high - row.low) * (column.high - column.low) for row, column in tiles)
    if work > _WASTE * height * width:
        logger.warning(
            "max_memory: tiles this small compute each pixel %.0f times; more is faster", work / height / width
        )
    maps: Tensor | None = None
    for row, column in tiles:
        tile = _tile(network, image, row, column, TileContext(row.low, column.low, height, width))
        if maps is None:
            maps = tile.new_empty(1, tile.shape[1], height // network.stride, width // network.stride)
        maps[..., _cells(row, network.stride), _cells(column, network.stride)] = tile
    assert maps is not None
    return maps, exact


def _tile(network: DensityNetwork, image: Tensor, row: Span, column: Span, placement: TileContext) -> Tensor:
    """Return the maps of a tile without its margin, on the CPU."""
    part = _cut(network, image, row.low, column.low, row.high - row.low, column.high - column.low)
    with tile_context(placement):
        maps = _maps(count_map(network, part))
    rows, columns = ((span.start - span.low) // network.stride for span in (row, column))
    high, wide = ((span.stop - span.start) // network.stride for span in (row, column))
    return maps[..., rows : rows + high, columns : columns + wide].cpu()


def _cells(span: Span, stride: int) -> slice:
    return slice(span.start // stride, span.stop // stride)


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Return the starts of the windows along a side: every `step` pixels, the last window ending at the edge."""
    count = -(-(length - window) // step) + 1
    return [min(index * step, length - window) for index in range(count)]


def _prediction(maps: Tensor, network: DensityNetwork, size: torch.Size, exact: bool) -> Prediction:
    """Build a prediction from maps (C, rows, columns), dropping the cells that lie wholly in the padding."""
    stride, (height, width) = network.stride, size
    classes = 2 if network.predicts_variance else 1
    cells = maps[:, : -(-height // stride), : -(-width // stride)].float().cpu().numpy()
    return Prediction(
        count=float(cells[0].sum(dtype=np.float64)),
        density=cells[0],
        stride=stride,
        height=height,
        width=width,
        probabilities=cells[classes:] if len(cells) > classes else None,
        exact=exact,
        variance=cells[1] if network.predicts_variance else None,
    )


def _maps(output: CountMap) -> Tensor:
    """Stack density, variance and class probabilities, (B, C, rows, columns); all merge by the same rule."""
    maps = [output.density, output.variance, None if output.logits is None else output.logits.float().softmax(dim=1)]
    return torch.cat([each.float() for each in maps if each is not None], dim=1)


def _cut(network: DensityNetwork, image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Normalise a part of an image, padded with zeros beyond it; the whole image is never normalised at once."""
    part = network.normalize(image[..., top : top + height, left : left + width])
    return functional.pad(part, (0, width - part.shape[-1], 0, height - part.shape[-2]))


def _pad(image: Tensor, multiple: int) -> Tensor:
    height, width = (-(-side // multiple) * multiple for side in image.shape[-2:])
    return functional.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))


def _chunks(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
