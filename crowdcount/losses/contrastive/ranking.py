"""Losses that order positives above negatives by their differences, and the area under the ROC curve."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.losses.contrastive.scores import anchor_mean, row_means
from crowdcount.losses.precision import widen


def mann_whitney(
    scores: Tensor, pos: Tensor, neg: Tensor, *, max_pairs: int = 4_000_000, generator: torch.Generator | None = None
) -> Tensor:
    """Return the mean of softplus(s_n - s_p) over all positives and all negatives, also of different anchors.

    A scalar of at least float32; 0 with zero gradients without a positive or a negative. Divided by log 2 it bounds the
    area over the ROC curve from above. Sheikholeslami et al., "Optimizing What Matters: AUC-Driven Learning for Robust
    Neural Retrieval", arXiv 2510.00137, equation 3, which takes the sum over negatives instead. As it compares
    anchors with each other, one threshold for all of them gets a meaning; the softmax contrasts don't see a constant
    added to an anchor's scores.

    Args:
        scores: (A, R) scores divided by their temperature, or logits.
        pos: (A, R) bool, the positives.
        neg: (A, R) bool, the negatives.
        max_pairs: with more pairs of a positive and a negative, random ones are drawn from both sides.
        generator: of the draw, on the device of the scores.
    """
    scores = widen(scores)
    high, low = scores[pos], scores[neg]
    if not len(high) or not len(low):
        return scores[:0].sum()
    if len(high) * len(low) > max_pairs:
        side = max(math.isqrt(max_pairs), max_pairs // max(len(high), len(low)), 1)
        high = _draw(high, min(side, max_pairs // min(side, len(low))), generator)
        low = _draw(low, max_pairs // len(high), generator)
    return functional.softplus(low - high[:, None]).mean()


def auc(scores: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    """Return the area under the ROC curve of all positives against all negatives, a float64 scalar; NaN without either.

    It is the part of the pairs of a positive and a negative that are in order; equal scores count half.

    Args:
        scores: of any shape.
        pos: bool, of the same shape.
        neg: bool, of the same shape.
    """
    high, low = scores[pos].detach().contiguous(), scores[neg].detach().sort().values
    below = torch.searchsorted(low, high) + torch.searchsorted(low, high, right=True)
    return below.double().mean() / (2 * len(low)) if len(low) else torch.full_like(below.double().sum(), math.nan)


def mean_gap(scores: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    """Return the mean over anchors of the mean score of their negatives less that of their positives.

    The simple loss of Wang and Liu, "Understanding the Behaviour of Contrastive Loss", arXiv 2012.09740, and with `neg`
    from `hardest` their hard simple loss. An anchor counts if it has both. A scalar of at least float32.

    Args:
        scores: (A, R) cosine similarities, without temperature.
        pos: (A, R) bool, the positives of each anchor.
        neg: (A, R) bool, the negatives of each anchor.
    """
    scores = widen(scores)
    return anchor_mean(row_means(scores, neg) - row_means(scores, pos), pos.any(dim=1) & neg.any(dim=1))


def _draw(values: Tensor, number: int, generator: torch.Generator | None) -> Tensor:
    if number >= len(values):
        return values
    return values[torch.randperm(len(values), generator=generator, device=values.device)[:number]]
