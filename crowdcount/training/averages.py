"""Averages over the batches of an epoch, which a run that is resumed inside the epoch continues."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from crowdcount.distributed import all_gather


class EpochAverages:
    """Weighted means of the values of an epoch's batches, over all processes.

    Lightning's own averages are not in its checkpoints: a resumed run would average the rest of the epoch alone.

    Example:
        >>> import torch
        >>> averages = EpochAverages()
        >>> averages.update({"train/mae": torch.tensor(2.0)}, weight=1)
        >>> averages.update({"train/mae": torch.tensor(6.0)}, weight=3)
        >>> averages.compute()
        {'train/mae': 5.0}
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._weight = 0.0

    def update(self, values: Mapping[str, Tensor], weight: float) -> None:
        """Add the values of a batch.

        Args:
            values: scalars by name, the same names in every batch; they stay on their device.
            weight: number of images of the batch.
        """
        for name, value in values.items():
            self._sums[name] = value.detach() * weight + self._sums.get(name, 0.0)
        self._weight += weight

    def compute(self) -> dict[str, float]:
        """Return the means so far (a collective call)."""
        sums, weight = self._gathered()
        return {name: value / weight for name, value in sums.items()}

    def reset(self) -> None:
        """Forget everything."""
        self._sums, self._weight = {}, 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of all processes, as plain numbers (a collective call)."""
        sums, weight = self._gathered()
        return {"sums": sums, "weight": weight}

    def load_state_dict(self, state: Mapping[str, Any], rank: int) -> None:
        """Continue from the sums of all processes, which the first one takes over."""
        self._sums = dict(state["sums"]) if rank == 0 else {}
        self._weight = state["weight"] if rank == 0 else 0.0

    def _gathered(self) -> tuple[dict[str, float], float]:
        shares = all_gather([({name: float(value) for name, value in self._sums.items()}, self._weight)])
        names = {name: None for sums, _ in shares for name in sums}  # in the order in which they came
        totals = {name: sum(sums.get(name, 0.0) for sums, _ in shares) for name in names}
        return totals, sum(weight for _, weight in shares)
