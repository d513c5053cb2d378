"""Short trainings of a part of a network on a few frames."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, cast

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from numpy.typing import NDArray

from crowdcount.data.augment import Augment
from crowdcount.data.datamodule import CrowdData
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.geometry import as_points
from crowdcount.inference.model import Model
from crowdcount.losses.dm_count import DmCount
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.blockwise.loss import Dace
from crowdcount.models.hmode.network import Hmode
from crowdcount.models.zip.base import ZeroInflatedNetwork
from crowdcount.training.adapting.counts import CountModule
from crowdcount.training.adapting.frames import Frame, Painted
from crowdcount.training.adapting.levels import Level, trained_parameters
from crowdcount.training.base import CountingModule
from crowdcount.training.blockwise import BlockwiseModule
from crowdcount.training.density import DensityModule
from crowdcount.training.hmode import HmodeModule
from crowdcount.training.zip import ZipModule

RATES: Final[dict[Level, float]] = {"head": 1e-3, "blocks": 2e-4}
"""Learning rate at the start of a training; it falls to 0 along a cosine."""

CROP: Final = 256
"""Side of the training crops in pixels, rounded up to what the network needs; models with windows take theirs."""

_IMAGES, _CROPS = 4, 2  # of a step with points
_EPOCHS: Final = 10
"""Largest number of steps of the learning rate in a training."""

_CLIP: Final = 50.0
"""Largest norm of the gradients, as in the recipes of the zoo."""


@dataclass(frozen=True)
class Schedule:
    """A short training.

    Attributes:
        level: "head" or "blocks".
        steps: number of optimizer steps.
        seed: seed of the order and of the crops.
        on_step: called after each step.
    """

    level: Level
    steps: int
    seed: int
    on_step: Callable[[], Any]

    @property
    def epochs(self) -> int:
        """Number of steps of the learning rate."""
        return math.gcd(self.steps, _EPOCHS)


def fit(model: Model, frames: Sequence[Frame], chosen: Sequence[int], schedule: Schedule) -> None:
    """Train the parameters of a level on frames; all else stays as it is, also the statistics of normalisation.

    Frames with points are cut into crops, for the loss of the network's family. With counts alone whole images are
    counted, one in a step. The crops of a frame are the same whichever others are chosen.

    Args:
        model: its network is changed.
        frames: all frames.
        chosen: indices of those to learn from.
        schedule: level, steps and seed.

    Raises:
        InputError: a frame cannot be read, or the loss is not finite.
    """
    network = model.network
    device = next(network.parameters()).device
    with _only(network, trained_parameters(network, schedule.level)), _quiet():
        module = _module(model, frames, RATES[schedule.level], schedule.epochs)
        module.keep_weights()
        data = _data(model, _Frames(_learned(model, frames), chosen), schedule)
        _trainer(device, schedule).fit(module, datamodule=data)
    network.to(device).eval()


@contextmanager
def _only(network: torch.nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Let the named parameters alone require gradients; the others do again at the end."""
    stopped = [value for name, value in network.named_parameters() if value.requires_grad and name not in set(names)]
    for value in stopped:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in stopped:
            value.requires_grad_(True)
        network.zero_grad(set_to_none=True)


def _module(model: Model, frames: Sequence[Frame], rate: float, epochs: int) -> CountingModule:
    network: Any = model.network  # each branch knows its type
    make: Any = {
        "optimizer": partial(torch.optim.AdamW, lr=rate),
        "schedule": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
        "inference": model.inference,
    }
    if not _have_points(frames):
        return CountModule(network, {frame.record.name: frame.count for frame in frames}, **make)
    if isinstance(network, Hmode):
        return HmodeModule(network, **make)
    if isinstance(network, ZeroInflatedNetwork):
        return ZipModule(network, **make)
    if isinstance(network, BlockwiseCounter):
        return BlockwiseModule(network, Dace(ot_weight=0.0), **make)
    return DensityModule(network, DmCount(ot_weight=0.0), **make)


def _have_points(frames: Sequence[Frame]) -> bool:
    return frames[0].record.points is not None


def _learned(model: Model, frames: Sequence[Frame]) -> Sequence[Frame]:
    """Return the frames to learn from: under a mask of the model they have the mean colour of its training."""
    if model.ignored is None:
        return frames
    red, green, blue = (round(255 * value) for value in model.network.mean)
    painted = [Painted(frame.record, model.ignored, (red, green, blue)) for frame in frames]
    return [
        replace(frame, record=replace(frame.record, image=image)) for frame, image in zip(frames, painted, strict=True)
    ]


class _Frames(CrowdSource):
    """Frames as a data set; only chosen ones are drawn."""

    def __init__(self, frames: Sequence[Frame], chosen: Sequence[int]) -> None:
        self.points = _have_points(frames)
        nobody = as_points([])  # whole images are counted without looking at points
        self._records = [frame.record if self.points else replace(frame.record, points=nobody) for frame in frames]
        self._weights = np.zeros(len(frames))
        self._weights[list(chosen)] = 1

    def records(self, split: Split) -> list[Record]:
        """Return the frames, which are for training."""
        return self._records if split == "train" else []

    def sampling_weights(self, records: Sequence[Record]) -> NDArray[np.float64]:
        """Return 1 for the chosen frames and 0 for the others."""
        return self._weights


def _data(model: Model, source: _Frames, schedule: Schedule) -> CrowdData:
    images = _IMAGES if source.points else 1
    return CrowdData(
        source=source,
        augment=_augment(model) if source.points else None,
        resize=cast(Any, model.resize),  # any rule serves; the keys of a configuration tell them apart
        batch_size=images,
        crops_per_image=_CROPS if source.points else 1,
        val_fraction=0.0,
        epoch_images=schedule.steps // schedule.epochs * images,
        seed=schedule.seed,
        num_workers=0,
    )


def _augment(model: Model) -> Augment:
    multiple = math.lcm(model.network.size_divisor, *getattr(model.network, "strides", ()))
    crop = model.inference.window or -(-CROP // multiple) * multiple
    return Augment(crop, 0.8, 1.25, scale="log_uniform", pad=True, jitter=0.3, blur=0.0, noise=0.0)


def _trainer(device: torch.device, schedule: Schedule) -> Trainer:
    kinds: dict[str, tuple[str, Any]] = {"cpu": ("cpu", 1), "cuda": ("gpu", [device.index or 0])}
    accelerator, devices = kinds.get(device.type, (device.type, 1))
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        max_epochs=schedule.epochs,
        limit_val_batches=0,
        gradient_clip_val=_CLIP,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[_OnStep(schedule.on_step)],
    )


class _OnStep(Callback):
    """Call a function after each step."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Call it."""
        self._function()


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Lightning speak of errors alone: it has advice for long trainings, and announces each."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
