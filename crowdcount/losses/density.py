"""Losses of density maps: the interface of all of them, and those on the rendered density and on the count."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.geometry import Kernel, Points, block_counts, render_density
from crowdcount.losses.precision import widen


class DensityLoss(ABC):
    """Base of the losses that compare a predicted density with annotated points."""

    @abstractmethod
    def __call__(self, density: Tensor, points: Sequence[Points], stride: int) -> dict[str, Tensor]:
        """Return the weighted terms; the training loss is their sum.

        Args:
            density: (B, 1, rows, columns), people per cell.
            points: (n, 2) of each image, in its pixels; the image is columns * stride wide and rows * stride high.
            stride: side of a cell in pixels.

        Returns:
            Scalars of at least float32 by name. A term is a mean over the images of the batch, so that its weight does
            not depend on the batch size.
        """


@dataclass
class DensityMse(DensityLoss):
    """Squared error of the density map: for each image the sum over its cells of (predicted - true people in a cell)^2.

    It is the loss of MCNN (Zhang et al., CVPR 2016) without its factor of 1/2. The true density is rendered at
    the resolution of the image and summed over each cell. Returns the term `density`.

    Args:
        kernel: how a person is drawn into the true density; people outside the image neither reach into it nor count
            as neighbours of an adaptive kernel.
    """

    kernel: Kernel = field(default_factory=Kernel)

    def __call__(self, density: Tensor, points: Sequence[Points], stride: int) -> dict[str, Tensor]:
        """Return the term, see `DensityLoss`."""
        height, width = (side * stride for side in density.shape[-2:])
        predicted = widen(density)
        pixels = render_densities(points, height, width, self.kernel).to(predicted)
        true = functional.avg_pool2d(pixels, stride) * stride**2
        return {"density": (predicted - true).square().sum(dim=(1, 2, 3)).mean()}


@dataclass
class CountL1(DensityLoss):
    """Absolute error of the count of each image. It says how many people there are, not where; the term is `count`."""

    def __call__(self, density: Tensor, points: Sequence[Points], stride: int) -> dict[str, Tensor]:
        """Return the term, see `DensityLoss`."""
        return {"count": absolute_count_errors(density, points).mean()}


def absolute_count_errors(density: Tensor, points: Sequence[Points]) -> Tensor:
    """Return |sum of the density - number of points| of each image, (B,)."""
    return (widen(density).sum(dim=(1, 2, 3)) - point_numbers(points, density.device)).abs()


def point_numbers(points: Sequence[Points], device: torch.device) -> Tensor:
    """Return the number of points of each image, (B,) float32."""
    return torch.tensor([len(each) for each in points], dtype=torch.float32).to(device)


def block_targets(points: Sequence[Points], density: Tensor, stride: int, once_per_pixel: bool = False) -> Tensor:
    """Return the (B, 1, rows, columns) numbers of points in the cells of a density, of its type and on its device.

    Args:
        points: (n, 2) of each image, in its pixels.
        density: (B, 1, rows, columns).
        stride: side of a cell in pixels.
        once_per_pixel: several points in one pixel count once.
    """
    height, width = (side * stride for side in density.shape[-2:])
    counts = [block_counts(each, height, width, stride, once_per_pixel=once_per_pixel) for each in points]
    return torch.from_numpy(np.stack(counts)).to(density)[:, None]


def render_densities(points: Sequence[Points], height: int, width: int, kernel: Kernel) -> Tensor:
    """Return the true densities of images of one size, (B, 1, height, width) float32, people per pixel.

    Args:
        points: (n, 2) of each image; those outside it are left out.
        height: of the images in pixels.
        width: likewise.
        kernel: how a person is drawn.
    """
    return torch.from_numpy(np.stack([render_density(each, height, width, kernel) for each in points]))[:, None]
