"""Localisation errors by a minimum-distance assignment, gathered over an epoch and over processes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from crowdcount.distributed import all_gather


def match_points(
    predicted: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]], radius: float
) -> tuple[int, int, int]:
    """Return true positives, false positives and false negatives of one image, as GroundingREC counts them.

    An assignment of minimum total Euclidean distance pairs all points of the smaller set; a pair is a true positive if
    its distance is strictly below the radius.

    Args:
        predicted: (P, 2) x, y, in any unit: pixels, or fractions of the image's sides as in GroundingREC.
        true: (N, 2), in the same unit.
        radius: in the same unit.
    """
    distances = cdist(predicted, true)
    hits = int((distances[linear_sum_assignment(distances)] < radius).sum())
    return hits, len(predicted) - hits, len(true) - hits


def predicted_radius(sizes: NDArray[np.floating[Any]]) -> float:
    """Return half the diagonal of the predicted box of median area, GroundingREC's radius for `match_points`.

    Of an even number of boxes, the larger of the middle two is used; without boxes it is 0. Unlike a fixed radius, it
    depends on the prediction, and on box sizes that no loss trains in a detector trained on points.

    Args:
        sizes: (P, 2) widths and heights.
    """
    if not len(sizes):
        return 0.0
    order = np.argsort(sizes.prod(axis=1), kind="stable")
    return float(np.hypot(*sizes[order[len(order) // 2]]) / 2)


def localisation_scores(true_positives: int, false_positives: int, false_negatives: int) -> dict[str, float]:
    """Return precision, recall and F1; each is 0 if its denominator is 0."""

    def ratio(part: int, whole: int) -> float:
        return part / whole if whole else 0.0

    predicted, true = true_positives + false_positives, true_positives + false_negatives
    return {
        "precision": ratio(true_positives, predicted),
        "recall": ratio(true_positives, true),
        "f1": ratio(2 * true_positives, predicted + true),
    }


class Localisation:
    """Precision, recall and F1 of the points of an epoch, from hits summed over the images of all processes.

    A process may hold any number of images, including none.
    """

    def __init__(self) -> None:
        self._counts: list[tuple[int, int, int]] = []

    def update(self, predicted: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]], radius: float) -> None:
        """Add one image, or one expression of it; see `match_points`."""
        self._counts.append(match_points(predicted, true, radius))

    def compute(self) -> dict[str, float]:
        """Return `localisation_scores` of the images of all processes; a collective call."""
        counts = [(0, 0, 0), *all_gather(self._counts)]
        return localisation_scores(*(sum(column) for column in zip(*counts, strict=True)))

    def reset(self) -> None:
        """Remove all images."""
        self._counts = []
