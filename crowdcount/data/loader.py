"""Which image is drawn when, in which process, and how a run continues inside an epoch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from crowdcount.data.dataset import Batch, CrowdDataset, SampleIndex, TrainingSample

_STREAM = 102  # first word of the seeds here: another use of the same seed has another one


class EpochSampler(DistributedSampler[SampleIndex]):
    """Draws of one process in one epoch; all processes draw equally often.

    Where the images do not divide evenly, a training repeats some of them; an evaluation fills up with padding. It is
    a `DistributedSampler` so that Lightning leaves it in place.

    Args:
        dataset: the data set to draw from.
        shuffle: a new order in every epoch (a training), or file order (an evaluation).
        seed: seeds the orders.
    """

    dataset: CrowdDataset
    skip = 0
    """How many draws at the start of the epoch are left out: a resumed training has seen them."""

    def __init__(self, dataset: CrowdDataset, shuffle: bool, seed: int) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=shuffle, seed=seed)

    def __iter__(self) -> Iterator[SampleIndex]:
        """Yield this process's draws."""
        length = len(self.dataset)
        order = np.arange(length)
        if self.shuffle:
            np.random.default_rng([_STREAM, self.seed, self.epoch]).shuffle(order)
        start = self.skip * self.num_replicas + self.rank
        for position in range(start, len(self) * self.num_replicas, self.num_replicas):
            is_padding = not self.shuffle and position >= length
            yield SampleIndex(int(order[position % length]), self.epoch, is_padding)


class ResumableLoader(DataLoader[TrainingSample]):
    """A training DataLoader whose state in a checkpoint lets a run continue inside an epoch."""

    sampler: EpochSampler
    batch_size: int
    _given = 0
    _resume: tuple[int, int] = (-1, 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yield the batches of the sampler's epoch, or what is left of it in a resumed run.

        A generator, so that all of this runs at the first `next`: only then Lightning has set the epoch.
        """
        epoch, given = self._resume
        self._given = given if epoch == self.sampler.epoch else 0
        self.sampler.skip = self._given * self.batch_size
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches have been given."""
        return {"epoch": self.sampler.epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue a saved epoch behind the batches it has given."""
        self._resume = (state["epoch"], state["given"])
