"""Count bins of blockwise classifiers: the counts in each class and its anchor.

Source: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise Classification", arXiv 2403.09281.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crowdcount.errors import InputError


@dataclass
class Bins:
    """Classes of a block count.

    Args:
        intervals: the bins from 0 up, without gaps: a count `2`, a range `"4-5"`, and finally an open bin `"8+"`.
        anchors: count that each class stands for: numbers, or "middle" of the bins (for an open bin its lower edge).

    Raises:
        InputError: the bins leave a gap, overlap or do not end in an open bin; or the anchors have the wrong number or
            order.
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
        """Lowest and highest count of each bin; infinity for the last bin."""
        return list(self._edges)

    @property
    def values(self) -> list[float]:
        """Anchor of each bin."""
        return list(self._anchors)

    def classes(self, counts: Tensor) -> Tensor:
        """Return the class of each integer block count as int64, in the same shape."""
        lows = counts.new_tensor([low for low, _ in self._edges])
        return torch.bucketize(counts, lows, right=True) - 1


def _parse(interval: int | str) -> tuple[int, float]:
    match = re.fullmatch(r"(\d+)(?:-(\d+)|(\+))?", str(interval).strip())
    if not match:
        raise InputError(f"bins.intervals: {interval!r} is not a count (2), a range ('4-5') or an open bin ('8+')")
    low, high, open_end = match.groups()
    return int(low), math.inf if open_end else int(high or low)
