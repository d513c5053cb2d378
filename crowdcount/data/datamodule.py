"""Records -> batches: decoding, cropping, collating, sharding and exact resumption."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from crowdcount.data.augment import Augment
from crowdcount.data.resize import Resize
from crowdcount.data.sample import CrowdSource, Image, Record
from crowdcount.errors import InputError
from crowdcount.geometry import Points

logger = logging.getLogger(__name__)


@dataclass
class Batch:
    """What a training or evaluation step gets.

    Attributes:
        images: (B, 3, H, W) uint8, RGB.
        points: B arrays (N_i, 2) in pixels of the images; they stay in the memory of the CPU.
        counts: the ground-truth count of each image: its annotated points, also those outside the image.
        names: where each image comes from.
        ghost: True for a batch that only keeps the processes of a distributed evaluation in step: not counted.
    """

    images: Tensor
    points: list[Points]
    counts: list[int]
    names: list[str]
    ghost: bool = False

    def to(self, device: torch.device, **options: Any) -> "Batch":
        """Return the batch with its images on a device."""
        return replace(self, images=self.images.to(device, **options))

    def pin_memory(self) -> "Batch":
        """Return the batch with its images in pinned memory."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True)
class Draw:
    """What a sampler asks the data set for: an image, in an epoch (which seeds its augmentation)."""

    index: int
    epoch: int
    ghost: bool = False


class Crops(NamedTuple):
    """What the data set gives for a draw: one image or crop, or several of the same image."""

    images: list[Image]
    points: list[Points]
    record: Record
    ghost: bool


class CrowdDataset(Dataset[Crops]):
    """Decoded images, or random crops of them, of a list of records.

    The random numbers of a draw depend on the seed, the epoch and the index alone, not on workers or processes.
    """

    def __init__(
        self,
        records: list[Record],
        resize: Resize | None,
        augment: Augment | None = None,
        crops: int = 1,
        seed: int = 0,
    ) -> None:
        self.records = records
        self.resize = resize
        self.augment = augment
        self.crops = crops
        self.seed = seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw) -> Crops:
        """Decode the image of a draw and cut its crops."""
        record = self.records[draw.index]
        image, points = record.read(), record.require_points()
        if self.resize is not None:
            image, points = self.resize(image, points)
        if self.augment is None:
            return Crops([image], [points], record, draw.ghost)
        rng = np.random.default_rng([self.seed, draw.epoch, draw.index])
        cut = [self.augment(image, points, rng) for _ in range(self.crops)]
        return Crops([crop for crop, _ in cut], [inside for _, inside in cut], record, draw.ghost)


def collate(samples: list[Crops]) -> Batch:
    """Stack images of one size; points stay ragged."""
    images = [image for sample in samples for image in sample.images]
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
    return Batch(
        images=stacked,
        points=[points for sample in samples for points in sample.points],
        counts=[sample.record.count for sample in samples for _ in sample.images],
        names=[sample.record.name for sample in samples for _ in sample.images],
        ghost=samples[0].ghost,
    )


class EpochSampler(DistributedSampler[Draw]):
    """Draws of one process in one epoch; all processes draw equally often.

    Where the images do not divide evenly, a training repeats some of them; an evaluation fills up with ghosts. It is
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

    def __iter__(self) -> Iterator[Draw]:
        """Yield this process's draws."""
        length = len(self.dataset)
        order = np.arange(length)
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        start = self.skip * self.num_replicas + self.rank
        for position in range(start, len(self) * self.num_replicas, self.num_replicas):
            ghost = not self.shuffle and position >= length
            yield Draw(int(order[position % length]), self.epoch, ghost)


class ResumableLoader(DataLoader[Crops]):
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


