"""Count and localisation errors: pure functions, and their inputs gathered over an epoch and over processes."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

Value = TypeVar("Value")


def count_errors(predicted: Sequence[float], true: Sequence[float]) -> dict[str, float]:
    """Return MAE, RMSE and NAE of counts.

    MAE = mean |e|; RMSE = sqrt(mean e^2), which crowd-counting papers print as "MSE"; NAE = mean of |e| / true over
    the images with at least one person (NaN if there are none). Sums are exactly rounded, so the order of the images
    and the number of processes they were spread over make no difference.

    Args:
        predicted: predicted counts.
        true: true counts, in the same order.

    Raises:
        ValueError: the lengths differ or there are no images.
    """
    errors = [p - t for p, t in zip(predicted, true, strict=True)]
    if not errors:
        raise ValueError("count errors need at least one image")
    relative = [abs(error) / count for error, count in zip(errors, true, strict=True) if count > 0]
    return {
        "mae": math.fsum(map(abs, errors)) / len(errors),
        "rmse": math.sqrt(math.fsum(error * error for error in errors) / len(errors)),
        "nae": math.fsum(relative) / len(relative) if relative else math.nan,
    }


class CountErrors:
    """The counts of an epoch, gathered over processes: a process may hold any number of images, also none.

    Plain numbers in double precision; a torchmetrics state would hand an empty list over in another precision.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []

    def update(self, predicted: float, true: float) -> None:
        """Add one image."""
        self._pairs.append((predicted, true))

    def compute(self) -> dict[str, float]:
        """Return `count_errors` of the images of all processes; a collective call."""
        pairs = _of_all_processes(self._pairs)
        return count_errors([predicted for predicted, _ in pairs], [true for _, true in pairs])

    def reset(self) -> None:
        """Forget all images."""
        self._pairs = []


def match_points(
    predicted: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]], radius: float
) -> tuple[int, int, int]:
    """Return true positives, false positives and false negatives of one image, as GroundingREC counts them.

    One assignment of least total Euclidean distance pairs as many points as there are on the smaller side; a pair is a
    true positive if its distance is strictly below the radius.

    Args:
        predicted: (P, 2) x, y, in any unit: pixels, or parts of the image's sides as GroundingREC has it.
        true: (N, 2), in the same unit.
        radius: in the same unit.
    """
    distances = cdist(predicted, true)
    hits = int((distances[linear_sum_assignment(distances)] < radius).sum())
    return hits, len(predicted) - hits, len(true) - hits


def predicted_radius(sizes: NDArray[np.floating[Any]]) -> float:
    """Return half the diagonal of the predicted box of median area, GroundingREC's radius for `match_points`.

    Of an even number of boxes it is the larger of the two in the middle; without boxes it is 0. It depends on the
    prediction, and on box sizes that no loss trains once the detector has learnt from points; a fixed radius does not.

    Args:
        sizes: (P, 2) width and height.
    """
    if not len(sizes):
        return 0.0
    order = np.argsort(sizes.prod(axis=1), kind="stable")
    return float(np.hypot(*sizes[order[len(order) // 2]]) / 2)


def localisation_scores(true_positives: int, false_positives: int, false_negatives: int) -> dict[str, float]:
    """Return precision, recall and F1; each is 0 where its denominator is."""

    def ratio(part: int, whole: int) -> float:
        return part / whole if whole else 0.0

    predicted, true = true_positives + false_positives, true_positives + false_negatives
    return {
        "precision": ratio(true_positives, predicted),
        "recall": ratio(true_positives, true),
        "f1": ratio(2 * true_positives, predicted + true),
    }


class Localisation:
    """Precision, recall and F1 of the points of an epoch, summed over its images before dividing, over all processes.

    A process may hold any number of images, also none.
    """

    def __init__(self) -> None:
        self._counts: list[tuple[int, int, int]] = []

    def update(self, predicted: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]], radius: float) -> None:
        """Add one image, or one expression of it; see `match_points`."""
        self._counts.append(match_points(predicted, true, radius))

    def compute(self) -> dict[str, float]:
        """Return `localisation_scores` of the images of all processes; a collective call."""
        counts = [(0, 0, 0), *_of_all_processes(self._counts)]
        return localisation_scores(*(sum(column) for column in zip(*counts, strict=True)))

    def reset(self) -> None:
        """Forget all images."""
        self._counts = []


def _of_all_processes(own: list[Value]) -> list[Value]:
    """Return the values of every process, in the order of their ranks; a collective call."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    gathered: list[list[Value]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, own)
    return [value for share in gathered for value in share]
