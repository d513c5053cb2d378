"""Choice of frames by diversity and uncertainty: weighted farthest-first traversal.

The first frame is the most uncertain one. Each next one maximises

    d_i (1 + r_i) / 2,

where d_i is its Euclidean distance to the nearest chosen frame in the space of the features, and r_i in [0, 1] the rank
of its uncertainty among the candidates. Without the weight this is the greedy 2-approximation of the k-centre problem
(Gonzalez, Theoretical Computer Science 38, 1985); as weights are between 1/2 and 1, the largest distance of a candidate
to its nearest chosen frame is at most four times the smallest possible. The choice is nested: a larger number begins
with the same frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crowdcount.checks import check_number


@dataclass(frozen=True)
class Pick:
    """A chosen candidate.

    Attributes:
        index: index of the candidate.
        nearest: index of the nearest one chosen before; None for the first.
        distance: distance to it, as a share of the largest distance from the mean; infinite for the first.
        rank: rank of its uncertainty, from 0 for the surest to 1.
    """

    index: int
    nearest: int | None
    distance: float
    rank: float


@dataclass
class Selection:
    """Chosen candidates, and those that were left out.

    Attributes:
        picks: chosen ones, in order.
        duplicates: for each near-duplicate, the index of the chosen one that it shows again.
        nearest: for each of the others, the index of the nearest chosen one and the distance, as in `Pick`.
    """

    picks: list[Pick] = field(default_factory=list)
    duplicates: dict[int, int] = field(default_factory=dict)
    nearest: dict[int, tuple[int, float]] = field(default_factory=dict)


def select(
    features: NDArray[np.float64],
    uncertainty: Sequence[float],
    number: int,
    alike: Callable[[int, int], bool] = lambda one, other: False,
    step: Callable[[], object] = lambda: None,
) -> Selection:
    """Choose candidates; ties go to the first.

    Args:
        features: (N, D).
        uncertainty: N numbers, larger where a model is less sure.
        number: number of candidates to choose, at most.
        alike: whether two candidates are near-duplicates, of which one is chosen at most; asked as rarely as possible.
        step: called after each choice, for a progress bar.

    Raises:
        InputError: the number is below 1.
    """
    check_number("number", number, 1, hint="the frames to choose")
    selection, total = Selection(), len(features)
    if not total:
        return selection
    spread = np.linalg.norm(features - features.mean(axis=0), axis=1).max() or 1.0
    ranks = _ranks(np.asarray(uncertainty, np.float64))
    distances, nearest, open_ = np.full(total, np.inf), np.zeros(total, np.int64), np.ones(total, bool)
    while len(selection.picks) < number and open_.any():
        first = not selection.picks
        scores = np.where(open_, ranks if first else distances * (1 + ranks) / 2, -1.0)
        index = int(scores.argmax())
        open_[index] = False
        shown = next((pick.index for pick in selection.picks if alike(index, pick.index)), None)
        if shown is not None:
            selection.duplicates[index] = shown
            continue
        before = None if first else int(nearest[index])
        selection.picks.append(Pick(index, before, float(distances[index]), float(ranks[index])))
        new = np.linalg.norm(features - features[index], axis=1) / spread
        nearest[new < distances] = index
        distances = np.minimum(distances, new)
        step()
    left = np.flatnonzero(open_).tolist()
    selection.nearest = {index: (int(nearest[index]), float(distances[index])) for index in left}
    return selection


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the other values that are smaller; equal ones share their rank."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, values).astype(np.float64) / max(1, len(values) - 1)
