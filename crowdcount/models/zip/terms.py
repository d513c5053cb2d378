"""Loss functions of block counts."""

import torch
from torch import Tensor
from torch.nn import functional

SCALES = (1, 2, 4)
"""Sides of the windows of `multiscale_errors`, in blocks."""


def zero_inflated_nll(zero_logits: Tensor, rate: Tensor, counts: Tensor, epsilon: float = 0.0) -> Tensor:
    """Return the negative log-likelihood of block counts y under a zero-inflated Poisson distribution.

    With p0 = P(structural zero), p1 = 1 - p0 and the rate lambda it is, without the constant ln y!,
    -ln(p0 + p1 e^-lambda) for y = 0 and -ln p1 - y ln lambda + lambda otherwise (arXiv 2506.19955).

    Args:
        zero_logits: (B, 2, ...), logits of a structural zero and of none.
        rate: (B, 1, ...), lambda.
        counts: (B, 1, ...), y.
        epsilon: added inside the three logarithms; 0 computes with log-sum-exp, whose gradient never vanishes.

    Returns:
        (B, 1, ...).
    """
    if epsilon:
        zero, present = zero_logits.softmax(dim=1).chunk(2, dim=1)
        nothing = -(zero + present * (-rate).exp() + epsilon).log()
        some = -(present + epsilon).log()
    else:
        zero, present = functional.log_softmax(zero_logits, dim=1).chunk(2, dim=1)
        nothing = -torch.logaddexp(zero, present - rate)
        some = -present
    return torch.where(counts == 0, nothing, some + poisson_nll(rate, counts, epsilon))


def poisson_nll(rate: Tensor, counts: Tensor, epsilon: float = 0.0) -> Tensor:
    """Return the negative log-likelihood of counts y under a Poisson distribution, without the constant ln y!.

    Args:
        rate: lambda, of any shape.
        counts: y.
        epsilon: added inside the logarithm.
    """
    return rate - torch.xlogy(counts, rate + epsilon)


def multiscale_errors(density: Tensor, counts: Tensor, whole_windows: bool = False) -> tuple[Tensor, ...]:
    """Return absolute errors of the means over windows of 1, 2 and 4 blocks, each summed over an image.

    Args:
        density: (B, 1, rows, columns).
        counts: (B, 1, rows, columns), true.
        whole_windows: ignore blocks at the right and bottom that do not fill a window; otherwise the map is padded with
            zeros.

    Returns:
        (B,) for each of `SCALES`.
    """
    error = density - counts
    rows, columns = error.shape[-2:]
    errors = []
    for scale in SCALES:
        padded = error if whole_windows else functional.pad(error, (0, -columns % scale, 0, -rows % scale))
        errors.append(functional.avg_pool2d(padded, scale).abs().sum(dim=(1, 2, 3)))
    return tuple(errors)
