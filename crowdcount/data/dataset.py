"""Torch data set of decoded images and training crops, and their batches."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crowdcount.data.augment import Augment
from crowdcount.data.image_cache import ImageCache
from crowdcount.data.sample import Expression, Record
from crowdcount.geometry import Points
from crowdcount.images.read import Image
from crowdcount.images.resize import SizeRule

_STREAM = 101  # first word of the seeds here; other uses of the same seed have other words


@dataclass
class Batch:
    """A batch for a training or evaluation step.

    Attributes:
        images: (B, 3, H, W) uint8, RGB; smaller images are padded with black at the right and bottom.
        sizes: height and width of each image.
        points: B arrays (N_i, 2) in pixels of the images; they stay in CPU memory.
        counts: ground-truth count of each image: its annotated points, including those outside the image.
        names: name of each image.
        expressions: expressions of each image with points in its pixels; empty if the data set has none.
        sources: data set of each image if several are combined, otherwise "".
        is_padding: True for a batch that only keeps the processes of a distributed evaluation in step; it is ignored.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    points: list[Points]
    counts: list[int]
    names: list[str]
    expressions: list[tuple[Expression, ...]]
    sources: list[str]
    is_padding: bool = False

    def to(self, device: torch.device, **options: Any) -> "Batch":
        """Return the batch with its images on a device."""
        return replace(self, images=self.images.to(device, **options))

    def pin_memory(self) -> "Batch":
        """Return the batch with its images in pinned memory."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True)
class SampleIndex:
    """Index of an image, epoch, and number of earlier draws of the image in the epoch.

    All three seed its augmentation.
    """

    index: int
    epoch: int
    is_padding: bool = False
    repeat: int = 0


class TrainingSample(NamedTuple):
    """A sample of the data set: one image or crop, or several crops of one image."""

    images: list[Image]
    points: list[Points]
    record: Record
    is_padding: bool
    expressions: tuple[Expression, ...] = ()  # of a whole image; crops have none


class CrowdDataset(Dataset[TrainingSample]):
    """Decoded images of a list of records, or random crops of them.

    The random numbers of a sample only depend on the seed, the epoch, the index and its repetition, not on workers or
    processes.
    """

    def __init__(
        self,
        records: list[Record],
        resize: SizeRule | None,
        augment: Augment | None = None,
        crops: int = 1,
        seed: int = 0,
        cache: Path | str | None = None,
    ) -> None:
        self.records = records
        self.resize = resize
        self.augment = augment
        self.crops = crops
        self.seed = seed
        self.cache = None if cache is None or resize is None else ImageCache(cache, resize)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: SampleIndex | int) -> TrainingSample:
        """Decode the image of a draw (or of an index, in epoch 0) and crop it."""
        if isinstance(draw, int):
            draw = SampleIndex(draw, epoch=0)
        record = self.records[draw.index]
        image, points = self._read(record)
        if self.augment is None:
            return TrainingSample([image], [points], record, draw.is_padding, _with_points(record, points))
        again = [draw.repeat] if draw.repeat else []
        rng = np.random.default_rng([_STREAM, self.seed, draw.epoch, draw.index, *again])
        cut = [self.augment(image, points, rng) for _ in range(self.crops)]
        return TrainingSample([crop for crop, _ in cut], [inside for _, inside in cut], record, draw.is_padding)

    def _read(self, record: Record) -> tuple[Image, Points]:
        """Return the image and the points of a record after the size rule."""
        if self.cache is not None:
            return self.cache.read(record)
        image, points = record.read(), record.require_points()
        return (image, points) if self.resize is None else self.resize(image, points)


def _with_points(record: Record, points: Points) -> tuple[Expression, ...]:
    """Return the expressions of a record with their part of its points, which may have been scaled."""
    ends = np.cumsum([len(expression.points) for expression in record.expressions])
    shares = np.split(points, ends[:-1]) if len(ends) else []
    return tuple(
        replace(expression, points=share) for expression, share in zip(record.expressions, shares, strict=True)
    )


def collate(samples: list[TrainingSample]) -> Batch:
    """Stack images, padding smaller ones with black; points stay ragged."""
    images = [image for sample in samples for image in sample.images]
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    stacked = np.zeros((len(images), 3, height, width), np.uint8)
    for target, image in zip(stacked, images, strict=True):
        target[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
    return Batch(
        images=torch.from_numpy(stacked),
        sizes=sizes,
        points=[points for sample in samples for points in sample.points],
        counts=[sample.record.count for sample in samples for _ in sample.images],
        names=[sample.record.name for sample in samples for _ in sample.images],
        expressions=[sample.expressions for sample in samples for _ in sample.images],
        sources=[sample.record.attributes.get("source", "") for sample in samples for _ in sample.images],
        is_padding=samples[0].is_padding,
    )
