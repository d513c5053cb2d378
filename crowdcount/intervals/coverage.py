"""Figures of intervals on images with known counts: coverage, width, interval score."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import betaincinv

from crowdcount.intervals.calibration import Interval
from crowdcount.intervals.conformal import Floats


def interval_score(low: Floats, high: Floats, true: Floats, level: float) -> Floats:
    """Return (N,) interval scores: the width, and 2 / (1 - level) times the distance of a true count outside.

    Source: Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA 2007, section 6.2.
    Lower is better; the expected score is lowest for the true quantiles.

    Example:
        >>> interval_score(np.array([80.0]), np.array([120.0]), np.array([125.0]), level=0.9).round(6)
        array([140.])
    """
    outside = np.maximum(low - true, 0) + np.maximum(true - high, 0)
    score: Floats = high - low + 2 / (1 - level) * outside
    return score


def coverage_figures(intervals: Sequence[Interval], true: Sequence[float], level: float) -> dict[str, Any]:
    """Return the figures of intervals of one level.

    Args:
        intervals: one for each image, at least one.
        true: true counts, in the same order.
        level: probability with which each interval was to hold the true count.

    Returns:
        `level`, `images`, `coverage` and its exact 95 % binomial interval `coverage_interval` (Clopper and Pearson
        1934), `mean_width`, `median_width`, `median_relative_width` (width over true count, over images with people;
        NaN if there are none), `interval_score` (mean) and `states` (images by state). Widths and scores are infinite
        if some interval is.
    """
    low, high = (np.array([each[end] for each in intervals]) for end in (0, 1))
    counts = np.asarray(true, np.float64)
    inside, some = int(((low <= counts) & (counts <= high)).sum()), counts > 0
    width = high - low
    return {
        "level": level,
        "images": len(counts),
        "coverage": inside / len(counts),
        "coverage_interval": binomial_interval(inside, len(counts)),
        "mean_width": float(width.mean()),
        "median_width": float(np.median(width)),
        "median_relative_width": float(np.median(width[some] / counts[some])) if some.any() else float("nan"),
        "interval_score": float(interval_score(low, high, counts, level).mean()),
        "states": dict(sorted(Counter(each.state for each in intervals).items())),
    }


def binomial_interval(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson, Biometrika 1934).

    Example:
        >>> [round(end, 4) for end in binomial_interval(hits=90, trials=100)]
        [0.8238, 0.951]
    """
    tail = (1 - level) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high
