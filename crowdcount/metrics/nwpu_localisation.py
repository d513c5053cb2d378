"""Maximum matching of predicted points and annotated heads within the radius of each head."""

from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

Pairs: TypeAlias = "csr_array[Any, tuple[int, int]]"
"""(N, P) sparsity pattern of the pairs of head and predicted point that may be matched."""

LEVELS = 6
"""Number of box area levels of NWPU-Crowd."""


@dataclass(frozen=True)
class Heads:
    """Annotated heads as NWPU-Crowd's localisation benchmark derives them from boxes, in whole pixels.

    Wang et al., "NWPU-Crowd: A Large-Scale Benchmark for Crowd Counting and Localization", TPAMI 2020.

    Attributes:
        points: (N, 2) box centres, truncated to whole pixels; not the annotated points.
        sigma_s: (N,) radius of the strict rule, half the shorter side.
        sigma_l: (N,) radius of the lenient rule, half the diagonal.
        levels: (N,) 0 to 5, by box area.
    """

    points: NDArray[np.int64]
    sigma_s: NDArray[np.int64]
    sigma_l: NDArray[np.int64]
    levels: NDArray[np.int64]


def boxes_to_heads(boxes: NDArray[np.floating[Any]]) -> Heads:
    """Return points, radii and levels of boxes; boxes without area are left out, as in the benchmark.

    Level 0 has areas below 10, level k areas between 10^k and 10^(k + 1), level 5 areas above 10^5. The inequalities
    of the benchmark are strict, so areas of exactly 10, 100, ... 10^5 are in level 0.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
    """
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    wide, high = x2 - x1, y2 - y1
    area = wide * high
    edges = 10.0 ** np.arange(1, LEVELS)
    levels = np.where(np.isin(area, edges), 0, np.searchsorted(edges, area))
    kept = area != 0
    whole = [
        np.stack([(x1 + x2) / 2, (y1 + y2) / 2], axis=1),
        np.minimum(wide, high) / 2,
        np.sqrt(wide**2 + high**2) / 2,
        levels,
    ]
    return Heads(*(values[kept].astype(np.int64) for values in whole))


def pairs_within(predicted: NDArray[Any], true: NDArray[Any], radius: NDArray[Any] | float) -> Pairs:
    """Return which predicted points lie within the radius of which heads, inclusive.

    Args:
        predicted: (P, 2) in pixels.
        true: (N, 2) in pixels.
        radius: pixels; a number, or (N,) one for each head.

    Returns:
        (N, P) sparse.
    """
    shape = len(true), len(predicted)
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(true))
    if 0 in shape:
        return csr_array(np.zeros(shape, np.int8))
    # Slightly beyond the radius, so that rounding inside the tree does not decide about a pair.
    near = KDTree(predicted).query_ball_point(true, radii * (1 + 1e-9) + 1e-9, return_sorted=False)
    rows = np.repeat(np.arange(len(true)), np.fromiter(map(len, near), np.int64, len(true)))
    columns = np.fromiter(chain.from_iterable(near), np.int64, len(rows))
    hit = np.square(predicted[columns] - true[rows]).sum(axis=1) <= np.square(radii[rows])
    starts = np.append(0, np.cumsum(np.bincount(rows[hit], minlength=len(true)))).astype(np.int32)
    # of 32 bits: scipy 1.13 matches with no others
    return csr_array((np.ones(starts[-1], np.int8), columns[hit].astype(np.int32), starts), shape=shape)


def largest_matching(pairs: Pairs) -> int:
    """Return the size of a maximum matching, in which each head and point occurs at most once."""
    if not pairs.nnz:
        return 0
    return int(np.count_nonzero(maximum_bipartite_matching(pairs, perm_type="column") >= 0))


def hits(pairs: Pairs) -> tuple[int, int, int]:
    """Return true positives, false positives and false negatives of one image.

    True positives are the pairs of a maximum matching, not the nearest or best scored ones, as in NWPU-Crowd's
    localisation benchmark; all maximum matchings have the same number of pairs. Unlike in `match_points`, pairs beyond
    the radius do not displace others.
    """
    matched = largest_matching(pairs)
    return matched, pairs.shape[1] - matched, pairs.shape[0] - matched


def level_hits(pairs: Pairs, levels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the heads of each level, and the fewest and the most of them in any maximum matching.

    The distribution of a maximum matching over the levels depends on the search order: the recall of a level is not
    unique, but its limits are. Any set of heads that can be matched together is part of some maximum matching, so the
    most are those of a level matched alone, and the fewest are those that the other levels alone cannot provide.

    Args:
        pairs: (N, P).
        levels: (N,) 0 to 5.

    Returns:
        (6, 3).
    """
    whole = largest_matching(pairs)
    table = np.zeros((LEVELS, 3), np.int64)
    for level in np.unique(levels):
        own = levels == level
        fewest = whole - largest_matching(pairs[np.flatnonzero(~own)])
        table[level] = np.count_nonzero(own), fewest, largest_matching(pairs[np.flatnonzero(own)])
    return table
