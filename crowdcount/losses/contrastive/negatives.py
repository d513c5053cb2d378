"""Negatives that count: the hardest of each anchor."""

import torch
from torch import Tensor

from crowdcount.checks import check_number
from crowdcount.errors import InputError


def hardest(scores: Tensor, neg: Tensor, *, fraction: float | None = None, number: int | None = None) -> Tensor:
    """Return the hardest negatives of each anchor, those of the highest scores, (A, R) bool; detached.

    Wang and Liu, "Understanding the Behaviour of Contrastive Loss", arXiv 2012.09740: the paper keeps a fraction of
    0.0819 for CIFAR-10, 0.0315 for SVHN.

    Args:
        scores: (A, R) scores.
        neg: (A, R) bool, the negatives of each anchor.
        fraction: share of each anchor's negatives to keep, rounded up.
        number: how many to keep of each anchor, all if it has fewer.

    Raises:
        InputError: none or both of fraction and number; a fraction not between 0 and 1; a number below 1.
    """
    if (fraction is None) == (number is None):
        raise InputError(f"hardest: give either fraction or number, not fraction={fraction} and number={number}")
    available = neg.sum(dim=1)
    if fraction is not None:
        check_number("hardest.fraction", fraction, 0, 1, above=True)
        # less a hair: 0.2 * 15 in floating point is above 3
        keep = (available.double() * fraction - 1e-9).ceil().clamp(min=1).long()
    else:
        assert number is not None
        check_number("hardest.number", number, 1)
        keep = torch.full_like(available, number)
    with torch.no_grad():
        order = scores.masked_fill(~neg, -torch.inf).argsort(dim=1, descending=True, stable=True)
        first = torch.arange(scores.shape[1], device=scores.device) < keep[:, None]
        return torch.zeros_like(neg).scatter(1, order, first) & neg
