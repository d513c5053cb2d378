"""The DM-Count loss: the count, and where the people are, by optimal transport.

Source: Wang et al., "Distribution Matching for Crowd Counting", NeurIPS 2020, arXiv 2009.13077.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.losses.density import DensityLoss, absolute_count_errors, block_targets, point_numbers
from crowdcount.losses.precision import widen
from crowdcount.losses.transport import transport, variation


@dataclass
class DmCount(DensityLoss):
    """Count error, plus optimal transport and total variation between the normalised density and the points.

    The defaults are the weights of the paper. Returns the terms `count`, `transport` (about 0: only its gradient
    matters) and `variation`, which is weighted by the number of points of each image. Distributions are compared, so
    the network must give no negative density: it ends in a ReLU or softplus.

    Args:
        ot_weight: of the optimal transport.
        tv_weight: of the total variation.

    Raises:
        InputError: a weight that is negative or not finite.
    """

    ot_weight: float = 0.1
    tv_weight: float = 0.01

    def __post_init__(self) -> None:
        for name in ("ot_weight", "tv_weight"):
            check_number(f"loss.{name}", getattr(self, name), 0)

    def __call__(self, density: Tensor, points: Sequence[Points], stride: int) -> dict[str, Tensor]:
        """Return the terms, see `DensityLoss`.

        Raises:
            InputError: a density is negative.
        """
        if (density < 0).any():
            raise InputError(
                "loss: DM-Count compares distributions, but the network gives negative densities; let it end in a ReLU "
                "or softplus, or take another loss"
            )
        density = widen(density)  # once: the gradients of the terms are added up in that precision
        terms = self.image_terms(density, block_targets(points, density, stride), points, stride)
        return {name: images.mean() for name, images in terms.items()}

    def image_terms(self, density: Tensor, counts: Tensor, points: Sequence[Points], stride: int) -> dict[str, Tensor]:
        """Return the weighted terms of each image, (B,).

        Args:
            density: (B, 1, rows, columns), people per cell.
            counts: (B, 1, rows, columns), points per cell, for the total variation.
            points: (n, 2) of each image, in its pixels.
            stride: side of a cell in pixels.
        """
        unused = density.new_zeros(len(density))  # the Sinkhorn iterations cost more than all else
        return {
            "count": absolute_count_errors(density, points),
            "transport": self.ot_weight * transport(density, points, stride) if self.ot_weight else unused,
            "variation": self.tv_weight * variation(density, counts, point_numbers(points, density.device)),
        }
