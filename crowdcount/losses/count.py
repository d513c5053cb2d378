"""Losses of counts: of a detector's scores, of captions with numbers, and of a density map behind a generator.

None of them needs points.
"""

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.losses.precision import widen

_EXCLUDED = -1e4  # below every score: sorted to the end, and no hinge with `surplus` sees it


def soft_count(logits: Tensor, *, threshold: float, steepness: float = 5.0, mask: Tensor | None = None) -> Tensor:
    """Return how many of the last dimension's scores exceed the threshold, with a gradient; (...,).

    The sum of sigmoid(steepness * (logit - logit(threshold))). In the spirit of "D2D: Detector-to-Differentiable
    Critic for Improved Numeracy in Text-to-Image Generation"; the formula is our reconstruction, not theirs.

    Args:
        logits: (..., Q) logits of the scores.
        threshold: score above which a detection counts, between 0 and 1.
        steepness: how close the count is to that of the hard threshold.
        mask: bool, of the logits' shape, those that may count; all if not given.

    Raises:
        InputError: a threshold outside of (0, 1); a steepness that is not a positive number.
    """
    check_number("soft_count.steepness", steepness, 0, above=True)
    check_number("soft_count.threshold", threshold, 0, above=True)
    if threshold >= 1:
        raise InputError(f"soft_count.threshold: {threshold} must be below 1")
    edge = torch.logit(torch.tensor(threshold, dtype=torch.float64)).item()
    each = (steepness * (widen(logits) - edge)).sigmoid()
    return (each if mask is None else each.masked_fill(~mask, 0)).sum(dim=-1)


def soft_count_loss(count: Tensor, target: Tensor) -> Tensor:
    """Return the mean of smooth L1(count, target) / max(target, 1), a scalar. Ours, as is `soft_count`.

    Args:
        count: (B,) counts with a gradient.
        target: (B,) numbers of objects.
    """
    target = target.to(count.dtype)
    return (functional.smooth_l1_loss(count, target, reduction="none") / target.clamp(min=1)).mean()


def top_score_hinge(
    scores: Tensor,
    counts: Tensor,
    *,
    threshold: float = 0.1,
    surplus: float | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the hinge of the highest scores of each class, the mean over images; a scalar.

    An image loses sum_c sum_{k <= n_c} max(0, threshold - s_c^(k)) / sum_c n_c, where s^(k) is the k-th highest score,
    and nothing if it holds no object, which counts in the mean. Wang et al., "Prompt-Free Conditional Diffusion for
    Multi-object Image Augmentation" (PFCD), arXiv 2507.06146. Scores beyond the n_c highest are free there; with
    `surplus`, which is ours, an image also loses sum_c sum_{k > n_c} max(0, s_c^(k) - surplus) / max(sum_c n_c, 1).

    Args:
        scores: (B, C, Q) scores of each class, 0 to 1.
        counts: (B, C) int64, the objects of each class.
        threshold: score that an object should reach.
        surplus: score that the others should not exceed; null for the published, one-sided loss.
        mask: (B, C, Q) bool, the scores of each class; all if not given.

    Raises:
        InputError: a negative count, or one above the number of a class's scores.
    """
    available = torch.full_like(counts, scores.shape[2]) if mask is None else mask.sum(dim=2)
    bad = (counts < 0) | (counts > available)
    if bad.any():
        image, name = bad.nonzero()[0].tolist()
        raise InputError(
            f"counts: {counts[image, name].item()} objects of class {name} in image {image} must be between 0 and its "
            f"number of scores, {available[image, name].item()}"
        )
    scores = widen(scores) if mask is None else widen(scores).masked_fill(~mask, _EXCLUDED)
    ordered = scores.sort(dim=2, descending=True, stable=True).values
    wanted = torch.arange(scores.shape[2], device=scores.device) < counts[..., None]
    lost = (threshold - ordered).relu().where(wanted, 0)
    if surplus is not None:
        lost = lost + (ordered - surplus).relu().where(~wanted, 0)
    return (lost.sum(dim=(1, 2)) / counts.sum(dim=1).clamp(min=1)).mean()


def counterfactual_loss(right: Tensor, wrong: Tensor, *, scale: float = 1.0) -> Tensor:
    """Return Count-CLIP's loss, the mean of -log(e^(scale r) / (e^(scale r) + sum_w e^(scale w))); 0 without pairs.

    Paiss et al., "Teaching CLIP to Count to Ten", arXiv 2302.12066, with one wrong number and scale 1; it is added to
    CLIP's loss, whose negatives the wrong captions don't join. Several wrong numbers are those of its replication.

    Args:
        right: (B,) cosine similarities of images with their captions.
        wrong: (B,) or (B, K), with the same captions of wrong numbers.
        scale: one over a temperature.

    Raises:
        InputError: a scale that is not a positive number.
    """
    check_number("counterfactual_loss.scale", scale, 0, above=True)
    gaps = scale * (widen(wrong if wrong.ndim == 2 else wrong[:, None]) - widen(right)[:, None])
    if not gaps.numel():
        return gaps.sum()
    return functional.softplus(gaps.logsumexp(dim=1)).mean()


def count_token_loss(
    density: Tensor, target: Tensor, cosine: Tensor, *, scale: float | Tensor = 70.0, likeness: float = 10.0
) -> Tensor:
    """Return |sum(density) / scale - target| + likeness (1 - cosine), the mean over images; a scalar.

    Zafar et al., "Iterative Object Count Optimization for Text-to-image Diffusion Models", arXiv 2408.11721. It trains
    one token of a generator's prompt so that a counter finds the wanted number in the generated image.

    Args:
        density: (B, H, W) density map that the counter makes of the generated image.
        target: (B,) wanted counts.
        cosine: (B,) CLIP's cosine similarity of image and class.
        scale: density per object, or (B,) from `detector_scale`.
        likeness: weight of the second term.
    """
    count = widen(density).sum(dim=(1, 2)) / scale
    return ((count - target).abs() + likeness * (1 - widen(cosine))).mean()


def detector_scale(density: Tensor, detected: Tensor) -> Tensor:
    """Return the density per object that gives a map the detector's count, (B,); without gradient.

    The dynamic scale of Zafar et al., arXiv 2408.11721: the count takes the detector's value and the density's
    gradient.

    Args:
        density: (B, H, W) density maps.
        detected: (B,) number of detected objects.

    Raises:
        InputError: an image without a detected object, for which there is no scale.
    """
    if (detected <= 0).any():
        raise InputError(f"detected: {detected.tolist()} must be at least 1 each; take a fixed scale instead")
    return widen(density.detach()).sum(dim=(1, 2)) / detected