class CrowdData(LightningDataModule):
    """Training crops, and whole images for validation and testing, of one data set.

    Where the data set has no official validation split, a seeded part of its training images is held out; the
    official test images serve testing alone.

    Args:
        source: the data set.
        augment: how training crops are cut and altered.
        resize: the size rule applied to every image before anything else, null for none. It belongs to the model:
            the tools apply it to a user's photograph as well.
        batch_size: training images in a batch, for each process.
        crops_per_image: crops cut from each image of a batch.
        val_fraction: share of the training images held out where the data set has no validation split; 0 trains on
            all of them and validates on none.
        seed: seeds the hold-out, the order and the augmentation.
        num_workers: processes that decode and augment; 0 works in the main process.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(
        self,
        source: CrowdSource,
        augment: Augment,
        resize: Resize | None = None,
        batch_size: int = 8,
        crops_per_image: int = 1,
        val_fraction: float = 0.1,
        seed: int = 0,
        num_workers: int = 2,
    ) -> None:
        super().__init__()
        for key, value, least in (("batch_size", batch_size, 1), ("crops_per_image", crops_per_image, 1)):
            if value < least:
                raise InputError(f"data.{key}: {value} must be at least {least}")
        if num_workers < 0 or not 0 <= val_fraction < 1:
            raise InputError(f"data: num_workers {num_workers} must be >= 0 and val_fraction {val_fraction} in [0, 1)")
        self.source = source
        self.augment = augment
        self.resize = resize
        self.batch_size = batch_size
        self.crops_per_image = crops_per_image
        self.val_fraction = val_fraction
        self.seed = seed
        self.num_workers = num_workers

    @cached_property
    def splits(self) -> tuple[list[Record], list[Record]]:
        """The records to train on and to validate on.

        Raises:
            InputError: there is nothing to train on.
        """
        train, val = self.source.records("train"), self.source.records("val")
        if not val and self.val_fraction > 0:
            train, val = hold_out(train, self.val_fraction, self.seed)
            logger.info("validating on %d of %d training images, held out with seed %d: %s", len(val),
                        len(train) + len(val), self.seed, " ".join(record.name for record in val))  # fmt: skip
        if not train:
            raise InputError(f"data: no images are left to train on (val_fraction is {self.val_fraction})")
        return train, val

    def train_dataloader(self) -> ResumableLoader:
        """Return the loader of augmented crops."""
        train, _ = self.splits
        dataset = CrowdDataset(train, self.resize, self.augment, self.crops_per_image, self.seed)
        sampler = EpochSampler(dataset, shuffle=True, seed=self.seed)
        return ResumableLoader(dataset, batch_size=self.batch_size, sampler=sampler, **self._options())

    def val_dataloader(self) -> DataLoader[Crops] | list[DataLoader[Crops]]:
        """Return the loader of whole validation images, or none where nothing is held out."""
        _, val = self.splits
        return self._whole_images(val) if val else []

    def test_dataloader(self) -> DataLoader[Crops]:
        """Return the loader of the official test images.

        Raises:
            InputError: there are none, or their annotation is not public.
        """
        test = self.source.records("test")
        if not test or any(record.points is None for record in test):
            raise InputError(f"data.source: the test images of {type(self.source).__name__} have no public annotation")
        return self._whole_images(test)

    def _whole_images(self, records: list[Record]) -> DataLoader[Crops]:
        dataset = CrowdDataset(records, self.resize)
        sampler = EpochSampler(dataset, shuffle=False, seed=self.seed)
        return DataLoader(dataset, batch_size=1, sampler=sampler, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": _one_thread,
            # the loader would otherwise draw from the global stream, which belongs to the training
            "generator": torch.Generator(),
        }


def hold_out(records: list[Record], fraction: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Split records into those kept and a seeded random `fraction` (at least one) held out, both in file order."""
    size = min(max(round(len(records) * fraction), 1), len(records))
    chosen = set(np.random.default_rng(seed).permutation(len(records))[:size].tolist())
    kept = [record for index, record in enumerate(records) if index not in chosen]
    return kept, [records[index] for index in sorted(chosen)]


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)
