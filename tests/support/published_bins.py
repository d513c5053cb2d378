"""The bin sets in the published code of CLIP-EBC (commit b52a594), which the recorded numbers are made with."""

import itertools
from typing import Literal

from crowdcount.models.blockwise.bins import Bins

Granularity = Literal["fine", "dynamic", "coarse"]

# (reduction, granularity) -> lower edges of the bins; the last one is open. `fine` bins follow from the truncation.
_EDGES: dict[tuple[int, Granularity], list[int]] = {
    (16, "dynamic"): [0, 1, 2, 3, 4, 6, 8],
    (16, "coarse"): [0, 1, 3, 5, 7],
    (32, "dynamic"): [*range(10), 10, 12, 14, 16, 18],
    (32, "coarse"): [0, *range(1, 20, 2)],
}

# (data set, reduction, truncation, granularity) -> mean block count of the bins where it is not the single count.
_AVERAGES: dict[tuple[str, int, int, Granularity], list[float]] = {
    ("sha", 8, 2, "fine"): [2.24479],
    ("shb", 8, 2, "fine"): [2.15171],
    ("nwpu", 8, 2, "fine"): [2.10737],
    ("qnrf", 8, 2, "fine"): [2.09296],
    ("jhu", 8, 2, "fine"): [2.18589],
    ("sha", 8, 4, "fine"): [4.29992],
    ("shb", 8, 4, "fine"): [4.41009],
    ("nwpu", 8, 4, "fine"): [4.21931],
    ("qnrf", 8, 4, "fine"): [4.21937],
    ("jhu", 8, 4, "fine"): [4.24058],
    ("qnrf", 8, 11, "fine"): [11],
    ("qnrf", 16, 8, "fine"): [9.23349],
    ("qnrf", 16, 8, "dynamic"): [4.29278, 6.31441, 9.23349],
    ("qnrf", 16, 8, "coarse"): [1.14978, 3.27641, 5.30609, 8.11466],
    ("qnrf", 32, 19, "fine"): [23.01897],
    ("qnrf", 32, 19, "dynamic"): [10.42903, 12.4332, 14.43341, 16.43521, 21.93548],
    ("qnrf", 32, 19, "coarse"): [
        1.23498, 3.36108, 5.40298, 7.41406, 9.42356, 11.43094, 13.43244, 15.43697, 17.43759, 23.01897,
    ],
}  # fmt: skip


def published_bins(
    dataset: str,
    reduction: int = 8,
    truncation: int = 4,
    granularity: Granularity = "fine",
    anchors: Literal["average", "middle"] = "average",
) -> Bins:
    """Return a bin set shipped with the published code.

    Args:
        dataset: sha, shb, nwpu, qnrf or jhu: whose training blocks the average anchors come from.
        reduction: block side in pixels, 8, 16 or 32.
        truncation: the published key of the set, 2, 4 or 11 (reduction 8), 8 (16), 19 (32).
        granularity: fine (single counts), dynamic (ranges above some count) or coarse (ranges throughout).
        anchors: average (mean count of the bin over all training blocks) or middle.
    """
    lows = list(range(truncation + 1)) if granularity == "fine" else _EDGES[reduction, granularity]
    intervals = [_format(low, high - 1) for low, high in itertools.pairwise(lows)] + [f"{lows[-1]}+"]
    means = _AVERAGES[dataset, reduction, truncation, granularity]
    average = [float(low) for low in lows[: len(lows) - len(means)]] + means
    return Bins(intervals, average if anchors == "average" else "middle")


def _format(low: int, high: int) -> int | str:
    return low if low == high else f"{low}-{high}"
