"""Losses of several views of an instance that are pooled before the logarithm."""

import torch
from torch import Tensor

from crowdcount.losses.contrastive.scores import anchor_mean, log_sum_exp
from crowdcount.losses.precision import widen


def multi_view(scores: Tensor, pos: Tensor, neg: Tensor, instance: Tensor, *, decoupled: bool = False) -> Tensor:
    """Return MV-InfoNCE, or MV-DHEL if decoupled, the mean over instances; a scalar of at least float32.

    MV-InfoNCE: log sum of exp over all positive and negative pairs of the instance's views, less that over its positive
    pairs. MV-DHEL: the sum over its views of the log sum of exp over each view's negatives, less that over its positive
    pairs. Koromilas et al., "A Principled Framework for Multi-View Contrastive Learning", arXiv 2507.06979, as in the
    authors' code, which differs from their README. There negatives are all vectors of other instances for the first,
    those of the same view for the second, which also counts each pair of views once (half of the pairs adds log 2).

    An instance counts if it has a positive and a negative; 0 with zero gradients if there is none.

    Args:
        scores: (A, R) scores divided by their temperature.
        pos: (A, R) bool, the other views of the anchor's instance.
        neg: (A, R) bool, views of other instances.
        instance: (A,) int64, the instance of each anchor.
        decoupled: leave alignment out of the denominators.
    """
    scores = widen(scores)
    same = instance[:, None] == instance
    pushed = log_sum_exp(scores, neg if decoupled else pos | neg)
    pushes = neg.any(dim=1)
    valid = (same & pos.any(dim=1)).any(dim=1) & (same & pushes).any(dim=1)
    pulled = _pooled(log_sum_exp(scores, pos), same & pos.any(dim=1))
    if decoupled:
        bottom = (same * torch.where(pushes, pushed, 0)).sum(dim=1)
    else:
        bottom = _pooled(pushed, same & (pos | neg).any(dim=1))
    return anchor_mean(bottom - pulled, valid, instance)


def _pooled(values: Tensor, same: Tensor) -> Tensor:
    """Return for each anchor the log sum of exp of the values of its instance."""
    return log_sum_exp(values.expand(len(same), -1), same)
