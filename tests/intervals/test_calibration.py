"""Split conformal intervals: coverage as the theory says, ties, few images, oracles."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest

from crowdcount.errors import InputError
from crowdcount.intervals import (
    Scale,
    calibrate,
    calibrate_zones,
    choose_scale,
    conformal_quantile,
    conformal_rank,
    coverage_law,
    loo_interval_score,
)
from crowdcount.intervals.calibration import Calibration

REPEATS = 1000
FEW = 300  # of what takes longer
CONSTANT = Scale("constant")


def crowd(rng, images):
    """Return true counts, predicted counts and variances with errors that grow with the variance."""
    true = np.floor(rng.lognormal(5, 1, images))
    variance = true / 4 + 1
    predicted = np.maximum(true + rng.standard_t(3, images) * 3 * np.sqrt(variance), 0)
    return true, predicted, variance


def test_rank_of_a_level_is_exact():
    assert [conformal_rank(n, 0.95) for n in (18, 19, 38, 39, 99)] == [19, 19, 38, 38, 95]
    assert all(conformal_rank(10 * n - 1, 0.7) == 7 * n for n in range(1, 200))
    assert conformal_rank(99, 0.99) == 99 and conformal_rank(98, 0.99) == 99
    for level in (0, 1, -0.1, 1.5, math.nan):
        with pytest.raises(InputError, match="level"):
            conformal_rank(10, level)


@pytest.mark.parametrize(("images", "level"), [(19, 0.9), (50, 0.9), (182, 0.9), (30, 0.8)])
def test_coverage_follows_its_beta_law(images, level):
    rng = np.random.default_rng(images)
    scores = np.sort(np.abs(rng.standard_t(3, (REPEATS, images))), axis=1)
    quantiles = [conformal_quantile(row, level) for row in scores]
    # the share of all possible images that one calibration covers
    covered = np.array([1 - 2 * _student_tail(quantile) for quantile in quantiles])
    error = 3 * covered.std() / math.sqrt(REPEATS)
    assert level - error <= covered.mean() <= level + 1 / (images + 1) + error
    rank = conformal_rank(images, level)
    assert kstest(covered, beta(rank, images + 1 - rank).cdf).pvalue > 1e-3


def _student_tail(value):
    """Return the upper tail of Student's distribution of 3 degrees of freedom."""
    x = value / math.sqrt(3)
    return 0.5 - (x / (1 + x * x) + math.atan(x)) / math.pi


def test_law_of_the_coverage():
    points = {19: (0.774, 0.981), 30: (0.805, 0.972), 100: (0.848, 0.945), 500: (0.877, 0.921)}
    assert {n: tuple(round(point, 3) for point in coverage_law(n, 0.9)) for n in points} == points
    assert coverage_law(8, 0.9) == (1, 1)  # such an interval has no end


@pytest.mark.parametrize("form", ["constant", "count", "root_count", "variance"])
def test_next_image_is_covered_whatever_the_scale(form):
    rng, level, images, hits = np.random.default_rng(4), 0.9, 29, []
    for _ in range(REPEATS):
        true, predicted, variance = (each.tolist() for each in crowd(rng, images + 1))
        fitted = calibrate(true[1:], predicted[1:], variance[1:], Scale(form, 2.0))
        low, high, _ = fitted.interval(predicted[0], variance[0], level)
        hits.append(low <= true[0] <= high)
    deviation = 3 * math.sqrt(level * (1 - level) / REPEATS)
    assert level - deviation <= np.mean(hits) <= level + 1 / (images + 1) + deviation


def test_scale_chosen_on_other_images_keeps_coverage():
    rng, level, hits = np.random.default_rng(5), 0.9, []
    for _ in range(FEW):
        true, predicted, variance = (each.tolist() for each in crowd(rng, 60))
        scale = choose_scale(true[:30], predicted[:30], variance[:30])
        fitted = calibrate(true[31:], predicted[31:], variance[31:], scale)
        low, high, _ = fitted.interval(predicted[30], variance[30], level)
        hits.append(low <= true[30] <= high)
    deviation = 3 * math.sqrt(level * (1 - level) / FEW)
    assert level - deviation <= np.mean(hits) <= level + 1 / 30 + deviation


def test_groups_are_each_covered():
    rng, level = np.random.default_rng(6), 0.9
    hits = {False: [], True: []}
    for _ in range(FEW):
        true, predicted, _ = (each.tolist() for each in crowd(rng, 80))
        fitted = calibrate(true[1:], predicted[1:], scale=CONSTANT, edges=[150])
        low, high, _ = fitted.interval(predicted[0], level=level)
        hits[predicted[0] >= 150].append(low <= true[0] <= high)
    for group in hits.values():
        assert np.mean(group) >= level - 3 * math.sqrt(level * (1 - level) / len(group))
    # one quantile for all fails the larger crowds of this law, so the groups matter
    true, predicted, _ = crowd(rng, 20_000)
    fitted, large = calibrate(true, predicted, scale=CONSTANT), predicted >= 150
    ends = [fitted.interval(count, level=level) for count in predicted[large]]
    assert np.mean([low <= t <= high for (low, high, _), t in zip(ends, true[large], strict=True)]) < 0.88


