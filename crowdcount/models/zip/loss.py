"""Losses of ZIP: zero-inflated Poisson likelihood, bin classification, multi-scale and total count errors.

Source: Ma, Sanchez, Guha, "ZIP: Scalable Crowd Counting via Zero-Inflated Poisson Modeling", arXiv 2506.19955; terms
and weights are those of its code (commit bada31d).
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
from crowdcount.losses.transport import transport, variation
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.zip.base import ZeroInflatedMap
from crowdcount.models.zip.terms import SCALES, multiscale_errors, poisson_nll, zero_inflated_nll

DensityTerm = Literal["zip", "poisson", "multiscale", "dmcount", "mae", "mse"]


@dataclass
class ZipLoss:
    """ZIP loss: classification of the blocks' bins, two losses of their counts, and the error of the whole count.

    Each term is summed over the blocks of an image and averaged over the images of a batch. A density loss is one of

    - zip: zero-inflated Poisson negative log-likelihood, without ln y!, see `zero_inflated_nll`;
    - poisson: Poisson negative log-likelihood of the density, without ln y!;
    - multiscale: absolute errors of the means over windows of 1, 2 and 4 blocks;
    - dmcount: optimal transport and total variation of DM-Count (arXiv 2009.13077), without its count error;
    - mae, mse: absolute, squared errors of the blocks.

    Bins are classified in blocks with people only; the other blocks are left to the zero head. A network with a single
    head (as in the family ebc) accepts all terms except "zip", and its bins are classified in all blocks.

    Args:
        regression: the first density loss.
        auxiliary: the second density loss; null for none.
        class_weight: weight of the classification.
        regression_weight: weight of the first density loss.
        auxiliary_weight: weight of the second density loss.
        scale_weights: weights of the windows of 1, 2 and 4 blocks.
        ot_weight: weight of the optimal transport within dmcount. The published code sums it over the batch, times 0.1,
            which equals 0.8 with the batch of 8 in its recipes.
        tv_weight: weight of the total variation within dmcount.
        epsilon: added inside the logarithms; 1e-8 in the published code, which limits a block's loss to 18.4 and stops
            the gradient of larger errors. 0 computes in log space throughout.
        whole_windows: ignore blocks at the right and bottom that do not fill a window, as published.
        once_per_pixel: several points in one pixel count once in the blocks, as in the published label maps; the error
            of the whole count still counts all points.

    Raises:
        InputError: a loss is unknown, or a weight is negative or not finite.
    """

    regression: DensityTerm = "zip"
    auxiliary: DensityTerm | None = "multiscale"
    class_weight: float = 1.0
    regression_weight: float = 1.0
    auxiliary_weight: float = 1.0
    scale_weights: tuple[float, float, float] = (0.25, 0.5, 1.0)
    ot_weight: float = 0.8
    tv_weight: float = 0.01
    epsilon: float = 0.0
    whole_windows: bool = False
    once_per_pixel: bool = False

    def __post_init__(self) -> None:
        for key in ("regression", "auxiliary"):
            check_choice(f"loss.{key}", getattr(self, key), (*get_args(DensityTerm), *[None] * (key == "auxiliary")))
        names = ("class_weight", "regression_weight", "auxiliary_weight", "ot_weight", "tv_weight", "epsilon")
        weights = {name: getattr(self, name) for name in names}
        weights |= {f"scale_weights[{index}]": weight for index, weight in enumerate(self.scale_weights)}
        for name, weight in weights.items():
            check_number(f"loss.{name}", weight, 0)

    def __call__(self, output: CountMap, points: Sequence[Points], bins: Bins, stride: int) -> dict[str, Tensor]:
        """Return the weighted terms; the training loss is their sum.

        Args:
            output: output of a network of the family zip, or of another blockwise classifier.
            points: (n, 2) of each crop, in its pixels; the crop is columns * stride wide and rows * stride high.
            bins: the K classes.
            stride: block side in pixels.

        Returns:
            Scalars: `cross_entropy`, `count`, and those of the density losses: `zip`, `poisson`, `mae`, `mse`,
            `scale_1`, `scale_2`, `scale_4`, `transport` (about 0: only its gradient matters) and `variation`; those of
            the second one begin with `auxiliary_`.

        Raises:
            InputError: the network gives no bin scores, or "zip" is used without a head for structural zeros.
        """
        density = output.density
        blocks = block_targets(points, density, stride, self.once_per_pixel)
        counts = density.new_tensor([len(each) for each in points])
        terms = {"cross_entropy": self.class_weight * _cross_entropy(output, bins.classes(blocks[:, 0]))}
        chosen = (("", self.regression, self.regression_weight), ("auxiliary_", self.auxiliary, self.auxiliary_weight))
        for prefix, term, weight in chosen:
            if term is not None:
                parts = self._density_terms(term, output, blocks, counts, points, stride)
                terms |= {prefix + name: weight * part for name, part in parts.items()}
        terms["count"] = (density.sum(dim=(1, 2, 3)) - counts).abs()
        return {name: images.mean() for name, images in terms.items()}

    def _density_terms(
        self,
        term: DensityTerm,
        output: CountMap,
        blocks: Tensor,
        counts: Tensor,
        points: Sequence[Points],
        stride: int,
    ) -> dict[str, Tensor]:
        """Return the parts of a density loss for each image, (B,)."""
        density = output.density
        if term == "multiscale":
            errors = multiscale_errors(density, blocks, self.whole_windows)
            weighted = zip(SCALES, self.scale_weights, errors, strict=True)
            return {f"scale_{scale}": weight * error for scale, weight, error in weighted}
        if term == "dmcount":
            return {
                "transport": self.ot_weight * transport(density, points, stride),
                "variation": self.tv_weight * variation(density, blocks, counts),
            }
        return {term: self._block_losses(term, output, blocks).flatten(1).sum(dim=1)}

    def _block_losses(self, term: DensityTerm, output: CountMap, blocks: Tensor) -> Tensor:
        """Return the loss of each block, (B, 1, rows, columns)."""
        if term == "poisson":
            return poisson_nll(output.density, blocks, self.epsilon)
        if term in ("mae", "mse"):
            error = output.density - blocks
            return error.abs() if term == "mae" else error.square()
        if not isinstance(output, ZeroInflatedMap):
            raise InputError("loss: 'zip' needs a network of the family zip, which has a head for structural zeros")
        return zero_inflated_nll(output.zero_logits, output.rate, blocks, self.epsilon)


def _cross_entropy(output: CountMap, classes: Tensor) -> Tensor:
    """Return the classification loss of each image, (B,)."""
    if isinstance(output, ZeroInflatedMap):  # no class for the blocks without people
        entropy = functional.cross_entropy(output.rate_logits, classes - 1, ignore_index=-1, reduction="none")
    elif output.logits is not None:
        entropy = functional.cross_entropy(output.logits, classes, reduction="none")
    else:
        raise InputError("loss: bins are classified by a blockwise network; this one gives a density only")
    return entropy.flatten(1).sum(dim=1)
