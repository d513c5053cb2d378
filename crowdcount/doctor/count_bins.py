"""Count bins for a data set: how many people its blocks hold, where to stop telling counts apart, mean counts.

Source of the rule for the means: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise
Classification", arXiv 2403.09281, and the statistics shipped with its code (commit b52a594): the mean count of the
training blocks of a bin, over the blocks at every position, one pixel apart.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from crowdcount.checks import check_number
from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.geometry import Points, inside, resize_points
from crowdcount.images.resize import SizeRule
from crowdcount.models.blockwise.bins import Bins

Histogram = NDArray[np.int64]
"""(N,) number of blocks that hold 0, 1, ..., N - 1 people."""


def histogram(points: Points, width: int, height: int, reduction: int, *, once_per_pixel: bool = False) -> Histogram:
    """Count the people in the blocks at every position of an image, one pixel apart.

    Args:
        points: (N, 2); those outside the image are left out.
        width: of the image in pixels.
        height: of the image in pixels.
        reduction: side of a block in pixels.
        once_per_pixel: count a pixel once however many points it holds, as the published label maps do.

    Returns:
        The histogram of (width - reduction + 1) * (height - reduction + 1) blocks; empty where none fits.
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
        records: the training images; of their files only the size is read.
        reduction: side of a block in pixels.
        resize: the size at which training sees the images; their own where left out.
        once_per_pixel: see `histogram`.

    Raises:
        InputError: an image is missing or damaged, or no block holds anyone.
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
    """Return width and height of the upright image."""
    if callable(record.image):
        height, width = record.read().shape[:2]
        return width, height
    try:
        with PIL.Image.open(record.image) as image:
            size, kind, orientation = image.size, image.format, image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError):
        kind = None
    if kind == "JPEG":
        return size[::-1] if orientation in range(5, 9) else size
    height, width = record.read().shape[:2]  # the other formats have rules of their own
    return width, height


_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap the sides


@dataclass(frozen=True)
class Proposal:
    """Bins, how many blocks each has and the mean count of these.

    Attributes:
        bins: with the means as anchors.
        blocks: number of blocks of each bin.
    """

    bins: Bins
    blocks: list[int]

    def yaml(self) -> str:
        """Return the fragment of a configuration that sets the bins."""
        anchors = ", ".join(f"{value:.5f}".rstrip("0").rstrip(".") for value in self.bins.values)
        bins = f"{{intervals: [{', '.join(map(str, self.bins.intervals))}], anchors: [{anchors}]}}"
        keys = ("model", "init_args", "network", "init_args")
        return (
            "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(keys)) + f"{'  ' * len(keys)}bins: {bins}\n"
        )

    def table(self) -> str:
        """Return a table of the classes: interval, anchor, blocks, their share."""
        total = sum(self.blocks)
        rows = zip(self.bins.intervals, self.bins.values, self.blocks, strict=True)
        lines = [f"{text!s:>8} {value:>10.5f} {number:>16,} {number / total:>11.5%}" for text, value, number in rows]
        return "\n".join([f"{'people':>8} {'anchor':>10} {'blocks':>16} {'share':>11}", *lines]) + "\n"


def truncation_for(counts: Histogram, share: float = 1e-3) -> int:
    """Return the lower edge of the open bin: the highest count that enough blocks reach.

    Enough are `share` of the blocks that hold anyone: classes that hardly occur cannot be learnt. With the default and
    blocks of 8 pixels ShanghaiTech A gets 4, which the published bins have as well, and B gets 3.

    Args:
        counts: the histogram.
        share: between 0 and 1.

    Raises:
        InputError: the share is out of range.
    """
    check_number("share", share, 0, 1, above=True)
    reaching = np.cumsum(counts[::-1])[::-1]  # blocks with at least so many people
    enough = int(np.flatnonzero(reaching >= share * reaching[1])[-1])
    gaps = np.flatnonzero(counts == 0)  # a class without blocks has no mean
    return max(1, min(enough, int(gaps[0]) if len(gaps) else enough))


def single_counts(truncation: int) -> list[int | str]:
    """Return the intervals 0, 1, ..., and an open bin from `truncation` on.

    Raises:
        InputError: it is below 1.
    """
    if truncation < 1:
        raise InputError(f"truncation: {truncation}; the open bin starts at 1 or more people")
    return [*range(truncation), f"{truncation}+"]


def propose(counts: Histogram, intervals: list[int | str]) -> Proposal:
    """Return bins whose anchors are the mean counts of their blocks.

    Args:
        counts: the histogram.
        intervals: the bins, see `Bins`.

    Raises:
        InputError: the intervals are no bins, or no block falls into one.
    """
    lows = [low for low, _ in Bins(intervals).edges]
    ranges = list(itertools.pairwise([*lows, max(len(counts), lows[-1] + 1)]))
    blocks = [int(counts[low:high].sum()) for low, high in ranges]
    if 0 in blocks:
        empty = intervals[blocks.index(0)]
        raise InputError(f"no block holds {empty} people (the fullest {len(counts) - 1}); use a lower truncation")
    means = [float(counts[low:high] @ np.arange(low, high)[: len(counts[low:high])]) for low, high in ranges]
    return Proposal(Bins(intervals, [mean / number for mean, number in zip(means, blocks, strict=True)]), blocks)
