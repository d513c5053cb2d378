"""The HMoDE losses: density on all levels, attention, expert importance, relative local counting.

Source: Du et al., arXiv 2208.02894, and the authors' code (commit 693c104). D is the true density and P_j are the maps
(experts, groups, output), all in people per pixel times `SCALE`. A map is constant on its cells, so maps need not be
upsampled to pixels: over a cell, sum (P - D)^2 = area ((P - mean D)^2 + var D).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.losses.precision import widen
from crowdcount.models.hmode.network import SCALE, ExpertMaps

_PERSON = 1e-5  # people per pixel above which a pixel counts as occupied, as published


@dataclass
class Target:
    """True density on the grids of the network.

    Attributes:
        mean: (B, 1, H / s, W / s), D averaged over the cells of the maps.
        variance: (B, 1, H / s, W / s), variance of D within each of those cells.
        presence: (B, 1, H / S, W / S), fraction of occupied pixels in each cell of the attention map.
        side: s, pixels of a cell of the maps.
        coarse_side: S, pixels of a cell of the attention map.
    """

    mean: Tensor
    variance: Tensor
    presence: Tensor
    side: int
    coarse_side: int

    @classmethod
    def from_density(cls, density: Tensor, output: ExpertMaps) -> "Target":
        """Return the target for an output.

        Args:
            density: (B, H, W), people per pixel.
            output: output of the network for the same images.

        Raises:
            InputError: the images are not made of whole cells.
        """
        scaled = density[:, None].to(output.maps) * SCALE
        side, coarse_side = (_side(density, grid) for grid in (output.maps, output.attention))
        mean = functional.avg_pool2d(scaled, side)
        variance = (functional.avg_pool2d(scaled.square(), side) - mean.square()).clamp(min=0)
        presence = functional.avg_pool2d((scaled > _PERSON * SCALE).to(scaled), coarse_side)
        return cls(mean, variance, presence, side, coarse_side)


@dataclass
class HmodeLoss:
    """HMoDE loss, a weighted sum of four terms.

    Args:
        expert_weight: weight of each expert's map in the density and the relative term.
        group_weight: weight of each group's map.
        output_weight: weight of the mixture, the prediction.
        attention_weight: weight of the cross-entropy between the attention map and the occupied pixels.
        importance_weight: weight of the squared coefficient of variation of the experts' total shares.
        relative: relative local counting term: "local" is the absolute count error of the hard regions, with gradient,
            plus the ordering of their counts from the paper's figure; "released" is the form of the released code,
            which orders the regions but has no gradient on their level; null omits the term.
        relative_weight: weight of that term. "local" is in people per region; "released" is in squared errors and
            people times `SCALE` per image, divided according to `reduction`. In the authors' code, where it is switched
            off, its weight is 1.
        regions: number of hard regions per image, which have the largest squared error of the density.
        region: side of a region in pixels, a multiple of the maps' stride.
        reduction: "mean" divides the published sums by the number of pixels in the batch, so that the crop size does
            not affect the balance with the importance term; "sum" divides them, and the importance term, by the number
            of images only, as published.

    Raises:
        InputError: a weight or number is out of range.
    """

    expert_weight: float = 1.0
    group_weight: float = 2.0
    output_weight: float = 4.0
    attention_weight: float = 1.0
    importance_weight: float = 1.0
    relative: Literal["local", "released"] | None = "local"
    relative_weight: float = 0.01
    regions: int = 9
    region: int = 16
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        for term in ("expert", "group", "output", "attention", "importance", "relative"):
            check_number(f"loss.{term}_weight", getattr(self, f"{term}_weight"), 0)
        for key, choices in (("relative", (None, "local", "released")), ("reduction", ("mean", "sum"))):
            check_choice(f"loss.{key}", getattr(self, key), choices)
        for key in ("regions", "region"):
            check_number(f"loss.{key}", getattr(self, key), 1)

    def __call__(self, output: ExpertMaps, density: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms.

        Args:
            output: of the network.
            density: (B, H, W), the true density, people per pixel.

        Raises:
            InputError: the images do not consist of whole cells or are smaller than a region.
        """
        target = Target.from_density(density, output)
        weights = self.map_weights(output.maps)
        images, published = len(density), self.reduction == "sum"
        scale = 1 / images if published else 1 / density.numel()
        terms = {
            "density": scale * (weights * density_errors(output.maps, target)).sum(),
            "attention": scale * self.attention_weight * attention_loss(output.attention, target),
            "importance": self.importance_weight * importance_loss(output.gates) / (images if published else 1),
        }
        if self.relative is not None:
            hard = hard_regions(output.maps, target, self.region, self.regions)
            pixels = density.numel() / images
            errors = local_counting(hard) * pixels if self.relative == "local" else released_local_counting(hard)
            terms["relative"] = scale * self.relative_weight * (weights * errors).sum()
        return terms

    def map_weights(self, maps: Tensor) -> Tensor:
        """Return the weight of each of the 2 E + 1 maps (B, 2 E + 1, ...)."""
        experts = maps.shape[1] // 2
        return maps.new_tensor([self.expert_weight] * experts + [self.group_weight] * experts + [self.output_weight])