def test_zones_are_covered_together():
    rng, level, zones, hits = np.random.default_rng(7), 0.9, 4, []
    for _ in range(FEW):
        true = rng.poisson(20, (30, zones)).astype(float)
        predicted = np.maximum(true + rng.normal(0, 4, (30, 1)) + rng.normal(0, 2, (30, zones)), 0)
        fitted = calibrate_zones(true[1:].tolist(), predicted[1:].tolist(), scale=CONSTANT)
        ends = [fitted.interval(count, level=level) for count in predicted[0]]
        hits.append(all(low <= t <= high for (low, high, _), t in zip(ends, true[0], strict=True)))
    deviation = 3 * math.sqrt(level * (1 - level) / FEW)
    assert level - deviation <= np.mean(hits) <= level + 1 / 30 + deviation


def test_alarm_misses_no_more_than_it_says():
    rng, miss, missed, raised = np.random.default_rng(8), 0.1, [], []
    for _ in range(FEW):
        true, predicted, variance = (each.tolist() for each in crowd(rng, 40))
        alarm = calibrate(true[1:], predicted[1:], variance[1:]).alarm(200, predicted[0], variance[0], miss)
        assert bool(alarm) == alarm.raised == (alarm.upper > 200)
        missed.append(true[0] > 200 and not alarm)
        raised.append(bool(alarm))
    assert np.mean(missed) <= miss + 3 * math.sqrt(miss * (1 - miss) / FEW)
    assert np.mean(raised) < 0.9  # an alarm that always rings misses nothing


def test_ties_only_widen_intervals():
    true, predicted = [10.0] * 30 + [14.0] * 9, [10.0] * 39
    fitted = calibrate(true, predicted, scale=CONSTANT)
    assert fitted.interval(10.0, level=0.75) == (10, 10, "calibrated")  # rank 30: 30 of 39 are exact
    assert fitted.interval(10.0, level=0.8) == (6, 14, "calibrated")


def test_too_few_images_say_so():
    true, predicted = list(range(1, 20)), [float(i) for i in range(2, 21)]
    fitted = calibrate(true, predicted, scale=CONSTANT)
    assert fitted.interval(10.0, level=0.95).state == "calibrated"
    assert fitted.interval(10.0, level=0.96) == (0, math.inf, "too_few_images")
    alarm = fitted.alarm(1e9, 10.0, miss=0.01)
    assert (alarm.raised, alarm.upper, alarm.state) == (True, math.inf, "too_few_images")
    with pytest.raises(InputError, match="no images"):
        calibrate([], [])


def test_groups_need_images_each():
    true, predicted = [float(i) for i in range(40)], [float(i) for i in range(1, 41)]
    fitted = calibrate(true, predicted, scale=CONSTANT, edges=[35])
    assert [len(group) for group in fitted.scores] == [34, 6] and fitted.images == 40
    assert fitted.interval(34.9).state == "calibrated" and fitted.interval(35.0).state == "too_few_images"


def test_counts_outside_the_calibration_say_so():
    fitted = calibrate([5.0] * 20, [float(i) for i in range(10, 30)], scale=CONSTANT)
    assert [fitted.interval(count).state for count in (9.9, 10, 29, 29.1)] == [
        "outside_range",
        "calibrated",
        "calibrated",
        "outside_range",
    ]
    assert fitted.interval(9.9).low == 0.0
    assert fitted.alarm(3, 40.0).state == "outside_range"


counts = st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 5000)), min_size=1, max_size=60)
levels = st.floats(0.01, 0.99)


def test_an_approximate_level_is_said_where_nothing_worse_is():
    """The ends are the same; few images and counts outside the range remain what they are."""
    fitted = calibrate([10.0] * 20, [float(count) for count in range(1, 21)], scale=CONSTANT)
    marked = replace(fitted, approximate=True)
    assert marked.interval(5.0)[:2] == fitted.interval(5.0)[:2] and fitted.interval(5.0).state == "calibrated"
    states = [marked.interval(count, level=level).state for count, level in ((5.0, 0.9), (21.0, 0.9), (5.0, 0.99))]
    assert states == ["approximate", "outside_range", "too_few_images"]
    assert marked.alarm(3.0, 5.0).state == "approximate"


