"""Measured change of counts and speed by quantisation."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from tqdm import tqdm

from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.images.read import Image, image_files, read_image
from crowdcount.metrics.count import count_errors
from crowdcount.runtimes.predictor import RuntimePredictor


@dataclass(frozen=True)
class Sample:
    """An image, and the number of people in it where that is known.

    Attributes:
        read: returns the image.
        count: the number.
    """

    read: Callable[[], Image]
    count: int | None = None


@dataclass(frozen=True)
class Measured:
    """Counts of images by an exported model.

    Attributes:
        counts: predicted.
        truth: true counts; None where one is not known.
        seconds: CPU time of an image, without reading it.
    """

    counts: tuple[float, ...]
    truth: tuple[int, ...] | None
    seconds: float


def record_samples(records: Sequence[Record]) -> list[Sample]:
    """Return the samples of records of a data set, whose points are counted."""
    return [Sample(record.read, record.count) for record in records]


def folder_samples(folder: Path, number: int) -> tuple[list[Sample], list[Sample]]:
    """Return samples of a folder to quantise with, and the others to measure on, or all if there are no others.

    Raises:
        InputError: the folder holds no images.
    """
    files = image_files(folder)
    if not files:
        raise InputError(f"{folder}: holds no images")
    samples = [Sample(partial(read_image, file)) for file in files]
    made_with = chosen(samples, number)
    others = [each for each in samples if all(each is not used for used in made_with)]
    return made_with, others or samples


def chosen(samples: Sequence[Sample], number: int) -> list[Sample]:
    """Return so many samples, or all there are, drawn with a fixed seed."""
    order = np.random.default_rng(0).permutation(len(samples))[:number]
    return [samples[index] for index in sorted(order.tolist())]


def measure(path: Path, samples: Sequence[Sample], what: str) -> Measured:
    """Count images with an exported model in one thread, so that its CPU time is that of the work.

    Args:
        path: of the model.
        samples: the images.
        what: words beside the progress bar.
    """
    predictor = RuntimePredictor(path, threads=1)
    predictor.predict(samples[0].read())  # the first call prepares memory
    counts, seconds = [], 0.0
    for sample in tqdm(samples, what, leave=False, disable=None):
        image = sample.read()
        start = time.process_time()
        counts.append(predictor.predict(image).count)
        seconds += time.process_time() - start
    known = [each.count for each in samples if each.count is not None]
    return Measured(tuple(counts), tuple(known) if len(known) == len(samples) else None, seconds / len(samples))


def change_text(before: Measured, after: Measured) -> str:
    """Return lines that say what quantisation changed: errors where the counts are known, else the counts; speed."""
    number = len(before.counts)
    if before.truth is not None:
        errors = [count_errors(each.counts, before.truth) for each in (before, after)]
        texts = [
            f"{key.upper()} on {number} images: float32 {errors[0][key]:.2f}, int8 {errors[1][key]:.2f}"
            for key in ("mae", "rmse")
        ]
    else:
        changes = [abs(b - a) / max(a, 1.0) for a, b in zip(before.counts, after.counts, strict=True)]
        means = [fmean(each.counts) for each in (before, after)]
        texts = [
            f"counts of {number} images: mean float32 {means[0]:.2f}, int8 {means[1]:.2f}; a count changes by "
            f"{fmean(changes):.1%} on average, by {max(changes):.1%} at most"
        ]
    rates = [1 / each.seconds for each in (before, after)]
    ratio = rates[1] / rates[0]
    texts.append(f"images per second of one thread: float32 {rates[0]:.2f}, int8 {rates[1]:.2f}, {ratio:.2f} times")
    return "\n".join(texts)
