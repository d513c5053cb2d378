"""Prediction and scoring of every image of a split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from crowdcount.checks import check_number
from crowdcount.data.sample import Record
from crowdcount.distributed import all_gather
from crowdcount.errors import InputError
from crowdcount.geometry import inside
from crowdcount.images.read import Image
from crowdcount.inference.model import CrowdModel
from crowdcount.inference.points import PointPrediction
from crowdcount.inference.prediction import Prediction
from crowdcount.intervals.calibration import Interval
from crowdcount.intervals.conformal import conformal_rank
from crowdcount.metrics.game import GAME_LEVELS, game, point_cells
from crowdcount.metrics.localisation import match_points
from crowdcount.metrics.nwpu_localisation import boxes_to_heads, hits, level_hits, pairs_within
from crowdcount.prefetch import ahead

Hits = tuple[int, int, int]


@dataclass(frozen=True)
class Scoring:
    """Settings of the metrics other than count errors.

    Args:
        radii: radii of localisation in pixels of the original image; the defaults are customary on ShanghaiTech.
        peak_threshold: see `density_peaks`.
        level: level of the intervals of models that are calibrated.

    Raises:
        InputError: if a number is out of range.
    """

    radii: tuple[float, ...] = (4.0, 8.0)
    peak_threshold: float = 0.0
    level: float = 0.9

    def __post_init__(self) -> None:
        labels = {f"{radius:g}" for radius in self.radii}
        if not all(0 <= radius < math.inf for radius in self.radii) or len(labels) < len(self.radii):
            raise InputError(f"radii: {self.radii}; give pixels, 0 or more, each once")
        check_number("peak_threshold", self.peak_threshold, 0, hint="in people per block")
        conformal_rank(0, self.level)  # checks it


@dataclass(frozen=True)
class ImageResult:
    """Result of one image, or of one expression in it.

    Attributes:
        name: name of the record, followed by the expression if there is one.
        predicted: predicted count.
        points: (K, 2) predicted points in whole pixels of the original image.
        true: number of annotated points, including those outside; None if the annotation is withheld.
        outside: number of annotated points outside the image.
        game: terms of GAME(0) to GAME(3); empty without annotation.
        hits: true positives, false positives and false negatives of each localisation rule.
        box_levels: heads of each box area level of NWPU-Crowd, and the fewest and the most of them that sigma_l
            matches; empty without boxes.
        attributes: attributes of the image in the data set.
        index: index of the image among the records.
        image: name of the image if it has one result for each expression, otherwise empty.
        interval: interval of the count; None if the model is not calibrated.
    """

    name: str
    predicted: float
    points: NDArray[np.int64]
    true: int | None = None
    outside: int = 0
    game: tuple[float, ...] = ()
    hits: Mapping[str, Hits] = field(default_factory=dict)
    box_levels: tuple[tuple[int, ...], ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    index: int = 0
    image: str = ""
    interval: Interval | None = None

    @property
    def group(self) -> str:
        """Name of the image, the unit that the bootstrap draws."""
        return self.image or self.name

    @property
    def error(self) -> float:
        """Predicted minus true count.

        Raises:
            InputError: if the annotation is not public.
        """
        if self.true is None:
            raise InputError(f"{self.name} has no public annotation, so its error is not known")
        return self.predicted - self.true


def evaluate(model: CrowdModel, records: Sequence[Record], scoring: Scoring | None = None) -> list[ImageResult]:
    """Count in every image and compare with its annotation, with a progress bar on stderr.

    Images go one at a time through the size rule and inference of the model, so that their results do not depend on
    each other. People under a mask of the model are left out of the true counts. With `torch.distributed`, each process
    takes a share of the images and all of them return all results, in the order of the records. A collective call.

    Raises:
        InputError: if an image cannot be read, or has no expressions although the model needs them.
    """
    scoring = scoring or Scoring()
    rank, world = _rank_and_world()
    own = range(rank, len(records), world)
    images = ahead(Record.read, [records[index] for index in own])
    shown = tqdm(zip(own, images, strict=True), total=len(own), unit="image", disable=rank > 0)
    results = [(index, _scored(model, records[index], image.result(), scoring)) for index, image in shown]
    gathered = sorted(all_gather(results), key=lambda pair: pair[0])
    return [replace(result, index=index) for index, share in gathered for result in share]


def _rank_and_world() -> tuple[int, int]:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)


def _scored(model: CrowdModel, record: Record, image: Image, scoring: Scoring) -> list[ImageResult]:
    """Score an image, or each of its expressions separately."""
    record = record.outside(model.ignored)
    parts = _expressions(model, record) if model.reads_text else [record]
    predictions = model.predict_each(image, record.texts if model.reads_text else ())
    results = [_result(part, image, found, scoring) for part, found in zip(parts, predictions, strict=True)]
    return [replace(result, image=record.name) for result in results] if model.reads_text else results


def _expressions(model: CrowdModel, record: Record) -> list[Record]:
    """Return a record for each expression of an image, with the points of the expression."""
    if not record.expressions:
        raise InputError(f"{record.name} has no expressions; {model.name} needs them")
    parts = []
    for each in record.expressions:
        attributes = {key: value for key, value in (("kind", each.kind), ("category", each.category)) if value}
        parts.append(Record(f"{record.name}: {each.text}", record.image, each.points, attributes=attributes))
    return parts


def _result(record: Record, image: Image, found: Prediction | PointPrediction, scoring: Scoring) -> ImageResult:
    height, width = image.shape[:2]
    points = found.points_in(height, width, scoring.peak_threshold)
    pixels = np.floor(points).astype(np.int64)
    if record.points is None:
        return ImageResult(
            record.name, found.count, pixels, attributes=dict(record.attributes), interval=_interval(found, scoring)
        )
    scores, levels = _localisation(record, pixels, scoring)
    if found.relative_radius is not None:
        # as published, radius and distances are fractions of the image's sides
        scale = np.array([width, height])
        scores["GroundingREC"] = match_points(points / scale, record.points / scale, found.relative_radius)
    return ImageResult(
        record.name,
        found.count,
        pixels,
        true=record.count,
        outside=int(np.count_nonzero(~inside(record.points, width, height))),
        game=tuple(game(point_cells(record.points, width, height, level), found.cells(level)) for level in GAME_LEVELS),
        hits=scores,
        box_levels=levels,
        attributes=dict(record.attributes),
        interval=_interval(found, scoring),
    )


def _interval(found: Prediction | PointPrediction, scoring: Scoring) -> Interval | None:
    if not isinstance(found, Prediction) or found.intervals is None:
        return None
    return found.interval(scoring.level)


def _localisation(
    record: Record, predicted: NDArray[np.int64], scoring: Scoring
) -> tuple[dict[str, Hits], tuple[tuple[int, ...], ...]]:
    """Return the hits at fixed radii, in whole pixels as is customary, and by the boxes if there are any."""
    true = np.floor(record.require_points()).astype(np.int64)
    scores = {f"{radius:g} px": hits(pairs_within(predicted, true, radius)) for radius in scoring.radii}
    if record.boxes is None:
        return scores, ()
    heads = boxes_to_heads(record.boxes)
    large = pairs_within(predicted, heads.points, heads.sigma_l)
    scores["sigma_l"] = hits(large)
    scores["sigma_s"] = hits(pairs_within(predicted, heads.points, heads.sigma_s))
    return scores, tuple(map(tuple, level_hits(large, heads.levels).tolist()))
