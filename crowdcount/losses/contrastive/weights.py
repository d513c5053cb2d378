"""Weights and targets of pairs, from labels or from similarities; arguments of `contrast`."""

from typing import Literal, get_args

import torch
from torch import Tensor

from crowdcount.checks import check_choice, check_number
from crowdcount.losses.contrastive.scores import cosines
from crowdcount.losses.precision import widen

Distance = Literal["linear", "inverse_linear", "square", "inverse_square"]


def label_distance_weight(delta: Tensor, distance: Distance = "linear") -> Tensor:
    """Return SupReMix's factor of each negative in the denominator, (A, R): the farther its label, the more it counts.

    Wu et al., "Mixup Your Own Pairs", arXiv 2309.16633, whose code calls the four L1_inv (its default), L1, L2_inv and
    L2.

    Args:
        delta: (A, R) label of the reference less that of the anchor.
        distance: 1 + |delta|, its inverse, 1 + delta^2, or its inverse.

    Raises:
        InputError: an unknown distance.
    """
    check_choice("label_distance_weight.distance", distance, get_args(Distance))
    factor = 1 + (delta.abs() if distance.endswith("linear") else delta**2)
    return 1 / factor if distance.startswith("inverse") else factor


def ordinal_target(delta: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Return targets of CWCL for ordered labels, (A, R): exp(-|delta| / bandwidth). They are ours, not the paper's.

    Args:
        delta: (A, R) label of the reference less that of the anchor.
        bandwidth: difference of the labels at which the target falls to 1/e.

    Raises:
        InputError: a bandwidth that is not a positive number.
    """
    check_number("ordinal_target.bandwidth", bandwidth, 0, above=True)
    return (-delta.abs() / bandwidth).exp()


def similarity_target(frozen: Tensor) -> Tensor:
    """Return CWCL's targets, (A, A): half the cosine similarity of a frozen encoder's embeddings, plus a half.

    Srinivasa et al., "CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss", arXiv 2309.14580. An
    anchor is its own reference here, of target 1. The paper adds the plain contrast of the other direction.

    Args:
        frozen: (A, d) embeddings of the frozen modality, without gradient.
    """
    return cosines(frozen.detach(), frozen.detach()) / 2 + 0.5


def dclw_pull(own: Tensor, *, sigma: float = 0.5, view: Tensor | None = None) -> Tensor:
    """Return DCLW's factor of the score of each anchor's positive, (A, 1): 2 - B softmax(own / sigma).

    The softmax runs over the B anchors of a view: the more similar a positive is, the less it pulls. Yeh et al.,
    "Decoupled Contrastive Learning", arXiv 2110.06848. It is a weight and has no gradient here;
    implementations differ on that.

    Args:
        own: (A,) cosine similarity of each anchor with its one positive, without temperature.
        sigma: temperature of the softmax.
        view: (A,) int64, the view of each anchor; one view if not given.

    Raises:
        InputError: a sigma that is not a positive number.
    """
    check_number("dclw_pull.sigma", sigma, 0, above=True)
    logits = widen(own.detach()) / sigma
    same = torch.ones(len(own), len(own), dtype=torch.bool, device=own.device)
    if view is not None:
        same = view[:, None] == view
    total = logits.expand(len(own), -1).masked_fill(~same, -torch.inf).logsumexp(dim=1)
    return (2 - same.sum(dim=1) * (logits - total).exp())[:, None]
