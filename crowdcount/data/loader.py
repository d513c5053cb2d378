"""Sampling of the images of an epoch across processes, and resuming inside an epoch."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from crowdcount.data.dataset import Batch, CrowdDataset, SampleIndex, TrainingSample

_STREAM = 102  # first word of the seeds here; other uses of the same seed have other words


class EpochSampler(DistributedSampler[SampleIndex], SequentialSampler):
    """Sampler of one process for an epoch; all processes draw the same number of samples.

    If the images do not divide evenly, training repeats some of them and evaluation adds padding. It is a
    `DistributedSampler` and a `SequentialSampler` so that Lightning does not replace it.

    Args:
        dataset: the data set to draw from.
        shuffle: whether to use a new order in every epoch (training) or file order (evaluation).
        seed: seed of the orders.
        weights: (N,) relative probabilities of the images in training, see `systematic_sample`; equal by default.
        length: draws of all processes in a training epoch; by default the number of images.
        repeat: draw the same samples in every epoch, those of the first, for a training that should overfit.
    """

    dataset: CrowdDataset
    skip = 0
    """Number of samples to skip at the start of the epoch, which a resumed training has seen."""

    def __init__(
        self,
        dataset: CrowdDataset,
        shuffle: bool,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        length: int | None = None,
        repeat: bool = False,
    ) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=shuffle, seed=seed)
        if length is not None and weights is None:
            weights = np.ones(len(dataset))
        self.weights = weights
        self.repeat = repeat
        self.length = len(dataset) if length is None else length
        self.num_samples = math.ceil(self.length / world)
        self.total_size = self.num_samples * world

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        """Yield this process's draws."""
        epoch = 0 if self.repeat else self.epoch
        order = self._order(epoch)
        seen: Counter[int] = Counter()
        start = self.skip * self.num_replicas + self.rank
        for position in range(len(self) * self.num_replicas):
            index = int(order[position % self.length])
            if position >= start and (position - start) % self.num_replicas == 0:
                is_padding = not self.shuffle and position >= self.length
                yield SampleIndex(index, epoch, is_padding, seen[index] if self.weights is not None else 0)
            seen[index] += 1

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            rng = np.random.default_rng([_STREAM, self.seed, epoch])
            if self.weights is not None:
                return systematic_sample(self.weights, self.length, rng)
            rng.shuffle(order)
        return order


def systematic_sample(weights: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw indices in proportion to their weights, in random order.

    An index is drawn as often as expected, randomly rounded up or down, and so is any group of neighbours to within one
    draw: systematic sampling (Madow, Annals of Mathematical Statistics 20, 1949).

    Args:
        weights: (N,) relative probabilities, at least 0; their sum is above 0.
        size: number of indices.
        rng: source of randomness.
    """
    edges = np.cumsum(weights) / weights.sum() * size
    drawn = np.searchsorted(edges[:-1], rng.random() + np.arange(size), side="right")
    rng.shuffle(drawn)
    return drawn


class ResumableLoader(DataLoader[TrainingSample]):
    """Training DataLoader with a state in checkpoints, so that a run can resume inside an epoch."""

    sampler: EpochSampler
    batch_size: int
    _given = 0
    _resume: tuple[int, int] = (-1, 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yield the batches of the epoch, or the remaining ones in a resumed run.

        This is a generator, so that it runs at the first `next`: only then has Lightning set the epoch.
        """
        epoch, given = self._resume
        self._given = given if epoch == self.sampler.epoch else 0
        self.sampler.skip = self._given * self.batch_size
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches yielded so far."""
        return {"epoch": self.sampler.epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue a saved epoch after the batches already yielded."""
        self._resume = (state["epoch"], state["given"])
