"""Figures of a model's own intervals on a split."""

import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.evaluation.harness import ImageResult, Scoring
from crowdcount.evaluation.intervals import interval_summary
from crowdcount.evaluation.summary import summarise
from crowdcount.evaluation.table import results_csv
from crowdcount.evaluation.text import summary_text
from crowdcount.intervals import Interval, Intervals, calibrate, hash_counts

NOWHERE = np.zeros((0, 2), np.int64)


def result(name, true, low, high, state="calibrated"):
    ends = Interval(low, high, state)
    return ImageResult(name, low + 5, NOWHERE, true, game=(1.0,), hits={"r": (1, 0, 0)}, interval=ends)


RESULTS = [result("a", 5, 0, 10), result("b", 50, 10, 40), result("c", 60, 50, 70), result("d", 70, 40, 90)]


def intervals(fingerprint="0"):
    calibration = calibrate([1, 2], [1.0, 3.0])
    return Intervals("0" * 64, "in one pass", "sha/val", "streets", fingerprint, image=calibration)


def test_coverage_is_reported_by_crowd_level():
    found = interval_summary(RESULTS, intervals(), 0.9, (10,))
    assert (found["coverage"], found["mean_width"], found["images"]) == (0.75, 27.5, 4)
    assert found["interval_score"] == pytest.approx((10 + 30 + 20 + 50 + 20 * 10) / 4)
    levels = found["crowd_levels"]
    assert {name: row["coverage"] for name, row in levels.items()} == {"0-10": 1, ">10": pytest.approx(2 / 3)}
    assert (found["data"], found["about"], found["same_images"]) == ("sha/val", "streets", False)


def test_text_says_what_holds_and_what_does_not():
    results = [*RESULTS, result("e", 9, 0, np.inf, "too_few_images")]
    fingerprint = hash_counts((each.name, each.true) for each in results)
    summary = summarise(results) | {
        "calibrated_intervals": interval_summary(results, intervals(fingerprint), 0.9, (10,))
    }
    assert summary["calibrated_intervals"]["mean_width"] is None
    text = summary_text(summary)
    for line in (
        "90 % intervals, calibrated on sha/val: streets",
        "1 images are in the state too_few_images",
        "these are the images of the calibration: the coverage is no test",
        "nothing is guaranteed for images of another kind than those of the calibration",
    ):
        assert line in text.splitlines()
    assert "calibrated" not in summary_text(summarise(RESULTS))


def test_table_has_the_ends():
    head, first, *_ = results_csv(RESULTS).splitlines()
    assert head.endswith(",low,high,interval") and first.endswith(",0,10,calibrated")
    plain = [ImageResult("a", 1.0, NOWHERE, 1)]
    assert "interval" not in results_csv(plain)


def test_nothing_is_said_without_intervals_or_truth():
    assert interval_summary([ImageResult("a", 1.0, NOWHERE, 1)], None, 0.9, ()) == {}
    assert interval_summary([ImageResult("a", 1.0, NOWHERE)], intervals(), 0.9, ()) == {}
    with pytest.raises(InputError, match="level"):
        Scoring(level=1.0)
