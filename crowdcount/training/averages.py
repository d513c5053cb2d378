"""Averages over the batches of an epoch, which a run that is resumed inside the epoch continues."""

from collections.abc import Mapping

from torch import Tensor

from crowdcount.distributed import all_gather

Totals = dict[str, tuple[float, float]]
"""Weighted sum and weight of each value."""


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
        self._totals: dict[str, tuple[Tensor | float, float]] = {}

    def update(self, values: Mapping[str, Tensor], weight: float) -> None:
        """Add the values of a batch.

        Args:
            values: scalars by name; they stay on their device.
            weight: number of images of the batch.
        """
        for name, value in values.items():
            total, before = self._totals.get(name, (0.0, 0.0))
            self._totals[name] = (value.detach() * weight + total, weight + before)

    def compute(self) -> dict[str, float]:
        """Return the means so far (a collective call)."""
        return {name: total / weight for name, (total, weight) in self.state_dict().items()}

    def reset(self) -> None:
        """Forget everything."""
        self._totals = {}

    def state_dict(self) -> Totals:
        """Return the sums of all processes, as plain numbers (a collective call)."""
        shares = all_gather([{name: (float(total), weight) for name, (total, weight) in self._totals.items()}])
        names = {name: None for share in shares for name in share}  # in the order in which they came
        columns = {name: [share[name] for share in shares if name in share] for name in names}
        return {name: (sum(a for a, _ in column), sum(b for _, b in column)) for name, column in columns.items()}

    def load_state_dict(self, state: Totals, rank: int) -> None:
        """Continue from the sums of all processes, which the first one takes over."""
        self._totals = {name: (total, weight) for name, (total, weight) in state.items()} if rank == 0 else {}
