"""Ranks and quantiles of split conformal prediction.

Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; Lei et al., "Distribution-Free
Predictive Inference for Regression", JASA 2018, arXiv 1604.04173.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from crowdcount.errors import InputError

Floats = NDArray[np.float64]


def conformal_rank(images: int, level: float) -> int:
    """Return k = ceil((n + 1) level): the k-th smallest of n scores bounds the next one with probability `level`.

    The level is read as the decimal number that it is written as, so that 20 x 0.95 is 19 and never a little more.

    Args:
        images: n, number of calibration scores.
        level: wanted probability, between 0 and 1.

    Raises:
        InputError: the level is not between 0 and 1.

    Example:
        >>> conformal_rank(19, 0.95)
        19
    """
    if not 0 < level < 1:
        raise InputError(f"level: {level} must be above 0 and below 1, such as 0.9")
    return math.ceil((images + 1) * Fraction(repr(float(level))))


def conformal_quantile(scores: Floats, level: float) -> float:
    """Return the score that the next one stays at or below with a probability of at least `level`.

    The probability is over the calibration scores and the next one together, which must be exchangeable; without ties
    it is below `level` + 1 / (n + 1).

    Args:
        scores: (N,) in ascending order.
        level: wanted probability, between 0 and 1.

    Returns:
        The score of rank `conformal_rank`; infinity if there are fewer scores.

    Raises:
        InputError: see `conformal_rank`.
    """
    rank = conformal_rank(len(scores), level)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def coverage_law(images: int, level: float, tail: float = 0.05) -> tuple[float, float]:
    """Return the lower and upper point of the coverage that one calibration has in the long run.

    It varies between calibrations by the law Beta(k, n + 1 - k) with k = `conformal_rank` (Vovk, "Conditional Validity
    of Inductive Conformal Predictors", 2012); the level is reached on average over them.

    Args:
        images: n, number of calibration images.
        level: level of the intervals.
        tail: share of the calibrations below the lower and above the upper point.

    Raises:
        InputError: see `conformal_rank`.

    Example:
        >>> [round(point, 3) for point in coverage_law(images=182, level=0.9)]
        [0.863, 0.935]
    """
    rank = conformal_rank(images, level)
    if rank > images:
        return 1.0, 1.0  # the interval has no end
    low, high = (float(betaincinv(rank, images + 1 - rank, share)) for share in (tail, 1 - tail))
    return low, high
