"""Figures of a model's own intervals on a split: coverage, width and interval score, also by crowd level."""

from collections.abc import Sequence
from typing import Any

from crowdcount.evaluation.harness import ImageResult
from crowdcount.evaluation.summary import plain
from crowdcount.intervals.coverage import coverage_figures
from crowdcount.intervals.file import Intervals, hash_counts
from crowdcount.metrics.breakdown import crowd_level, crowd_levels


def interval_summary(
    results: Sequence[ImageResult], intervals: Intervals | None, level: float, edges: Sequence[int]
) -> dict[str, Any]:
    """Return the figures of `coverage_figures` as plain values for JSON; undefined and infinite ones are None.

    Beside them are the figures of each crowd level (`crowd_levels`), the images that the calibration is for (`data`,
    `about`), and whether they are the images evaluated (`same_images`), in which case the coverage is no test. Empty
    without intervals or without annotation.

    Args:
        results: results of `evaluate`.
        intervals: intervals of the model.
        level: their level in `results`.
        edges: highest true count of each crowd level but the last.
    """
    known = [each for each in results if each.true is not None and each.interval is not None]
    if not known or intervals is None:
        return {}
    groups = [crowd_level(float(each.true or 0), edges) for each in known]
    names = [name for name in crowd_levels(edges) if name in groups]
    parts = {name: [each for each, group in zip(known, groups, strict=True) if group == name] for name in names}
    fingerprint = hash_counts((each.name, float(each.true or 0)) for each in known)
    found: dict[str, Any] = plain(
        {
            **_figures(known, level),
            "crowd_levels": {name: _figures(part, level) for name, part in parts.items()},
            "data": intervals.data,
            "about": intervals.about,
            "same_images": fingerprint == intervals.fingerprint,
        }
    )
    return found


def _figures(results: Sequence[ImageResult], level: float) -> dict[str, Any]:
    ends = [each.interval for each in results if each.interval is not None]
    return coverage_figures(ends, [float(each.true or 0) for each in results], level)