def density_errors(maps: Tensor, target: Target) -> Tensor:
    """Return the sum over pixels of (P_j - D)^2 for each image and map, (B, M).

    The released code compares the target of each image with the predictions for all images of a batch; here it is
    compared with its own.
    """
    return target.side**2 * ((maps - target.mean).square() + target.variance).sum(dim=(2, 3))


def attention_loss(logits: Tensor, target: Target) -> Tensor:
    """Return the binary cross-entropy of the attention map with the occupied pixels, summed over images and pixels.

    Computed from logits, it needs no epsilon inside the logarithms (published: 1e-10).
    """
    loss = functional.binary_cross_entropy_with_logits(logits, target.presence, reduction="sum")
    return target.coarse_side**2 * loss


def importance_loss(gates: Tensor) -> Tensor:
    """Return the squared coefficient of variation (unbiased) of the experts' total shares, summed over the groups.

    Args:
        gates: (B, G, K, h, w), shares of the K experts in each group; a group of one expert contributes 0.
    """
    use = widen(gates).sum(dim=(0, 3, 4))
    if use.shape[1] < 2:
        return use.new_zeros(())
    return (use.var(dim=1) / (use.mean(dim=1).square() + 1e-10)).sum()


@dataclass
class HardRegions:
    """The R regions of each image and map with the largest squared error, ordered by their true count.

    Attributes:
        index: (B, M, R), row-major index of the region.
        error: (B, M, R), sum over its pixels of (P_j - D)^2, without gradient.
        predicted: (B, M, R), sum over its pixels of P_j: people times `SCALE`.
        true: (B, M, R), sum over its pixels of D, in descending order; ties are ordered by error.
    """

    index: Tensor
    error: Tensor
    predicted: Tensor
    true: Tensor


def hard_regions(maps: Tensor, target: Target, region: int, count: int) -> HardRegions:
    """Return the hard regions among square tiles from the top left corner, ignoring a remainder.

    Args:
        maps: (B, M, H / s, W / s).
        target: the true density.
        region: side of a region in pixels.
        count: number of regions per map and image; all of them if there are fewer.

    Raises:
        InputError: no region fits, or a region does not consist of whole cells.
    """
    side, left = divmod(region, target.side)
    if left or min(maps.shape[-2:]) < side:
        height, width = (cells * target.side for cells in maps.shape[-2:])
        raise InputError(
            f"loss.region: {region} should be a multiple of {target.side} and fit into crops of {width} x {height}"
        )

    def sums(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, side).flatten(2) * region**2

    errors = sums((maps.detach() - target.mean).square() + target.variance)
    true = sums(target.mean).expand_as(errors)
    hardest = errors.argsort(dim=2, descending=True, stable=True)[..., :count]
    index = hardest.gather(2, true.gather(2, hardest).argsort(dim=2, descending=True, stable=True))
    return HardRegions(index, *(values.gather(2, index) for values in (errors, sums(maps), true)))


def local_counting(hard: HardRegions) -> Tensor:
    """Return the local counting error of each map in people, summed over the images, (M,).

    For each image: the mean over its hard regions of |x - y|, plus the mean over the pairs of ranks (j, j + 3) of
    max(0, x_{j+3} - x_j), where x are predicted and y true counts, ranked by y. The abstract mentions a local counting
    map and relative count differences among hard-predicted regions, and the paper's figure has the formula of the
    second part. Using the same regions for the first part, and averaging and adding both, is our interpretation.
    """
    level = (hard.predicted - hard.true).abs().mean(dim=2)
    order = _misorder(hard, steps=(3,))
    pairs = max(hard.true.shape[2] - 3, 1)
    return (level + order / pairs).sum(dim=0) / SCALE


def released_local_counting(hard: HardRegions) -> Tensor:
    """Return the relative term of the released code for each map, summed over the images, (M,).

    It consists of the squared errors of the hard regions, which carry no gradient, and
    max(0, x_{j+3} - x_j) + max(0, x_{j+6} - x_j), in people times `SCALE`. Its gradient sums to zero over the regions:
    it affects their order, but not their level.
    """
    return (hard.error.sum(dim=2) + _misorder(hard, steps=(3, 6))).sum(dim=0)


def _misorder(hard: HardRegions, steps: tuple[int, ...]) -> Tensor:
    """Return the excess of regions over those `steps` ranks above, (B, M)."""
    x = hard.predicted
    return torch.stack([(x[..., step:] - x[..., : max(x.shape[2] - step, 0)]).relu().sum(2) for step in steps]).sum(0)


def _side(image: Tensor, grid: Tensor) -> int:
    """Return the side of a cell in pixels."""
    side = image.shape[-1] // grid.shape[-1]
    if any(cells * side != pixels for cells, pixels in zip(grid.shape[-2:], image.shape[-2:], strict=True)):
        height, width = image.shape[-2:]
        raise InputError(f"data.augment.crop: {width} x {height} pixels are not made of whole cells of the network")
    return side
