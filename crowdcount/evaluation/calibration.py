"""Calibration of a model: counts of images with known numbers of people, and the intervals that they give."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from tqdm import tqdm

from crowdcount.data.annotations.count_table import CountedFile
from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.images.read import Image, read_image
from crowdcount.inference.model import Model
from crowdcount.intervals.calibration import Calibration
from crowdcount.intervals.file import Intervals, hash_counts
from crowdcount.intervals.fit import calibrate, calibrate_zones, choose_scale
from crowdcount.intervals.scale import Scale
from crowdcount.prefetch import ahead
from crowdcount.weights.download import file_sha256
from crowdcount.zones import Zone, hash_area, point_counts, zone_counts, zone_variances

ENOUGH_TO_CHOOSE: Final = 100
"""Number of images from which on a quarter of them chooses the scale and the others calibrate."""

Counts = tuple[float, ...]


@dataclass(frozen=True)
class CalibrationImage:
    """True and predicted count of an image.

    Attributes:
        name: its name.
        true: number of people in it.
        predicted: predicted count.
        variance: sum of the variances of the blocks; None if the network predicts no distribution.
        window: see `CountedFile`.
        zones: likewise true counts, predicted counts and variances of its zones.
    """

    name: str
    true: float
    predicted: float
    variance: float | None
    window: str = ""
    zones: tuple[Counts, Counts, tuple[float | None, ...]] = ((), (), ())


@dataclass(frozen=True)
class Choices:
    """Decisions of a person about a calibration.

    Args:
        data: name of the images.
        about: the kind of images in words.
        scale: expected size of an error; None for the default, or from `ENOUGH_TO_CHOOSE` images on the choice of a
            quarter of them.
        edges: predicted counts at which groups with intervals of their own begin.
        seed: seed of the draw of that quarter.
        approximate: whether the counts are not those that the model has on new images, see `Calibration`.
    """

    data: str
    about: str
    scale: Scale | None = None
    edges: tuple[float, ...] = ()
    seed: int = 0
    approximate: bool = False


def count_records(model: Model, records: Sequence[Record], zones: Sequence[Zone] = ()) -> list[CalibrationImage]:
    """Count in annotated images, with a progress bar on stderr.

    Args:
        model: model to calibrate.
        records: images.
        zones: regions of each image to count in as well.

    Raises:
        InputError: an image cannot be read, or has no public annotation.
    """
    known = [replace(record, points=record.require_points()).outside(model.ignored) for record in records]
    found = _counted(model, [record.name for record in known], [record.read for record in known], zones)
    return [_with_truth(*each, record, zones) for each, record in zip(found, known, strict=True)]


def _with_truth(
    image: CalibrationImage, size: tuple[int, int], record: Record, zones: Sequence[Zone]
) -> CalibrationImage:
    _, predicted, variances = image.zones
    inside = point_counts(record.require_points(), zones, *size)
    return replace(image, true=float(record.count), zones=(tuple(map(float, inside.values())), predicted, variances))


def count_files(model: Model, files: Sequence[CountedFile]) -> list[CalibrationImage]:
    """Count in the images of a table, with a progress bar on stderr.

    Raises:
        InputError: an image cannot be read.
    """
    found = _counted(model, [each.name for each in files], [_reader(each) for each in files], ())
    return [replace(image, true=each.count, window=each.window) for (image, _), each in zip(found, files, strict=True)]


def _reader(file: CountedFile) -> Callable[[], Image]:
    return lambda: read_image(file.path)


def _counted(
    model: Model, names: Sequence[str], readers: Sequence[Callable[[], Image]], zones: Sequence[Zone]
) -> list[tuple[CalibrationImage, tuple[int, int]]]:
    images = ahead(_call, list(readers))
    found = []
    for name, future in tqdm(zip(names, images, strict=True), total=len(names), unit="image"):
        image = future.result()
        height, width = image.shape[:2]
        prediction = model.predict_batch([image])[0]
        counts = tuple(zone_counts(prediction, zones, height, width).values())
        spread = tuple(zone_variances(prediction, zones, height, width).values())
        counted = CalibrationImage(name, 0.0, prediction.count, prediction.total_variance, zones=((), counts, spread))
        found.append((counted, (height, width)))
    return found


def _call(reader: Callable[[], Image]) -> Image:
    return reader()


def fit_intervals(
    model: Model, images: Sequence[CalibrationImage], choices: Choices, zones: Sequence[Zone] = ()
) -> Intervals:
    """Return the intervals of a model.

    Args:
        model: the model, loaded from a file.
        images: counts of images that no training has seen.
        choices: see `Choices`.
        zones: regions that were counted as well.

    Raises:
        InputError: there are no images, or a value is out of its range.
    """
    assert model.file is not None, "a loaded model has a file"
    rest, scale = _choose(images, choices)
    windows = _windows(rest) if any(each.window for each in images) else []
    single = [] if windows else rest
    marked = partial(replace, approximate=choices.approximate)
    return Intervals(
        sha256=file_sha256(model.file),
        protocol=model.protocol,
        data=choices.data,
        about=choices.about,
        fingerprint=hash_counts((each.name, each.true) for each in images),
        choosing=len(images) - len(rest),
        image=marked(calibrate(*_columns(single), scale, choices.edges)) if single else None,
        zones=marked(_zones(single, scale)) if zones else None,
        areas={zone.name: hash_area(zone) for zone in zones},
        window=marked(calibrate(*_columns(windows), scale, choices.edges)) if windows else None,
        frames=len(images) // len(windows) if windows else 0,
    )


def _zones(images: Sequence[CalibrationImage], scale: Scale | None) -> Calibration:
    true = [each.zones[0] for each in images]
    predicted = [each.zones[1] for each in images]
    variances = [each.zones[2] for each in images]
    return calibrate_zones(true, predicted, variances, scale)


def _choose(images: Sequence[CalibrationImage], choices: Choices) -> tuple[list[CalibrationImage], Scale | None]:
    """Return the images that calibrate, and the scale that the others chose, if any."""
    grouped = any(each.window for each in images)
    if choices.scale is not None or grouped or len(images) < ENOUGH_TO_CHOOSE:
        return list(images), choices.scale
    order = np.random.default_rng(choices.seed).permutation(len(images))
    quarter = set(order[: len(images) // 4].tolist())
    choosing = [each for number, each in enumerate(images) if number in quarter]
    return [each for number, each in enumerate(images) if number not in quarter], choose_scale(*_columns(choosing))


def _columns(images: Sequence[CalibrationImage]) -> tuple[list[float], list[float], list[float | None]]:
    return ([i.true for i in images], [i.predicted for i in images], [i.variance for i in images])


def check_windows(names: Sequence[str]) -> None:
    """Check that every frame is in a window, and that all windows have as many frames.

    Args:
        names: name of the window of each frame, empty for none.

    Raises:
        InputError: they do not.
    """
    frames = Counter(names)
    if "" in frames or len(set(frames.values())) > 1:
        sizes = ", ".join(map(str, sorted(set(frames.values()))))
        raise InputError(
            f"window: {len(frames)} windows of {sizes} frames; give every frame a window, and all windows the same "
            "number of frames"
        )


def _windows(images: Sequence[CalibrationImage]) -> list[CalibrationImage]:
    """Return the mean of the frames of each window.

    Raises:
        InputError: see `check_windows`.
    """
    check_windows([each.window for each in images])
    frames: dict[str, list[CalibrationImage]] = defaultdict(list)
    for each in images:
        frames[each.window].append(each)
    return [_mean(name, own) for name, own in frames.items()]


def _mean(name: str, frames: Sequence[CalibrationImage]) -> CalibrationImage:
    true, predicted, variances = _columns(frames)
    known = [variance for variance in variances if variance is not None]
    variance = float(np.mean(known)) if len(known) == len(frames) else None
    return CalibrationImage(name, float(np.mean(true)), float(np.mean(predicted)), variance)
