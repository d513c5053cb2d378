"""Count bins of blockwise classifiers: which counts make a class, and what a class is worth.

Source: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise Classification",
arXiv 2403.09281, and the tables shipped with its code (commit b52a594).
"""

import itertools
import math
import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crowdcount.errors import InputError

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


@dataclass
class Bins:
    """Classes of a block count.

    Args:
        intervals: the bins from 0 up, without gaps: a count `2`, a range `"4-5"`, last an open bin `"8+"`.
        anchors: what a block of each class counts: numbers, or "middle" of the bins (of an open bin its
            lower edge).

    Raises:
        InputError: the bins leave a gap, overlap or do not end open; anchors of the wrong number or order.
    """

    intervals: list[int | str]
    anchors: list[float] | Literal["middle"] = "middle"

    def __post_init__(self) -> None:
        edges = [_parse(interval) for interval in self.intervals]
        expected: float = 0
        for (low, high), text in zip(edges, self.intervals, strict=True):
            if low != expected or high < low:
                raise InputError(f"bins.intervals: {text!r} should start at {expected} (got {self.intervals})")
            expected = high + 1
        if not edges or edges[-1][1] != math.inf:
            raise InputError(f"bins.intervals: the last bin must be open, such as '4+' (got {self.intervals})")
        self._edges = edges
        self._anchors = self._check_anchors()

    def _check_anchors(self) -> list[float]:
        if self.anchors == "middle":
            return [float(low) if high == math.inf else (low + high) / 2 for low, high in self._edges]
        values = [float(value) for value in self.anchors]
        if len(values) != len(self._edges) or sorted(set(values)) != values:
            raise InputError(
                f"bins.anchors: {len(self._edges)} ascending numbers are needed, one for each bin; got {self.anchors}"
            )
        return values

    def __len__(self) -> int:
        return len(self._edges)

    @property
    def edges(self) -> list[tuple[int, float]]:
        """Lowest and highest count of each bin; the last highest is infinity."""
        return list(self._edges)

    @property
    def values(self) -> list[float]:
        """Anchor of each bin."""
        return list(self._anchors)

    def classes(self, counts: Tensor) -> Tensor:
        """Return the int64 class of every whole block count; the shape stays."""
        lows = counts.new_tensor([low for low, _ in self._edges])
        return torch.bucketize(counts, lows, right=True) - 1

    @classmethod
    def published(
        cls,
        dataset: str,
        reduction: int = 8,
        truncation: int = 4,
        granularity: Granularity = "fine",
        anchors: Literal["average", "middle"] = "average",
    ) -> "Bins":
        """Return a bin set shipped with the published code.

        Args:
            dataset: sha, shb, nwpu, qnrf or jhu: whose training blocks the average anchors come from.
            reduction: block side in pixels, 8, 16 or 32.
            truncation: the published key of the set, 2, 4 or 11 (reduction 8), 8 (16), 19 (32).
            granularity: fine (single counts), dynamic (ranges above some count) or coarse (ranges throughout).
            anchors: average (mean count of the bin over all training blocks) or middle.

        Raises:
            InputError: no such set was published; the message lists those that were.
        """
        key = (dataset, reduction, truncation, granularity)
        if key not in _AVERAGES:
            known = ", ".join(f"{d}/{r}/{t}/{g}" for d, r, t, g in _AVERAGES)
            raise InputError(f"no published bins for {'/'.join(map(str, key))}; there are {known}")
        lows = list(range(truncation + 1)) if granularity == "fine" else _EDGES[reduction, granularity]
        intervals = [_format(low, high - 1) for low, high in itertools.pairwise(lows)] + [f"{lows[-1]}+"]
        means = _AVERAGES[key]
        average = [float(low) for low in lows[: len(lows) - len(means)]] + means
        return cls(intervals, average if anchors == "average" else "middle")


def _parse(interval: int | str) -> tuple[int, float]:
    match = re.fullmatch(r"(\d+)(?:-(\d+)|(\+))?", str(interval).strip())
    if not match:
        raise InputError(f"bins.intervals: {interval!r} is not a count (2), a range ('4-5') or an open bin ('8+')")
    low, high, open_end = match.groups()
    return int(low), math.inf if open_end else int(high or low)


def _format(low: int, high: int) -> int | str:
    return low if low == high else f"{low}-{high}"
