"""Figures of intervals on images with known counts."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from crowdcount.intervals import Interval, coverage_figures, interval_score
from crowdcount.intervals.coverage import binomial_interval


@pytest.mark.parametrize(("hits", "trials"), [(0, 7), (7, 7), (1, 9), (90, 100), (163, 182)])
def test_binomial_interval_is_the_exact_one(hits, trials):
    expected = binomtest(hits, trials).proportion_ci(0.95, method="exact")
    assert binomial_interval(hits, trials) == pytest.approx((expected.low, expected.high))


def test_figures():
    intervals = [Interval(8, 12, "calibrated"), Interval(0, 4, "calibrated"), Interval(50, 90, "outside_range")]
    figures = coverage_figures(intervals, [12, 0, 100], 0.9)
    assert figures["coverage"] == pytest.approx(2 / 3) and figures["images"] == 3
    assert figures["mean_width"] == 16 and figures["median_width"] == 4
    assert figures["median_relative_width"] == pytest.approx((4 / 12 + 40 / 100) / 2)
    assert figures["interval_score"] == pytest.approx((4 + 4 + 40 + 20 * 10) / 3)
    assert figures["states"] == {"calibrated": 2, "outside_range": 1}


def test_infinite_intervals_cover_and_have_no_width():
    figures = coverage_figures([Interval(0, math.inf, "uncalibrated")], [5], 0.9)
    assert figures["coverage"] == 1 and figures["mean_width"] == figures["interval_score"] == math.inf


def test_interval_score_is_lowest_for_the_quantiles():
    sample = np.random.default_rng(0).normal(size=20_000)

    def mean(end):
        low, high = np.full_like(sample, -end), np.full_like(sample, end)
        return interval_score(low, high, sample, 0.9).mean()

    assert min((1.3, 1.645, 2.0), key=mean) == 1.645
