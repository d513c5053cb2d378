"""Summary of the results of a split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.evaluation.harness import ImageResult
from crowdcount.metrics.bootstrap import count_intervals, score_intervals
from crowdcount.metrics.breakdown import (
    NWPU_CATEGORIES,
    NWPU_EDGES,
    crowd_level,
    crowd_levels,
    errors_by,
    nwpu_mean_mae,
)
from crowdcount.metrics.count import count_errors
from crowdcount.metrics.localisation import localisation_scores

Summary = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """Settings of the summary.

    Args:
        edges: highest count of each crowd level but the last; by default those of NWPU-Crowd's scene levels.
        resamples: number of bootstrap resamples; 0 for no intervals.
        seed: seed of the bootstrap.

    Raises:
        InputError: if the edges do not increase or a number is negative.
    """

    edges: tuple[int, ...] = NWPU_EDGES
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if list(self.edges) != sorted(set(self.edges)) or any(edge < 0 for edge in self.edges):
            raise InputError(f"edges: {list(self.edges)}; give rising counts of 0 or more, such as 50 500")
        check_number("bootstrap", self.resamples, 0)
        check_number("seed", self.seed, 0)


def summarise(results: Sequence[ImageResult], tables: Tables | None = None) -> Summary:
    """Return all figures of a split as plain values for JSON; undefined figures are None.

    Images without public annotation are counted under `without_annotation` and otherwise ignored.

    Raises:
        InputError: if there are no images.
    """
    if not results:
        raise InputError("the split has no images, so there is nothing to evaluate")
    known = [result for result in results if result.true is not None]
    images, withheld = (len({result.group for result in part}) for part in (known, _withheld(results)))
    summary: Summary = {"images": images, "without_annotation": withheld}
    if any(result.image for result in known):
        summary["expressions"] = len(known)
    if known:
        tables = tables or Tables()
        predicted, true = _counts(known)
        summary |= count_errors(predicted, true)
        if tables.resamples:
            groups = [result.group for result in known]
            summary["intervals"] = count_intervals(predicted, true, tables.resamples, tables.seed, groups)
        summary["points_outside"] = sum(result.outside for result in known)
        summary["game"] = [math.fsum(terms) / len(known) for terms in zip(*(r.game for r in known), strict=True)]
        summary["crowd_levels"] = _by_level(known, tables.edges)
        summary["attributes"] = _by_attribute(known)
        summary |= _nwpu(known)
        summary["localisation"] = _localisation(known, tables)
        summary |= _box_levels(known)
    whole: Summary = plain(summary)
    return whole


def _withheld(results: Sequence[ImageResult]) -> list[ImageResult]:
    return [result for result in results if result.true is None]


def plain(value: Any) -> Any:
    """Return nested values with NaN replaced by None and tuples by lists, since JSON has neither."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _counts(results: Sequence[ImageResult]) -> tuple[list[float], list[float]]:
    return [result.predicted for result in results], [float(result.true or 0) for result in results]


def _by_level(results: Sequence[ImageResult], edges: Sequence[int]) -> dict[str, Any]:
    predicted, true = _counts(results)
    table = errors_by([crowd_level(count, edges) for count in true], predicted, true)
    return {name: table[name] for name in crowd_levels(edges) if name in table}


def _by_attribute(results: Sequence[ImageResult]) -> dict[str, Any]:
    tables = {}
    for key in sorted({key for result in results for key in result.attributes}):
        own = [result for result in results if key in result.attributes]
        tables[key] = errors_by([result.attributes[key] for result in own], *_counts(own))
    return tables


def _nwpu(results: Sequence[ImageResult]) -> Summary:
    """Return the figures of NWPU-Crowd's server if the images have its levels and luminance."""
    if not all(NWPU_CATEGORIES.keys() <= result.attributes.keys() for result in results):
        return {}
    predicted, true = _counts(results)
    errors = count_errors(predicted, true)
    nae = -1.0 if math.isnan(errors["nae"]) else errors["nae"]
    parts = {
        category: nwpu_mean_mae(category, [result.attributes[category] for result in results], predicted, true)
        for category in NWPU_CATEGORIES
    }
    return {"nwpu": {**errors, "nae": nae, **parts}}


def _localisation(results: Sequence[ImageResult], tables: Tables) -> Summary:
    """Return summed hits and their scores for each rule that all images have."""
    rules = [rule for rule in results[0].hits if all(rule in result.hits for result in results)]
    found = {}
    for rule in rules:
        counts = [result.hits[rule] for result in results]
        totals = [sum(column) for column in zip(*counts, strict=True)]
        names = ("true_positives", "false_positives", "false_negatives")
        found[rule] = {**dict(zip(names, totals, strict=True)), **localisation_scores(*totals)}
        if tables.resamples:
            groups = [result.group for result in results]
            found[rule]["intervals"] = score_intervals(counts, tables.resamples, tables.seed, groups)
    return found


def _box_levels(results: Sequence[ImageResult]) -> Summary:
    """Return heads and recall of each box area level; see `level_hits` for why recall is an interval."""
    if not all(result.box_levels for result in results):
        return {}
    sums = np.sum([result.box_levels for result in results], axis=0).tolist()
    levels = {
        str(level): {"heads": heads, "recall_lowest": low / heads, "recall_highest": high / heads}
        for level, (heads, low, high) in enumerate(sums)
        if heads
    }
    return {"box_levels": levels}
