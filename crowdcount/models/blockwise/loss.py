"""DACE, the loss of blockwise count classifiers: cross-entropy of the block classes plus a count loss.

Source: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise Classification", arXiv 2403.09281,
and the DM-Count loss it builds on, arXiv 2009.13077.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.losses.density import block_targets
from crowdcount.losses.dm_count import DmCount
from crowdcount.losses.precision import widen
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.bins import Bins

CountLoss = Literal["mae", "mse", "dmcount"]


@dataclass
class Dace:
    """The DACE loss: cross-entropy of the block classes plus `weight` times a count loss.

    Each term is a mean over the images of the batch, so its weight does not depend on the batch size, the number of
    processes or gradient accumulation. The published code sums the transport term over the batch, times 0.1: with the
    batch of 8 in its CNN and CLIP-ResNet recipes this equals `ot_weight: 0.8`, with the 32 crops of its ViT recipe 3.2.

    Args:
        count_loss: mae or mse (sums over the blocks of an image), or dmcount: count error, optimal transport and
            total variation, used for every published model.
        weight: weight of the count loss as a whole.
        ot_weight: weight of the optimal transport within dmcount.
        tv_weight: weight of the total variation within dmcount.
        once_per_pixel: several points in one pixel count once in the block classes and in the truth of mae, mse and the
            total variation, as in the published label maps; the count error of dmcount still counts all points.

    Raises:
        InputError: the count loss is unknown, or a weight is negative or not finite.
    """

    count_loss: CountLoss = "dmcount"
    weight: float = 1.0
    ot_weight: float = 0.8
    tv_weight: float = 0.01
    once_per_pixel: bool = False

    def __post_init__(self) -> None:
        check_choice("loss.count_loss", self.count_loss, get_args(CountLoss))
        for name in ("weight", "ot_weight", "tv_weight"):
            check_number(f"loss.{name}", getattr(self, name), 0)

    def __call__(self, output: CountMap, points: Sequence[Points], bins: Bins, stride: int) -> dict[str, Tensor]:
        """Return the weighted terms; the training loss is their sum.

        Args:
            output: density (B, 1, rows, columns) and logits (B, K, rows, columns) of a blockwise network.
            points: (n, 2) of each crop, in its pixels; the crop is columns * stride wide and rows * stride high.
            bins: the K classes.
            stride: block side in pixels.

        Returns:
            Scalars: `cross_entropy`, and `mae`, `mse` or `count`, `transport` (about 0: only its gradient matters)
            and `variation`.

        Raises:
            InputError: the network gives no logits.
        """
        if output.logits is None:
            raise InputError("loss: DACE needs the class scores of a blockwise network; this one gives a density only")
        density = widen(output.density)
        blocks = block_targets(points, density, stride, self.once_per_pixel)
        entropy = functional.cross_entropy(widen(output.logits), bins.classes(blocks[:, 0]), reduction="none")
        terms = {"cross_entropy": entropy.flatten(1).sum(dim=1)}
        if self.count_loss == "dmcount":
            dm_count = DmCount(self.ot_weight, self.tv_weight).image_terms(density, blocks, points, stride)
            terms |= {name: self.weight * images for name, images in dm_count.items()}
        else:
            error = (density - blocks).flatten(1)
            power = error.abs() if self.count_loss == "mae" else error.square()
            terms[self.count_loss] = self.weight * power.sum(dim=1)
        return {name: images.mean() for name, images in terms.items()}
