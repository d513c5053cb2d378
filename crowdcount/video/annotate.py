"""One frame of an annotated video: the density over the image, and under it a strip of counts with their chart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crowdcount.ground.drawing import draw_density
from crowdcount.ground.drawing import scale_top as scale_top_of_levels
from crowdcount.ground.measure import GroundDensity
from crowdcount.images.read import Image
from crowdcount.video.smoothing import Reading
from crowdcount.video.strip import Strip
from crowdcount.visualize.density import overlay, scale_top, smooth_density
from crowdcount.visualize.hatch import hatch
from crowdcount.visualize.text import PAPER

if TYPE_CHECKING:  # inference imports torch
    from crowdcount.inference.prediction import Prediction


class ColourScale:
    """The top of the colour scale of a video: the largest value so far, so that colours do not flicker.

    Attributes:
        top: people per block at the top of the scale; it never decreases.
    """

    def __init__(self) -> None:
        self.top = 0.0

    def __call__(self, prediction: "Prediction") -> float:
        """Update the scale with the prediction of the next frame and return `top`."""
        self.top = max(self.top, scale_top(prediction.density))
        return self.top


def annotate(
    image: Image,
    reading: Reading,
    prediction: "Prediction | None" = None,
    *,
    top: float | None = None,
    series: Sequence[float] = (),
    expected: int | None = None,
    ground: GroundDensity | None = None,
) -> Image:
    """Draw one frame of an annotated video.

    The strip is added below the image, so that positions in the image keep their coordinates.

    Args:
        image: (H, W, 3) uint8, RGB.
        reading: its counts; numbers after smoothing have the colour of the chart.
        prediction: the prediction for `image`, at any network input size; None draws no density.
        top: people per block at the top of the colour scale, see `ColourScale`; by default the maximum of this frame.
        series: the smoothed counts of the video up to and including this frame; empty draws no chart.
        expected: final length of `series` if known, which fixes the time axis of the chart.
        ground: people per square metre, which are drawn in place of those per block, with their scale and bands.

    Returns:
        (H + strip, W, 3) uint8. The height of the strip depends only on the image size, the zone names and the bands of
        people per square metre, so all frames of a video have the same size.

    Raises:
        InputError: the blocks of the density do not fit the image size of the prediction.
    """
    height, width = image.shape[:2]
    strip = Strip(height, width, list(reading.zones))
    strip.write_counts(reading)
    strip.write_zones(reading)
    strip.draw_chart(series, expected)
    if ground is not None:
        return _above(_covered_ground(image, ground, prediction), strip.paper)
    frame = image if prediction is None else _covered(image, prediction, top)
    return np.vstack([frame, strip.paper])


def _above(frame: Image, strip: Image) -> Image:
    """Put a frame above a strip that may be narrower, as bands with long names make the frame wider."""
    missing = frame.shape[1] - strip.shape[1]
    return np.vstack([frame, np.pad(strip, ((0, 0), (0, missing), (0, 0)), constant_values=PAPER)])


def _covered_ground(image: Image, ground: GroundDensity, prediction: "Prediction | None") -> Image:
    """Lay people per square metre over the image, on one scale for all frames; denser places are at its top."""
    drawn = draw_density(image, ground, scale_top_of_levels(ground.camera.settings.levels))
    if prediction is not None and prediction.ignored is not None:
        height, width = image.shape[:2]
        drawn[:height, :width] = hatch(drawn[:height, :width], prediction.ignored.pixels)
    return drawn


def _covered(image: Image, prediction: "Prediction", top: float | None) -> Image:
    """Lay the density over the image, resizing the density if the network saw the image at another size.

    Values stay people per block of the network's input, the unit of `top`.
    """
    density = smooth_density(prediction.density, prediction.height, prediction.width, prediction.stride)
    if density.shape != image.shape[:2]:
        large = cv2.resize(density, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        density = np.asarray(large, np.float32).reshape(image.shape[:2])
    drawn = overlay(image, density, 1, top or scale_top(prediction.density), smooth=0)
    return drawn if prediction.ignored is None else hatch(drawn, prediction.ignored.pixels)
