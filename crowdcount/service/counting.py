"""Counting in an upload or a frame: from bytes or pixels to an answer, in one thread."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from crowdcount.errors import InputError
from crowdcount.ground.drawing import draw_density
from crowdcount.ground.measure import Ground, GroundDensity
from crowdcount.images.formats import image_format
from crowdcount.images.read import Image, decode
from crowdcount.inference.plotting import density_overlay
from crowdcount.inference.prediction import DOUBTFUL, Prediction
from crowdcount.predictor import Predictor
from crowdcount.service.answers import (
    CountAnswer,
    ZoneAnswer,
    density_answer,
    ground_answer,
    interval_answer,
)
from crowdcount.service.limits import Refused
from crowdcount.service.settings import Settings
from crowdcount.service.upload import Upload
from crowdcount.visualize import caption, count_text, image_bytes
from crowdcount.visualize.drawing_mark import drawing_bytes
from crowdcount.zones import Zone, draw_zones, parse_zones, zone_counts, zone_intervals

_LARGEST_DRAWING: Final = 2048
_MOST_ZONES: Final = 200


@dataclass(frozen=True)
class Counted:
    """A counted image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        prediction: of the model.
        zones: in the image.
        answer: counts and intervals.
        ground: people per square metre; None without a camera file.
    """

    image: Image
    prediction: Prediction
    zones: Sequence[Zone]
    answer: CountAnswer
    ground: GroundDensity | None = None

    def json(self, points: bool = False, density: bool = False, frame: bool = False) -> bytes:
        """Return the answer as JSON, on request with points, density and the image."""
        answer, (height, width) = self.answer, self.image.shape[:2]
        if points:
            found = self.prediction.points_in(height, width).astype(np.float64)
            rounded = np.floor(100 * found) / 100  # not up, which could be beyond the image
            answer = answer.model_copy(update={"points": [(x, y) for x, y in rounded.tolist()]})
        if density:
            areas = None if self.ground is None else self.ground.areas
            answer = answer.model_copy(update={"density": density_answer(self.prediction, height, width, areas)})
        if frame:
            data = base64.b64encode(image_bytes(self.image, ".jpg")).decode()
            answer = answer.model_copy(update={"frame": data})
        return answer.model_dump_json().encode()

    def png(self) -> bytes:
        """Return the density and the zones drawn over the image, with the count in a line above.

        The density is that per square metre where it is known.
        """
        if self.ground is None:
            drawn = self._with_zones(density_overlay(self.image, self.prediction, _LARGEST_DRAWING))
        else:
            height, width = self._drawn_size()
            small = np.asarray(cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            drawn = draw_density(small, self.ground)
            drawn[:height, :width] = self._with_zones(drawn[:height, :width])  # scale and bands are under the image
        return drawing_bytes(caption(drawn, count_text(self.answer.count)))

    def _drawn_size(self) -> tuple[int, int]:
        height, width = self.image.shape[:2]
        scale = min(1.0, _LARGEST_DRAWING / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _with_zones(self, drawn: Image) -> Image:
        counts = {zone.name: zone.count for zone in self.answer.zones}
        return draw_zones(drawn, self.zones, counts, (self.image.shape[0], self.image.shape[1]))


def count_image(
    predictor: Predictor, image: Image, name: str, zones: str | None, level: float, ground: Ground | None = None
) -> Counted:
    """Count in an image (H, W, 3) uint8 RGB, and in its zones.

    Args:
        predictor: what counts.
        image: the image.
        name: of the image.
        zones: JSON text; None for none.
        level: of the intervals.
        ground: that the camera sees; None without a camera file.

    Raises:
        InputError: a zone is invalid or outside the image, or the image is not one of the camera.
    """
    size = image.shape[0], image.shape[1]
    found = [] if zones is None else zones_of(zones, *size)
    prediction = predictor.predict(image)
    answer = _answer(predictor, name, prediction, found, size, level)
    if ground is None:
        return Counted(image, prediction, found, answer)
    measured = ground.measure(prediction, *size, found)
    parts = [each.model_copy(update={"ground": ground_answer(measured.zones[each.name])}) for each in answer.zones]
    answer = answer.model_copy(update={"ground": ground_answer(measured.whole), "zones": parts})
    return Counted(image, prediction, found, answer, measured)


def zones_of(text: str, height: int, width: int) -> list[Zone]:
    """Return the zones of a text for an image of this size.

    Raises:
        InputError: a zone is invalid or outside the image, or there are too many.
    """
    found = parse_zones(text, "zones")
    if len(found) > _MOST_ZONES:
        raise InputError(f"zones: are {len(found)}; give at most {_MOST_ZONES}")
    for zone in found:
        zone.check(height, width)
    return found


def read_upload(upload: Upload, settings: Settings) -> Image:
    """Decode the image of an upload.

    Formats are told by their first bytes: those that only OpenCV knows go through a temporary file there, and state no
    size before they are decoded.

    Raises:
        Refused: the upload is not an image, or the image is too large.
        InputError: the image is damaged.
    """
    if not image_format(upload.data):
        raise Refused(
            415,
            "format",
            f"{upload.name} is not an image that can be read here; choose a JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF, "
            "BMP or JPEG 2000 file",
        )
    image = decode(upload.data, upload.name, max_memory=settings.max_memory)
    height, width = image.shape[:2]
    if width * height > settings.max_pixels:
        raise Refused(
            413,
            "pixels",
            f"{upload.name} has {width} x {height} pixels, more than {settings.max_pixels:,} in all; shrink it",
        )
    return image


def _answer(
    predictor: Predictor,
    name: str,
    prediction: Prediction,
    zones: Sequence[Zone],
    size: tuple[int, int],
    level: float,
) -> CountAnswer:
    calibrated = prediction.intervals is not None
    counts = zone_counts(prediction, zones, *size)
    known = zone_intervals(prediction, zones, *size, level) if calibrated else {}
    intervals = {zone: interval_answer(each, level) for zone, each in known.items()}
    return CountAnswer(
        image=name,
        count=prediction.count,
        width=size[1],
        height=size[0],
        interval=interval_answer(prediction.interval(level), level) if calibrated else None,
        zones=[ZoneAnswer(name=zone, count=count, interval=intervals.get(zone)) for zone, count in counts.items()],
        doubtful=(prediction.doubt or 0) > DOUBTFUL,
        exact=prediction.exact,
        model=predictor.model.label,
    )
