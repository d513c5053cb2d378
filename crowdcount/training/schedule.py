"""Learning-rate schedules, stepped once an epoch."""

import math
from typing import Literal

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from crowdcount.errors import InputError


class WarmupRestarts(LRScheduler):
    """Warm-up, then cosine annealing with warm restarts (SGDR, arXiv 1608.03983), in closed form.

    Epochs 0 ... warmup_epochs - 1 move from `warmup_lr` towards the optimizer's rate; `warmup_lr` may be higher than it
    (the published recipes of CLIP-EBC and ZIP for transformers decrease from 1e-3 to 1e-4).

    Args:
        optimizer: the optimizer.
        warmup_epochs: length of the warm-up in epochs.
        warmup_lr: rate of the first epoch.
        first_period: epochs of the first cosine.
        period_factor: length of each cosine relative to the previous one.
        min_lr: minimum rate of a cosine; it and `warmup_lr` hold for all parameter groups, whatever their own rate.
        warmup: "linear", or "log" for a warm-up that is linear in the logarithm of the rate.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_epochs: int = 50,
        warmup_lr: float = 1e-6,
        first_period: int = 5,
        period_factor: int = 2,
        min_lr: float = 1e-7,
        warmup: Literal["linear", "log"] = "linear",
    ) -> None:
        if warmup_epochs < 0 or first_period < 1 or period_factor < 1:
            raise InputError(
                "schedule: warmup_epochs must be >= 0, first_period and period_factor >= 1; got "
                f"{warmup_epochs}, {first_period}, {period_factor}"
            )
        if warmup not in ("linear", "log") or (warmup == "log" and warmup_lr <= 0):
            raise InputError(
                f"schedule.warmup: {warmup!r} from {warmup_lr} is neither linear nor log from a rate above 0"
            )
        self.warmup = warmup
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.first_period = first_period
        self.period_factor = period_factor
        self.min_lr = min_lr
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of the current epoch for each parameter group."""
        return [self._rate(float(base), self.last_epoch) for base in self.base_lrs]

    def _rate(self, base: float, epoch: int) -> float:
        if epoch < self.warmup_epochs and self.warmup == "log":
            return self.warmup_lr * math.exp(math.log(base / self.warmup_lr) * epoch / self.warmup_epochs)
        if epoch < self.warmup_epochs:
            return self.warmup_lr + (base - self.warmup_lr) * epoch / self.warmup_epochs
        position, period = epoch - self.warmup_epochs, self.first_period
        while position >= period:
            position, period = position - period, period * self.period_factor
        return self.min_lr + (base - self.min_lr) * (1 + math.cos(math.pi * position / period)) / 2
