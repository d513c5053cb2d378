"""Calibrations from true and predicted counts, and the choice of a scale."""

import math
from collections.abc import Sequence

import numpy as np

from crowdcount.errors import InputError
from crowdcount.intervals.calibration import Calibration
from crowdcount.intervals.conformal import Floats, conformal_rank
from crowdcount.intervals.coverage import interval_score
from crowdcount.intervals.scale import SCALES, Scale

Variances = Sequence[float | None]
"""Sum of the variances of the blocks of each image; None if the network predicts no distribution."""


def calibrate(
    true: Sequence[float],
    predicted: Sequence[float],
    variances: Variances | None = None,
    scale: Scale | None = None,
    edges: Sequence[float] = (),
) -> Calibration:
    """Return the calibration of counts of images that no training and no choice has seen.

    Args:
        true: true counts.
        predicted: predicted counts, in the same order.
        variances: see `Variances`; None for none.
        scale: expected size of an error, chosen without these images; by default the first of `SCALES` that suits.
        edges: predicted counts at which groups begin, each with intervals of its own; chosen without these images.

    Raises:
        InputError: there are no images, or a true count is negative, or a count not finite.

    Example:
        >>> calibration = calibrate(true=[8, 11, 9, 12, 10], predicted=[10.0] * 5, scale=Scale("constant"))
        >>> calibration.interval(10.0, level=0.8)
        Interval(low=8.0, high=12.0, state='calibrated')
    """
    scale, spread = scale or default_scale(variances), list(variances or [None] * len(true))
    scores = signed_scores(true, predicted, spread, scale)
    group = np.searchsorted(np.asarray(edges, np.float64), np.asarray(predicted, np.float64), side="right")
    parts = tuple(np.sort(scores[group == number]) for number in range(len(edges) + 1))
    return Calibration(scale, parts, tuple(map(float, edges)), (float(min(predicted)), float(max(predicted))))


def calibrate_zones(
    true: Sequence[Sequence[float]],
    predicted: Sequence[Sequence[float]],
    variances: Sequence[Variances] | None = None,
    scale: Scale | None = None,
) -> Calibration:
    """Return a calibration whose intervals hold for all zones of an image together.

    The score of an image is the largest absolute score of its zones.

    Args:
        true: true counts of the zones of each image, the same zones in the same order.
        predicted: likewise predicted counts.
        variances: likewise sums of the variances of the blocks.
        scale: see `calibrate`.

    Raises:
        InputError: see `calibrate`.
    """
    spread = list(variances or [[None] * len(each) for each in true])
    scale = scale or default_scale([each for image in spread for each in image])
    parts = [signed_scores(*image, scale) for image in zip(true, predicted, spread, strict=True)]
    worst = np.sort([np.abs(each).max() for each in parts])
    counts = [count for image in predicted for count in image]
    return Calibration(scale, (worst,), (), (float(min(counts)), float(max(counts))))


def default_scale(variances: Variances | None) -> Scale:
    """Return the first of `SCALES` that suits: by the variance where every image has one, by the count otherwise."""
    known = bool(variances) and None not in (variances or ())
    return next(scale for scale in SCALES if known or not scale.needs_variance)


def choose_scale(
    true: Sequence[float], predicted: Sequence[float], variances: Variances | None = None, level: float = 0.9
) -> Scale:
    """Return the scale of `SCALES` with the lowest interval score, by leaving out one image after the other.

    The images may not serve for calibration as well: intervals would be chosen to be short on them.

    Args:
        true: see `calibrate`.
        predicted: see `calibrate`.
        variances: see `calibrate`.
        level: level of the compared intervals.

    Raises:
        InputError: see `calibrate`; or there are too few images for the level.
    """
    first = default_scale(variances)
    candidates = [scale for scale in SCALES if first.needs_variance or not scale.needs_variance]
    return min(candidates, key=lambda scale: loo_interval_score(true, predicted, variances, scale, level))


def loo_interval_score(
    true: Sequence[float], predicted: Sequence[float], variances: Variances | None, scale: Scale, level: float
) -> float:
    """Return the mean interval score of images, each with the interval that all the others give.

    Raises:
        InputError: there are too few images for the level.
    """
    spread = list(variances or [None] * len(true))
    scores = np.abs(signed_scores(true, predicted, spread, scale))
    order, rank = np.sort(scores), conformal_rank(len(scores) - 1, level)
    if rank >= len(order):
        raise InputError(f"images: {len(scores)} are too few to compare scales at the level {level}")
    quantile = np.where(scores <= order[rank - 1], order[rank], order[rank - 1])  # of the other scores
    counts = np.asarray(predicted, np.float64)
    margin = quantile * np.array([scale(*each) for each in zip(counts.tolist(), spread, strict=True)])
    low = np.maximum(counts - margin, 0)
    return float(interval_score(low, counts + margin, np.asarray(true, np.float64), level).mean())


def signed_scores(true: Sequence[float], predicted: Sequence[float], variances: Variances, scale: Scale) -> Floats:
    """Return (N,) (true - predicted) / scale.

    Raises:
        InputError: there are no images, or a true count is negative, or a count not finite.
    """
    if not len(true):
        raise InputError("calibration: there are no images; give at least 19 for intervals of 95 %")
    for number, (count, found) in enumerate(zip(true, predicted, strict=True)):
        if not 0 <= count < math.inf or not math.isfinite(found):
            raise InputError(f"calibration: image {number} has the true count {count} and the predicted count {found}")
    sizes = [scale(count, variance) for count, variance in zip(predicted, variances, strict=True)]
    scores: Floats = (np.asarray(true, np.float64) - np.asarray(predicted, np.float64)) / np.array(sizes)
    return scores
