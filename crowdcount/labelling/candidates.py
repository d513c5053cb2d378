"""Candidates for labelling: images, and frames of videos at a fixed distance, each counted once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from crowdcount.doctor.duplicates import Appearance, image_hash, is_copy
from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.images.read import Image
from crowdcount.inference.prediction import Prediction
from crowdcount.intervals.scale import SCALES
from crowdcount.labelling.features import FeatureMoments, Features
from crowdcount.predictor import Predictor
from crowdcount.prefetch import ahead
from crowdcount.video.read import is_video, read_frames


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image or a frame of a video, without its pixels.

    Attributes:
        source: the file.
        frame: index of the frame in the video; None for an image.
        seconds: its time from the start of the video; None for an image.
        size: width and height in pixels.
        count: predicted count.
        points: (K, 2) predicted points in its pixels.
        uncertainty: see `uncertainty`.
        features: see `FeatureMoments`.
        appearance: for comparison with others.
    """

    source: Path
    frame: int | None
    seconds: float | None
    size: tuple[int, int]
    count: float
    points: Points
    uncertainty: float
    features: Features
    appearance: Appearance

    def __str__(self) -> str:
        """Return the file, and the frame of a video."""
        return str(self.source) if self.frame is None else f"{self.source} frame {self.frame} ({self.seconds:.1f} s)"


def uncertainty(prediction: Prediction) -> float:
    """Return how large an error to expect, in people up to a factor.

    The scale that intervals have by default (the square root of the summed variance of the blocks plus 1 where the
    network predicts a distribution, the count plus 20 otherwise), times 1 plus the doubt, which counts as at most 1;
    see `Prediction.doubt`.
    """
    variance = prediction.total_variance
    scale = SCALES[0] if variance is not None else SCALES[1]
    return scale(prediction.count, variance) * (1 + min(prediction.doubt or 0.0, 1.0))


def near_duplicates(one: Candidate, other: Candidate) -> bool:
    """Return whether two candidates show the same people at the same places, also if one is a copy of other size."""
    return is_copy(one.appearance, other.appearance)


def find_candidates(
    files: Iterable[Path], predictor: Predictor, every: int, left_out: list[str]
) -> Iterator[Candidate]:
    """Count in images and in every n-th frame of videos, and yield them as candidates.

    Args:
        files: images and videos.
        predictor: with a density model.
        every: distance of the frames of a video.
        left_out: gets a line for each file that cannot be read, or only in part.

    Raises:
        InputError: `every` is below 1, or the model is none of densities.
    """
    moments = FeatureMoments(predictor.model.density_model().network)
    for source, frame, seconds, image in _images(files, predictor, every, left_out):
        try:
            with moments.watch():
                prediction = predictor.predict_batch([image])[0]
        except InputError as error:
            left_out.append(f"{source}: {error}")
            continue
        height, width = image.shape[:2]
        yield Candidate(
            source,
            frame,
            seconds,
            (width, height),
            prediction.count,
            prediction.points_in(height, width),
            uncertainty(prediction),
            moments.take(prediction),
            image_hash(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)),
        )


def _images(
    files: Iterable[Path], predictor: Predictor, every: int, left_out: list[str]
) -> Iterator[tuple[Path, int | None, float | None, Image]]:
    """Yield file, index, time and pixels; an image is read while the one before is counted."""
    paths = list(files)

    def read(path: Path) -> Image | None:
        return None if is_video(path) else predictor.read(path)

    for path, future in zip(paths, ahead(read, paths), strict=True):
        try:
            image = future.result()
            if image is not None:
                yield path, None, None, image
                continue
            for frame in read_frames(path, every):
                yield path, frame.index, frame.seconds, frame.image
        except (InputError, OSError) as error:
            reason = str(error)
            left_out.append(reason if reason.startswith(str(path)) else f"{path}: {reason}")
