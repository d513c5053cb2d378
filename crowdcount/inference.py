"""From a whole image to a number: the one path of validation, testing, tools and the Python API."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.models.base import Counter, CountMap


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        count: sum of the density.
        density: (rows, columns) float32, people per block of `stride` pixels, from the top left corner; the last
            row and column may reach beyond the image.
        stride: block side in pixels of the image as the network saw it.
        height: height in pixels of that image.
        width: its width.
        probabilities: (K, rows, columns) float32 class probabilities of blockwise classifiers, otherwise None.
    """

    count: float
    density: NDArray[np.float32]
    stride: int
    height: int
    width: int
    probabilities: NDArray[np.float32] | None = None


@dataclass
class Inference:
    """How a whole image is counted.

    Args:
        window: side in pixels of square windows; null counts the image in one pass.
        window_stride: distance of the windows in pixels, `window` if not given. Where windows overlap, their
            densities are averaged.
        window_batch: windows in one forward pass; bounds the memory whatever the size of the image.

    Raises:
        InputError: a number is not positive, or windows would leave gaps.
    """

    window: int | None = None
    window_stride: int | None = None
    window_batch: int = 16

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise InputError(f"inference.window: {self.window} must be at least 1, or null for the whole image")
        if self.window_stride is not None and not 0 < self.window_stride <= (self.window or 0):
            raise InputError(
                f"inference.window_stride: {self.window_stride} must be between 1 and {self.window}, the window"
            )
        if self.window_batch < 1:
            raise InputError(f"inference.window_batch: {self.window_batch} must be at least 1")

    @property
    def step(self) -> int | None:
        """Distance of the windows in pixels."""
        return self.window if self.window_stride is None else self.window_stride

    def check(self, network: Counter) -> None:
        """Refuse windows that the network would not see whole, or that do not start on a block.

        Raises:
            InputError: names the number and what it must be a multiple of.
        """
        whole = math.lcm(network.multiple, network.stride)
        needs = (("window", self.window, whole), ("window_stride", self.step, network.stride))
        for key, value, multiple in needs:
            if value is not None and value % multiple:
                raise InputError(f"inference.{key}: {value} is no multiple of {multiple}, as this network needs")

    @torch.inference_mode()
    def __call__(self, network: Counter, image: Tensor) -> Prediction:
        """Count in one image.

        The image is padded at the right and bottom with the mean colour (zeros after normalisation, which is what
        convolutions pad with) to what the network or the window needs, and cells that lie wholly in the padding
        are dropped, so that nobody at the edge is lost.

        Args:
            network: in evaluation mode, on the device of the image.
            image: (3, H, W) uint8, or float in [0, 1], RGB.
        """
        self.check(network)
        height, width = image.shape[-2:]
        normal = network.normalize(image.unsqueeze(0))
        if self.window is None or self.step is None:
            maps = _maps(network(_pad(normal, network.multiple)))
        else:
            padded = _pad(normal, network.stride, least=self.window)
            maps = count_windows(network, padded, self.window, self.step, self.window_batch)
        rows, columns = -(-height // network.stride), -(-width // network.stride)
        cells = maps[0, :, :rows, :columns].float().cpu().numpy()
        return Prediction(
            count=float(cells[0].sum(dtype=np.float64)),
            density=cells[0],
            stride=network.stride,
            height=height,
            width=width,
            probabilities=cells[1:] if len(cells) > 1 else None,
        )


def count_windows(network: Counter, image: Tensor, window: int, step: int, batch: int) -> Tensor:
    """Merge the maps of square windows as published: sums divided by the number of windows over each cell.

    Windows start at multiples of `step`; the last row and column of windows are pulled back to the edge.

    Args:
        network: the network; its maps cover `window // network.stride` cells.
        image: (1, 3, H, W) normalised, at least `window` high and wide.
        window: side of the windows in pixels, a multiple of `network.multiple`.
        step: distance of the windows in pixels, a multiple of `network.stride`.
        batch: windows in one forward pass.

    Returns:
        (1, C, H // stride, W // stride): the density, then the class probabilities where the network has them.
    """
    stride = network.stride
    height, width = image.shape[-2:]
    corners = list(product(window_starts(height, window, step), window_starts(width, window, step)))
    sums: Tensor | None = None
    hits = image.new_zeros(1, 1, height // stride, width // stride, dtype=torch.float32)
    for chunk in _chunks(corners, batch):
        maps = _maps(network(torch.cat([image[..., y : y + window, x : x + window] for y, x in chunk])))
        if sums is None:
            sums = maps.new_zeros(1, maps.shape[1], *hits.shape[-2:])
        for (y, x), one in zip(chunk, maps, strict=True):
            cells = (..., slice(y // stride, (y + window) // stride), slice(x // stride, (x + window) // stride))
            sums[cells] += one
            hits[cells] += 1
    assert sums is not None
    return sums / hits


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Return where the windows along a side start: every `step` pixels, the last one at the edge."""
    count = -(-(length - window) // step) + 1
    return [min(index * step, length - window) for index in range(count)]


def _maps(output: CountMap) -> Tensor:
    """Stack density and class probabilities, (B, 1 + K, rows, columns); both merge by the same rule."""
    if output.logits is None:
        return output.density.float()
    return torch.cat([output.density.float(), output.logits.float().softmax(dim=1)], dim=1)


def _pad(image: Tensor, multiple: int, least: int = 0) -> Tensor:
    height, width = (max(-(-side // multiple) * multiple, least) for side in image.shape[-2:])
    return functional.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))


def _chunks(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