@settings(max_examples=40)
@given(counts, st.floats(0, 6000), st.tuples(levels, levels), st.sampled_from(["constant", "count", "root_count"]))
def test_intervals_are_nested_and_not_negative(pairs, count, pair, form):
    fitted = calibrate(*zip(*pairs, strict=True), scale=Scale(form))
    inner, outer = (fitted.interval(count, level=level) for level in sorted(pair))
    assert 0 <= outer.low <= inner.low <= count <= inner.high <= outer.high
    first, second = (fitted.alarm(0, count, miss=miss).upper for miss in sorted(pair))
    assert 0 <= second <= first


@given(counts, st.floats(0, 6000), levels)
@settings(max_examples=40)
def test_larger_errors_never_shorten_an_interval(pairs, count, level):
    true, predicted = zip(*pairs, strict=True)
    further = [t + (t >= p) for t, p in pairs]
    shorter, longer = (calibrate(each, predicted, scale=CONSTANT) for each in (true, further))
    assert longer.interval(count, level=level).high >= shorter.interval(count, level=level).high


@pytest.mark.parametrize(("images", "level"), [(15, 0.5), (15, 0.9), (100, 0.8), (100, 0.99), (333, 0.9), (333, 0.95)])
def test_equal_to_crepes(images, level):
    regressor = pytest.importorskip("crepes").ConformalRegressor()
    true, predicted, variance = crowd(np.random.default_rng(images), images)
    scale = Scale("variance")
    sizes = np.sqrt(variance + 1)
    regressor.fit(true - predicted, sigmas=sizes)
    theirs = regressor.predict_int(predicted, sigmas=sizes, confidence=level, y_min=0)
    fitted = calibrate(true.tolist(), predicted.tolist(), variance.tolist(), scale)
    ours = [fitted.interval(*each, level)[:2] for each in zip(predicted.tolist(), variance.tolist(), strict=True)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("images", "level"), [(30, 0.5), (30, 0.95), (100, 0.8), (333, 0.9)])
def test_equal_to_mapie(images, level):
    regression = pytest.importorskip("mapie.regression")
    from sklearn.base import BaseEstimator, RegressorMixin

    class Given(RegressorMixin, BaseEstimator):
        """A model whose prediction is its input."""

        fitted_ = True

        def fit(self, values, counts):
            return self

        def predict(self, values):
            return np.asarray(values)[:, 0]

    true, predicted, _ = crowd(np.random.default_rng(images), images)
    conformal = regression.SplitConformalRegressor(Given(), confidence_level=level, prefit=True)
    conformal.conformalize(predicted[:, None], true)
    _, theirs = conformal.predict_interval(predicted[:, None])
    fitted = calibrate(true.tolist(), predicted.tolist(), scale=CONSTANT)
    ours = np.array([fitted.interval(count, level=level)[:2] for count in predicted.tolist()])
    np.testing.assert_allclose(ours, np.maximum(theirs[:, :, 0], 0), rtol=1e-12, atol=1e-12)


def test_scale_with_the_lowest_interval_score_is_chosen():
    rng = np.random.default_rng(9)
    true, predicted, variance = crowd(rng, 400)
    chosen = choose_scale(true.tolist(), predicted.tolist(), variance.tolist())
    assert chosen.form in ("variance", "root_count")  # the variance of this law grows with the count
    even = true + rng.normal(0, 5, 400)
    assert choose_scale(true.tolist(), np.maximum(even, 0).tolist(), variance.tolist()).form == "constant"
    with pytest.raises(InputError, match="too few to compare"):
        choose_scale(true[:9].tolist(), predicted[:9].tolist(), None)


def test_left_out_images_get_the_interval_of_the_others():
    true, predicted, _ = (each.tolist() for each in crowd(np.random.default_rng(10), 25))
    scores = []
    for index, (count, found) in enumerate(zip(true, predicted, strict=True)):
        rest = [each[:index] + each[index + 1 :] for each in (true, predicted)]
        low, high, _ = calibrate(*rest, scale=CONSTANT).interval(found, level=0.8)
        scores.append(high - low + 10 * (max(low - count, 0) + max(count - high, 0)))
    assert loo_interval_score(true, predicted, None, CONSTANT, 0.8) == pytest.approx(np.mean(scores))


def test_invalid_counts_and_groups_are_refused():
    with pytest.raises(InputError, match="image 1 has the true count -1"):
        calibrate([3, -1], [2.0, 2.0])
    with pytest.raises(InputError, match="predicted count nan"):
        calibrate([3], [math.nan])
    with pytest.raises(InputError, match="rising edges"):
        calibrate([3.0], [2.0], edges=[5, 4])
    with pytest.raises(InputError, match="groups"):
        Calibration(CONSTANT, (np.zeros(1),), (3.0,), (0, 1))
    with pytest.raises(InputError, match="predict a distribution"):
        calibrate([3.0], [2.0], scale=Scale("variance"))
    with pytest.raises(InputError, match="scale"):
        Scale("other")
