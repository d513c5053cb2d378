"""Count errors: pure functions, and a torchmetrics class that gathers over processes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


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


class CountErrors(Metric):
    """`count_errors` over all images of an epoch, gathered over processes."""

    full_state_update = False
    predicted: list[Tensor]
    true: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)  # of the empty state a process without images hands to the others
        self.add_state("predicted", default=[], dist_reduce_fx="cat")
        self.add_state("true", default=[], dist_reduce_fx="cat")

    def update(self, predicted: float, true: float) -> None:
        """Add one image."""
        self.predicted.append(torch.tensor([predicted], dtype=torch.float64, device=self.device))
        self.true.append(torch.tensor([true], dtype=torch.float64, device=self.device))

    def compute(self) -> dict[str, float]:
        """Return the errors of all images seen."""
        return count_errors(dim_zero_cat(self.predicted).tolist(), dim_zero_cat(self.true).tolist())
