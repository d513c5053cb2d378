"""Losses of squared distances between unit vectors, d = 2 - 2 s with their cosine similarity s."""

from torch import Tensor

from crowdcount.losses.contrastive.scores import anchor_mean, log_sum_exp
from crowdcount.losses.precision import widen


def alignment(cosine: Tensor, pos: Tensor) -> Tensor:
    """Return the mean squared distance of the positive pairs, a scalar; 0 without any.

    Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere", arXiv 2005.10242.

    Args:
        cosine: (A, R) cosine similarities.
        pos: (A, R) bool, the positive pairs.
    """
    squares = (2 - 2 * widen(cosine)).masked_fill(~pos, 0)
    return squares.sum() / pos.sum().clamp(min=1)


def uniformity(cosine: Tensor, pairs: Tensor, *, sharpness: float = 2.0) -> Tensor:
    """Return log(mean(exp(-sharpness * d))) over the pairs, a scalar at most 0, the lower the more uniform.

    0 without any pair. Wang and Isola, arXiv 2005.10242, over all pairs of different vectors. CLIP's loss with
    `alignment` and half of the sum of both modalities' uniformity is CUA, and with that of the pairs across them CUAXU:
    Fahim et al., "It's Not a Modality Gap", arXiv 2405.18570.

    Args:
        cosine: (A, R) cosine similarities.
        pairs: (A, R) bool, the pairs that count.
        sharpness: t of the paper.
    """
    exponents = sharpness * (2 * widen(cosine) - 2)
    total = log_sum_exp(exponents.reshape(1, -1), pairs.reshape(1, -1))
    return ((total - pairs.sum().clamp(min=1).to(total.dtype).log()) * pairs.any()).sum()


def tolerance(cosine: Tensor, pos: Tensor) -> Tensor:
    """Return the mean cosine similarity of the positive pairs, a scalar; 0 without any.

    Wang and Liu, "Understanding the Behaviour of Contrastive Loss", arXiv 2012.09740: what uniformity costs.

    Args:
        cosine: (A, R) cosine similarities.
        pos: (A, R) bool, pairs of one label.
    """
    return widen(cosine).masked_fill(~pos, 0).sum() / pos.sum().clamp(min=1)


def attraction(cosine: Tensor, pos: Tensor, *, sharpness: float = 1.0, group: Tensor | None = None) -> Tensor:
    """Return CACR's attraction: the mean over anchors of sum_p softmax_p(sharpness * d_ip) d_ip, a scalar.

    The farther a positive, the more it attracts; the weights have a gradient. 0 without positives. Zheng et al.,
    "Contrastive Attraction and Contrastive Repulsion for Representation Learning", arXiv 2105.03746. The loss is the
    sum of attraction and `repulsion`.

    Args:
        cosine: (A, R) cosine similarities.
        pos: (A, R) bool, the positives of each anchor.
        sharpness: t+ of the paper.
        group: (A,) int64; the mean over groups of the mean over their anchors.
    """
    return _expected_distance(cosine, pos, sharpness, group)


def repulsion(cosine: Tensor, neg: Tensor, *, sharpness: float = 2.0, group: Tensor | None = None) -> Tensor:
    """Return CACR's repulsion: minus the mean over anchors of sum_n softmax_n(-sharpness * d_in) d_in, a scalar.

    The nearer a negative, the more it repels. 0 without negatives. For several views the paper takes the mean over
    pairs of views x < y, of anchors in x with the other samples of y, a call for each. See `attraction`.

    Args:
        cosine: (A, R) cosine similarities.
        neg: (A, R) bool, the negatives of each anchor.
        sharpness: t- of the paper, 0.9 for CIFAR-10.
        group: (A,) int64; the mean over groups of the mean over their anchors.
    """
    return -_expected_distance(cosine, neg, -sharpness, group)


def distance_shares(cosine: Tensor, mask: Tensor, sharpness: float) -> Tensor:
    """Return the softmax of sharpness * d over each row's mask, (A, R): the weights of `attraction` and `repulsion`.

    CACR's code for ImageNet takes them without gradient, the negatives of a crop among the keys, and weighs crops by
    them; the tests compose its two losses of this function and `contrast`.

    Args:
        cosine: (A, R) cosine similarities.
        mask: (A, R) bool, the pairs that count.
        sharpness: above 0 the far pairs get the larger part, below 0 the near ones.
    """
    logits = sharpness * (2 - 2 * widen(cosine))
    return (logits - log_sum_exp(logits, mask)[:, None]).masked_fill(~mask, 0).exp().masked_fill(~mask, 0)


def _expected_distance(cosine: Tensor, mask: Tensor, sharpness: float, group: Tensor | None) -> Tensor:
    """Return the mean over anchors of the distances' mean under their softmax."""
    squares = 2 - 2 * widen(cosine)
    shares = distance_shares(cosine, mask, sharpness)
    return anchor_mean((shares * squares).sum(dim=1), mask.any(dim=1), group)
