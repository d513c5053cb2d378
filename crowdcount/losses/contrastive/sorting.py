"""Contrast by sorting: positives are to take the highest ranks of a differentiable sorting network."""

import math

import torch
from torch import Tensor

from crowdcount.checks import check_number
from crowdcount.losses.precision import widen


def soft_sort(values: Tensor, *, steepness: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return softly sorted values, ascending, (B, n), and what part of each rank an item takes, (B, item, rank).

    The odd-even network of n layers. Each comparator mixes its two inputs a and b: the lower output is
    h a + (1 - h) b, with h = 1/2 + atan(steepness (b - a)) / pi. Petersen et al., "Monotonic Differentiable Sorting
    Networks", arXiv 2203.09630, of which it is the Cauchy distribution.

    Args:
        values: (B, n) values.
        steepness: how hard the comparators decide.

    Raises:
        InputError: a steepness that is not a positive number.
    """
    check_number("soft_sort.steepness", steepness, 0, above=True)
    values = widen(values)
    size = values.shape[1]
    ranks = torch.eye(size, dtype=values.dtype, device=values.device).expand(len(values), -1, -1)
    for layer in range(size):
        low = torch.arange(layer % 2, size - 1, 2, device=values.device)
        first, second = values[:, low], values[:, low + 1]
        hold = 0.5 + (steepness * (second - first)).atan() / math.pi
        values = _exchange(values, low, hold)
        ranks = _exchange(ranks, low, hold[:, None])
    return values, ranks


def group_ordering(pos_scores: Tensor, neg_scores: Tensor, *, steepness: float = 1.0) -> Tensor:
    """Return GroCo's loss, the binary cross-entropy of each item's mass on the ranks of the positives; a scalar.

    It is the mean over anchors and items; 0 without anchors. Shvetsova et al., "Learning by Sorting: Self-supervised
    Learning with Group Ordering Constraints", arXiv 2301.02009. There the negatives are the 10 hardest of the anchor's
    own view, the references have no gradient, and the network gets negatives, then positives, each in ascending order,
    which this function sees to. The network has as many layers as items: its time and memory grow with their square.

    Args:
        pos_scores: (A, p) cosine similarities with the positives of each anchor.
        neg_scores: (A, n) cosine similarities with its negatives.
        steepness: of the network.

    Raises:
        InputError: a steepness that is not a positive number.
    """
    items = torch.cat([widen(neg_scores).sort(dim=1).values, widen(pos_scores).sort(dim=1).values], dim=1)
    if not items.numel():
        return items.sum()
    _, ranks = soft_sort(items, steepness=steepness)
    wanted = torch.arange(items.shape[1], device=items.device) >= neg_scores.shape[1]
    high = ranks[:, :, wanted].sum(dim=2).clamp(0, 1)
    low = ranks[:, :, ~wanted].sum(dim=2).clamp(0, 1)
    # both are one cross-entropy but for rounding; each part is exact where its mass is small
    return -torch.where(wanted, _log(high), _log(low)).mean()


def _exchange(values: Tensor, low: Tensor, hold: Tensor) -> Tensor:
    """Return the values with each pair of neighbours, at `low` and after it, mixed."""
    first, second = values[..., low], values[..., low + 1]
    mixed = values.clone()
    mixed[..., low] = hold * first + (1 - hold) * second
    mixed[..., low + 1] = (1 - hold) * first + hold * second
    return mixed


def _log(mass: Tensor) -> Tensor:
    """Return the logarithm, at least -100 as in binary cross-entropy, with a finite gradient at 0."""
    return torch.where(mass > 0, torch.where(mass > 0, mass, 1).log(), -100.0).clamp(min=-100)
