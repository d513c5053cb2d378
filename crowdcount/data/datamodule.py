"""Lightning data module: loaders of training crops and whole images."""

import logging
import os
import signal
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from crowdcount.checks import check_number
from crowdcount.data.augment import Augment
from crowdcount.data.dataset import CrowdDataset, TrainingSample, collate
from crowdcount.data.loader import EpochSampler, ResumableLoader
from crowdcount.data.sample import CrowdSource, Record
from crowdcount.data.sources.hold_out import hold_out
from crowdcount.errors import InputError
from crowdcount.images.resize import Resize, ShortSide, SizeRule
from crowdcount.images.resize_presets import ResizePreset

logger = logging.getLogger(__name__)


class CrowdData(LightningDataModule):
    """Training crops, and whole images for validation and testing, of one data set.

    If the data set has no official validation split, a seeded random part of its training images is held out; the
    official test images are used for testing only.

    Args:
        source: the data set.
        augment: cropping and augmentation of training images; null trains on unchanged whole images.
        resize: size rule applied to every image first, null for none. It belongs to the model: predictions apply it as
            well.
        short_side: size rule of detectors, in place of `resize`; null for none.
        resize_preset: size rule of another paper by name, in place of `resize`; null for none.
        cache: folder for resized images, so that each is decoded and resized only once; several runs and data sets may
            share it. It holds JPEG files if the rule has a `jpeg_quality`, otherwise 3 bytes per pixel. Null for none.
        batch_size: training images in a batch, for each process.
        crops_per_image: number of crops of each image of a batch.
        val_fraction: share of the training images held out if the data set has no validation split; 0 trains on all of
            them without validation.
        epoch_images: images drawn in a training epoch by all processes together; null for the number of images.
        seed: seed of the hold-out, the order and the augmentation.
        num_workers: processes that decode and augment; 0 uses the main process.

    Raises:
        InputError: if a number is out of range.
    """

    def __init__(
        self,
        source: CrowdSource,
        augment: Augment | None,
        resize: Resize | None = None,
        short_side: ShortSide | None = None,
        resize_preset: ResizePreset | None = None,
        cache: Path | None = None,
        batch_size: int = 8,
        crops_per_image: int = 1,
        val_fraction: float = 0.1,
        epoch_images: int | None = None,
        seed: int = 0,
        num_workers: int = 2,
    ) -> None:
        super().__init__()
        whole = {"batch_size": (batch_size, 1), "crops_per_image": (crops_per_image, 1)}
        for key, (value, least) in {**whole, "num_workers": (num_workers, 0), "seed": (seed, 0)}.items():
            check_number(f"data.{key}", value, least)
        if epoch_images is not None:
            check_number("data.epoch_images", epoch_images, 1, hint="or null for all images")
        if not 0 <= val_fraction < 1:
            raise InputError(f"data.val_fraction: {val_fraction} must be at least 0 and below 1")
        self.source = source
        self.augment = augment
        self.resize = one_rule(resize=resize, short_side=short_side, resize_preset=resize_preset)
        if cache is not None and self.resize is None:
            raise InputError(f"data.cache: {cache} would keep resized images, but none is resized; leave it out")
        self.cache = cache
        self.batch_size = batch_size
        self.crops_per_image = crops_per_image
        self.val_fraction = val_fraction
        self.epoch_images = epoch_images
        self.seed = seed
        self.num_workers = num_workers

    @cached_property
    def splits(self) -> tuple[list[Record], list[Record]]:
        """Training and validation records.

        Raises:
            InputError: if there are no training images.
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
        dataset = CrowdDataset(train, self.resize, self.augment, self.crops_per_image, self.seed, self.cache)
        weights = self.source.sampling_weights(train)
        repeat = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        sampler = EpochSampler(dataset, True, self.seed, weights, self.epoch_images, repeat)
        return ResumableLoader(dataset, batch_size=self.batch_size, sampler=sampler, **self._options())

    def val_dataloader(self) -> DataLoader[TrainingSample] | list[DataLoader[TrainingSample]]:
        """Return the loader of whole validation images, or an empty list if there are none."""
        _, val = self.splits
        return self._whole_images(val) if val else []

    def test_dataloader(self) -> DataLoader[TrainingSample]:
        """Return the loader of the official test images.

        Raises:
            InputError: if there are none, or their annotation is not public.
        """
        test = self.source.records("test")
        name = type(self.source).__name__
        if not test:
            raise InputError(f"data.source: {name} has no test images here; set test_after_fit to false to do without")
        if any(record.points is None for record in test):
            raise InputError(
                f"data.source: the test images of {name} have no public annotation; set test_after_fit to false to do "
                "without"
            )
        return self._whole_images(test)

    def _whole_images(self, records: list[Record]) -> DataLoader[TrainingSample]:
        dataset = CrowdDataset(records, self.resize, cache=self.cache)
        sampler = EpochSampler(dataset, shuffle=False, seed=self.seed)
        return DataLoader(dataset, batch_size=1, sampler=sampler, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": _start_worker,
            # the loader would otherwise draw from the global stream, which belongs to the training
            "generator": torch.Generator(),
        }


def one_rule(**rules: SizeRule | None) -> SizeRule | None:
    """Return the size rule among keyword arguments that is set, if any.

    Raises:
        InputError: if several are set.
    """
    chosen = {key: rule for key, rule in rules.items() if rule is not None}
    if len(chosen) > 1:
        names = ", ".join(f"data.{key}" for key in chosen)
        raise InputError(f"{names}: an image is brought to one size; set all but one of them to null")
    return next(iter(chosen.values()), None)


def _start_worker(_worker: int) -> None:
    cv2.setNumThreads(0)
    # a scheduler signals all processes of a training: a worker that leaves quietly lets the main one save its step
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
