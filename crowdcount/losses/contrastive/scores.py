"""Scores of pairs, and sums and means over those of a mask.

Throughout this package a pair is an anchor i and a reference j. Its score is a cosine similarity over a temperature, or
any logit; `pos` and `neg` are (A, R) masks, and a pair in neither of them is ignored.
"""

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.losses.precision import widen


def unit(vectors: Tensor) -> Tensor:
    """Return the vectors, along the last dimension, at length 1; in float32 at least."""
    return functional.normalize(widen(vectors), dim=-1)


def cosines(z_anchor: Tensor, z_ref: Tensor) -> Tensor:
    """Return the (A, R) cosine similarities, in float32 at least: divided by 0.07, bfloat16 would be off by 0.03.

    Args:
        z_anchor: (A, d) embeddings of any length.
        z_ref: (R, d) embeddings of any length.
    """
    dtype = torch.promote_types(z_anchor.dtype, z_ref.dtype)
    with torch.autocast(z_anchor.device.type, enabled=False):
        return unit(z_anchor.to(dtype)) @ unit(z_ref.to(dtype)).T


def gated_scores(z_anchor: Tensor, z_ref: Tensor, gate: Tensor, *, scale: float | Tensor = 10.0) -> Tensor:
    """Return the (A, R) scores in the part of the space that each anchor's gate opens: scale * (z_i g_i^2) . z_j.

    The product is not normalised again. Wu et al., "Rethinking Positive Pairs in Contrastive Learning"
    (SimLAP; Hydra in the first version), arXiv 2410.18200, where the gate is learned from the two classes of a pair.

    Args:
        z_anchor: (A, d) embeddings of any length.
        z_ref: (R, d) embeddings of any length.
        gate: (A, d) factors, 0 to 1.
        scale: one over the temperature.
    """
    with torch.autocast(z_anchor.device.type, enabled=False):
        return scale * (unit(z_anchor) * widen(gate) ** 2) @ unit(z_ref).T


def log_sum_exp(scores: Tensor, mask: Tensor) -> Tensor:
    """Return log(sum(exp)) over the scores in the mask, (A,); finite, but meaningless, for rows without any."""
    # the lowest number instead of -inf: the gradient of a row of -inf is NaN, unused, but detect_anomaly stops at it
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).logsumexp(dim=1)


def row_means(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of each row over the mask, (A,); 0 for rows without any."""
    return values.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def anchor_mean(values: Tensor, valid: Tensor, group: Tensor | None = None, number: Tensor | None = None) -> Tensor:
    """Return the mean of the valid (A,) values, or the mean over groups of their means; 0 if there is none.

    Args:
        values: (A,) loss of each anchor.
        valid: (A,) bool, the anchors that count.
        group: (A,) int64, the group of each anchor.
        number: (A,) how often each anchor counts; once if not given.
    """
    share = valid.to(values.dtype) if number is None else number * valid.to(values.dtype)
    if group is not None:
        # every anchor gets its part of its group: no list of groups, which would wait for the GPU
        total = ((group[:, None] == group) * share).sum(dim=1)
        share = share / torch.where(total > 0, total, 1)
    total = share.sum()
    return (torch.where(valid, values, 0) * share).sum() / torch.where(total > 0, total, 1)
