"""Calibrated intervals of counts by split conformal prediction: pure functions of counts, and their file."""

from crowdcount.intervals.calibration import Alarm, Calibration, Interval, State
from crowdcount.intervals.conformal import conformal_quantile, conformal_rank, coverage_law
from crowdcount.intervals.coverage import coverage_figures, interval_score
from crowdcount.intervals.file import Intervals, hash_counts
from crowdcount.intervals.fit import calibrate, calibrate_zones, choose_scale, loo_interval_score
from crowdcount.intervals.scale import SCALES, Scale

__all__ = [
    "SCALES",
    "Alarm",
    "Calibration",
    "Interval",
    "Intervals",
    "Scale",
    "State",
    "calibrate",
    "calibrate_zones",
    "choose_scale",
    "conformal_quantile",
    "conformal_rank",
    "coverage_figures",
    "coverage_law",
    "hash_counts",
    "interval_score",
    "loo_interval_score",
]
