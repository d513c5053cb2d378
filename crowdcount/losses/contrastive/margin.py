"""Margin losses of distances, with labels between 0 and 1 for mixed embeddings."""

import torch
from torch import Tensor

from crowdcount.losses.contrastive.scores import unit


def margin_contrast(distance: Tensor, share: Tensor, *, margin: float = 0.5) -> Tensor:
    """Return share * mean(d) + (1 - share) * mean(max(0, margin - d)) over pairs of one label, a scalar.

    Each mean is over its terms above 0, as in the published code; 0 without any. For plain pairs the sum of two calls,
    one with the positives and share 1, one with the negatives and share 0.

    Args:
        distance: distances of unit vectors, of any shape.
        share: scalar, how positive the pairs are, 0 to 1.
        margin: distance from which on a negative loses nothing.
    """
    return share * _mean_above_zero(distance) + (1 - share) * _mean_above_zero((margin - distance).relu())


def mixed_distances(z_anchor: Tensor, z_ref: Tensor, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return the distances of each anchor to the mixtures share * first + (1 - share) * second, (T,); of unit vectors.

    Metrix mixes each positive of an anchor with each of its negatives, or, for anchors without positives, the anchor
    with each negative; a coin per batch decides, the weights are 0.4 and 0.3, the share is one draw from Beta(2, 2).
    Venkataramanan et al., "It Takes Two to Tango: Mixup for Deep Metric Learning", arXiv 2106.04990. The mixture is
    normalised again and has a gradient. Time and memory grow with A * R * R.

    Args:
        z_anchor: (A, d) embeddings of any length.
        z_ref: (R, d) embeddings of any length.
        first: (A, R) bool, references that are mixed in with `share`: the positives, or the anchor itself.
        second: (A, R) bool, those with the rest: the negatives.
        share: scalar.
    """
    anchor, one, other = (first[:, :, None] & second[:, None]).nonzero(as_tuple=True)
    references = unit(z_ref)
    mixed = unit(share * references[one] + (1 - share) * references[other])
    return _length(unit(z_anchor)[anchor] - mixed)


def euclidean(cosine: Tensor) -> Tensor:
    """Return the distances of unit vectors of given cosine similarity; of gradient 0 where they are equal."""
    square = (2 - 2 * cosine).clamp(min=0)
    return torch.where(square > 0, torch.where(square > 0, square, 1).sqrt(), 0)


def _length(vectors: Tensor) -> Tensor:
    square = vectors.square().sum(dim=-1)
    return torch.where(square > 0, torch.where(square > 0, square, 1).sqrt(), 0)


def _mean_above_zero(values: Tensor) -> Tensor:
    above = values > 0
    return values.where(above, 0).sum() / above.sum().clamp(min=1)
