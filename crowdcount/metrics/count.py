"""Count errors of images, also gathered over an epoch and over processes."""

import math
from collections.abc import Sequence

from crowdcount.distributed import all_gather


def count_errors(predicted: Sequence[float], true: Sequence[float]) -> dict[str, float]:
    """Return MAE, RMSE and NAE of counts.

    MAE = mean |e|; RMSE = sqrt(mean e^2), which crowd-counting papers call "MSE"; NAE = mean of |e| / true over the
    images with at least one person (NaN if there are none). Sums are exactly rounded, so they do not depend on the
    order of the images or the number of processes.

    Args:
        predicted: predicted counts.
        true: true counts, in the same order.

    Raises:
        ValueError: if the lengths differ or there are no images.

    Example:
        >>> count_errors(predicted=[90.0, 12.0], true=[100, 8])
        {'mae': 7.0, 'rmse': 7.615773105863909, 'nae': 0.3}
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
    """`count_errors` of the images of an epoch, gathered over processes with any number of images, including none.

    Counts are kept in double precision; a torchmetrics state would gather an empty list in another precision.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []

    def update(self, predicted: float, true: float) -> None:
        """Add one image."""
        self._pairs.append((predicted, true))

    def compute(self) -> dict[str, float]:
        """Return the count errors of the images of all processes; a collective call."""
        pairs = all_gather(self._pairs)
        return count_errors([predicted for predicted, _ in pairs], [true for _, true in pairs])

    def reset(self) -> None:
        """Remove all images."""
        self._pairs = []
