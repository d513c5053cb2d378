"""Confidence intervals by resampling images."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_AT_ONCE: Final = 10_000  # resamples; limits the memory
_STREAM: Final = 104  # first word of the seeds here; other uses of the same seed have other words


def bootstrap(
    values: Floats, statistic: Callable[[Floats], Floats], resamples: int = 1000, share: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic of means over images.

    Images are drawn with replacement, as many as there are (Efron and Tibshirani, "An Introduction to the Bootstrap",
    1993, section 13.3). The interval estimates the variation over other images of the same kind, not over other
    training runs of the model. Resamples whose statistic is NaN are left out.

    Args:
        values: (N, K) contribution of each image.
        statistic: function of (R, K) means that returns (R,) figures, row by row.
        resamples: number of resamples R.
        share: share of the resamples inside the interval.
        seed: seed of the draws.

    Returns:
        Lower and upper end; NaN if no resample has a value.
    """
    count = len(values)
    rng = np.random.default_rng([_STREAM, seed])
    even = np.full(count, 1 / count)
    parts = [min(_AT_ONCE, resamples - start) for start in range(0, resamples, _AT_ONCE)]
    figures = np.concatenate([statistic(rng.multinomial(count, even, size=size) @ values / count) for size in parts])
    figures = figures[~np.isnan(figures)]
    if not len(figures):
        return float("nan"), float("nan")
    low, high = np.quantile(figures, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def count_intervals(
    predicted: list[float],
    true: list[float],
    resamples: int = 1000,
    seed: int = 0,
    images: Sequence[str] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of MAE, RMSE and NAE as defined by `count_errors`.

    Args:
        predicted: predicted counts.
        true: true counts.
        resamples: see `bootstrap`.
        seed: see `bootstrap`.
        images: image of each count; counts of one image are drawn together. By default, each has its own image.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    error, some = np.abs(p - t), t > 0
    relative = np.divide(error, t, out=np.zeros_like(error), where=some)
    values = np.stack([error, error**2, relative, some.astype(np.float64), np.ones_like(error)], axis=1)
    figures: dict[str, Callable[[Floats], Floats]] = {
        "mae": lambda means: means[:, 0] / means[:, 4],
        "rmse": lambda means: np.sqrt(means[:, 1] / means[:, 4]),
        "nae": lambda means: _ratio(means[:, 2], means[:, 3]),
    }
    summed = _summed(values, images)
    return {name: bootstrap(summed, figure, resamples, seed=seed) for name, figure in figures.items()}


def score_intervals(
    counts: list[tuple[int, int, int]], resamples: int = 1000, seed: int = 0, images: Sequence[str] | None = None
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of precision, recall and F1 from true and false positives and negatives.

    See `count_intervals` for the arguments.
    """
    figures: dict[str, Callable[[Floats], Floats]] = {
        "precision": lambda means: _ratio(means[:, 0], means[:, 0] + means[:, 1]),
        "recall": lambda means: _ratio(means[:, 0], means[:, 0] + means[:, 2]),
        "f1": lambda means: _ratio(2 * means[:, 0], 2 * means[:, 0] + means[:, 1] + means[:, 2]),
    }
    values = _summed(np.asarray(counts, np.float64), images)
    return {name: bootstrap(values, figure, resamples, seed=seed) for name, figure in figures.items()}


def _summed(values: Floats, images: Sequence[str] | None) -> Floats:
    """Sum the contributions of the results of each image."""
    if images is None:
        return values
    _, place = np.unique(np.asarray(images), return_inverse=True)
    total = np.zeros((place.max() + 1, values.shape[1]))
    np.add.at(total, place, values)
    return total


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
