"""Count bins for a data set: histogram of its blocks, truncation of the counts, mean count of each bin.

Source of the means: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise Classification", arXiv
2403.09281, and the statistics shipped with its code (commit b52a594): the mean count of the training blocks of a bin,
over blocks at every position, one pixel apart.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.checks import check_number
from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.geometry import Points, inside, resize_points
from crowdcount.images.resize import SizeRule
from crowdcount.images.size import upright_size
from crowdcount.models.blockwise.bins import Bins

Histogram = NDArray[np.int64]
"""(N,) number of blocks that hold 0, 1, ..., N - 1 people."""


def histogram(points: Points, width: int, height: int, reduction: int, *, once_per_pixel: bool = False) -> Histogram:
    """Count the people in the blocks at every position of an image, one pixel apart.

    Args:
        points: (N, 2); points outside the image are ignored.
        width: image width in pixels.
        height: image height in pixels.
        reduction: block side in pixels.
        once_per_pixel: count a pixel at most once, however many points it holds, like the published label maps.

    Returns:
        Histogram of (width - reduction + 1) * (height - reduction + 1) blocks; empty if none fits.
    """
    if min(width, height) < reduction:
        return np.zeros(0, np.int64)
    x, y = points[inside(points, width, height)].astype(np.int64).T
    people = np.zeros((height, width), np.float32)
    np.add.at(people, (y, x), 1)
    sums = cv2.integral(np.minimum(people, 1) if once_per_pixel else people)  # (height + 1, width + 1)
    r = reduction
    blocks = sums[r:, r:] - sums[:-r, r:] - sums[r:, :-r] + sums[:-r, :-r]
    return np.bincount(blocks.astype(np.int64).ravel())


def add_up(
    records: Iterable[Record], reduction: int, resize: SizeRule | None = None, *, once_per_pixel: bool = False
) -> Histogram:
    """Return the histogram of all blocks of a data set.

    Args:
        records: training images; only the size of their files is read.
        reduction: block side in pixels.
        resize: size rule of the training; by default images keep their size.
        once_per_pixel: see `histogram`.

    Raises:
        InputError: if an image is missing or damaged, or all blocks are empty.
    """
    if reduction < 1:
        raise InputError(f"reduction: {reduction} is no number of pixels; use 8, 16 or 32")
    total = np.zeros(1, np.int64)
    for record in records:
        points, size = record.require_points(), _size(record)
        target = size if resize is None else resize.target(*size)
        counts = histogram(resize_points(points, size, target), *target, reduction, once_per_pixel=once_per_pixel)
        longer, shorter = (counts, total) if len(counts) > len(total) else (total, counts)
        total = longer.copy()
        total[: len(shorter)] += shorter
    if total[1:].sum() == 0:
        raise InputError(f"no block of {reduction} pixels of these images holds anyone; there is nothing to propose")
    return total


def _size(record: Record) -> tuple[int, int]:
    """Return the width and height of the upright image."""
    size = upright_size(record.image) if isinstance(record.image, Path) else None
    if size is None:
        height, width = record.read().shape[:2]
        size = width, height
    return size


@dataclass(frozen=True)
class Proposal:
    """Proposed bins with their mean counts and numbers of blocks.

    Attributes:
        bins: bins with the means as anchors.
        blocks: number of blocks of each bin.
    """

    bins: Bins
    blocks: list[int]

    def yaml(self) -> str:
        """Return the section of a configuration that sets the bins."""
        anchors = ", ".join(f"{value:.5f}".rstrip("0").rstrip(".") for value in self.bins.values)
        bins = f"{{intervals: [{', '.join(map(str, self.bins.intervals))}], anchors: [{anchors}]}}"
        keys = ("model", "init_args", "network", "init_args")
        return (
            "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(keys)) + f"{'  ' * len(keys)}bins: {bins}\n"
        )

    def table(self) -> str:
        """Return a table of the bins: interval, anchor, number and share of blocks."""
        total = sum(self.blocks)
        rows = zip(self.bins.intervals, self.bins.values, self.blocks, strict=True)
        lines = [f"{text!s:>8} {value:>10.5f} {number:>16,} {number / total:>11.5%}" for text, value, number in rows]
        return "\n".join([f"{'people':>8} {'anchor':>10} {'blocks':>16} {'share':>11}", *lines]) + "\n"


def truncation_for(counts: Histogram, share: float = 1e-3) -> int:
    """Return the lower edge of the open bin: the highest count that enough blocks reach.

    Enough is `share` of the blocks with people, since rare classes cannot be learnt. With the default and blocks of
    8 pixels, ShanghaiTech A gets 4, as in the published bins, and B gets 3.

    Args:
        counts: histogram of the blocks.
        share: share of the non-empty blocks, between 0 and 1.

    Raises:
        InputError: if the share is out of range.
    """
    check_number("share", share, 0, 1, above=True)
    reaching = np.cumsum(counts[::-1])[::-1]  # blocks with at least so many people
    enough = int(np.flatnonzero(reaching >= share * reaching[1])[-1])
    gaps = np.flatnonzero(counts == 0)  # a class without blocks has no mean
    return max(1, min(enough, int(gaps[0]) if len(gaps) else enough))


def single_counts(truncation: int) -> list[int | str]:
    """Return the intervals 0, 1, ..., and an open bin from `truncation` on.

    Raises:
        InputError: if it is below 1.
    """
    if truncation < 1:
        raise InputError(f"truncation: {truncation}; the open bin starts at 1 or more people")
    return [*range(truncation), f"{truncation}+"]


def propose(counts: Histogram, intervals: list[int | str]) -> Proposal:
    """Return bins whose anchors are the mean counts of their blocks.

    Args:
        counts: histogram of the blocks.
        intervals: intervals of the bins, see `Bins`.

    Raises:
        InputError: if the intervals are invalid or no block falls into one.
    """
    lows = [low for low, _ in Bins(intervals).edges]
    ranges = list(itertools.pairwise([*lows, max(len(counts), lows[-1] + 1)]))
    blocks = [int(counts[low:high].sum()) for low, high in ranges]
    if 0 in blocks:
        empty = intervals[blocks.index(0)]
        raise InputError(f"no block holds {empty} people (the fullest {len(counts) - 1}); use a lower truncation")
    means = [float(counts[low:high] @ np.arange(low, high)[: len(counts[low:high])]) for low, high in ranges]
    return Proposal(Bins(intervals, [mean / number for mean, number in zip(means, blocks, strict=True)]), blocks)
