"""The prediction of a density model, in numbers alone: what draws, tabulates or counts zones needs no torch."""

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.geometry import Points, resize_points
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image
from crowdcount.inference.peaks import density_peaks
from crowdcount.inference.plotting import Colour, Plottable, density_overlay
from crowdcount.intervals.calibration import Alarm, Interval, alarm, interval
from crowdcount.intervals.file import Intervals
from crowdcount.metrics.game import density_cells
from crowdcount.visualize.captions import caption, count_text
from crowdcount.visualize.density import draw_points, overlay

DOUBTFUL: Final = 0.7
"""`Prediction.doubt` above which a count is called doubtful; how often that is right: docs/default_model.md."""

DOUBT_FLOOR: Final = 10.0
"""Smaller counts are taken as this one in `Prediction.doubt`."""


@dataclass(frozen=True)
class Prediction(Plottable):
    """The prediction of a density model for one image.

    Attributes:
        count: sum of the density.
        density: (rows, columns) float32, people per block of `stride` pixels, from the top left corner; the last
            row and column may reach beyond the image.
        stride: block side in pixels of the image as the network saw it.
        height: height in pixels of that image.
        width: its width.
        probabilities: (K, rows, columns) float32 class probabilities of blockwise classifiers, otherwise None.
        exact: whether this equals, up to rounding, the output for the whole image in one pass. False for models
            evaluated in windows, and for tiles of a network that sees the whole image at once.
        variance: (rows, columns) float32 variance of the count of each block where the network predicts a distribution,
            otherwise None. Errors of blocks are correlated, so its sum is not the variance of the count.
        size_difference: (rows, columns) float32 people per block in the image less those in its copy at half size, of
            networks that count in both, otherwise None.
        intervals: calibrations of the model for the way in which the image was counted, None without.
        ignored: pixels of the image under which nobody is counted, None without.
    """

    count: float
    density: NDArray[np.float32]
    stride: int
    height: int
    width: int
    probabilities: NDArray[np.float32] | None = None
    exact: bool = True
    variance: NDArray[np.float32] | None = None
    size_difference: NDArray[np.float32] | None = None
    intervals: Intervals | None = field(default=None, kw_only=True, repr=False, compare=False)
    ignored: IgnoreMask | None = field(default=None, kw_only=True, repr=False)

    @property
    def total_variance(self) -> float | None:
        """Sum of the variances of the blocks; a scale of the error of the count, not its variance."""
        return None if self.variance is None else float(self.variance.sum(dtype=np.float64))

    def interval(self, level: float = 0.9) -> Interval:
        """Return an interval that holds the true count with a probability of at least `level`.

        That is so for images exchangeable with those that the model was calibrated on, `intervals.about`; nothing is
        guaranteed for images of another kind.

        Args:
            level: wanted probability, between 0 and 1.

        Returns:
            low, high and state: "calibrated", "approximate", "uncalibrated" (0 to infinity), "too_few_images"
            (likewise) or "outside_range", see `crowdcount.intervals.State`.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        part = self.intervals.image if self.intervals else None
        return interval(part, self.count, self.total_variance, level)

    def alarm(self, threshold: float, miss: float = 0.05) -> Alarm:
        """Return whether there may be more people than `threshold`; true if so, also where the model is uncalibrated.

        For images exchangeable with those of the calibration, the share of images with more people and no alarm is at
        most `miss`.

        Args:
            threshold: limit of the true count.
            miss: accepted probability of a missed excess, between 0 and 1.

        Raises:
            InputError: a number is out of its range.
        """
        part = self.intervals.image if self.intervals else None
        return alarm(part, threshold, self.count, self.total_variance, miss)

    def draw(self, image: Image) -> Image:
        """Draw the density over an image (H, W, 3) uint8 RGB, at the network's input size; see `plot`."""
        return caption(density_overlay(image, self), count_text(self.count))

    def beside_truth(self, image: Image, truth: Points, colour: Colour) -> list[tuple[str, Image]]:
        """Return drawings of the annotation and of the density, at the network's input size."""
        height, width = image.shape[:2]
        seen = (self.width, self.height)
        if seen != (width, height):
            image = np.asarray(cv2.resize(image, seen, interpolation=cv2.INTER_AREA), np.uint8)
        marked = draw_points(image, resize_points(truth, (width, height), seen))
        drawn = overlay(image, self.density, self.stride)
        return [(f"truth {len(truth)}", marked), (count_text(self.count, len(truth)), drawn)]

    @property
    def doubt(self) -> float | None:
        """Difference between the counts at full and half size, relative to the count; None for models of one size.

        Counts below ten are taken as ten: a few tenths of a person scattered over an empty image are no reason for
        doubt. High where people are too small at half size, and for structure that looks like people at only one size:
        see `DOUBTFUL`.
        """
        if self.size_difference is None:
            return None
        return abs(float(self.size_difference.sum(dtype=np.float64))) / max(self.count, DOUBT_FLOOR)

    @property
    def relative_radius(self) -> None:
        """Radius of the objects; None, as a density has none. See `PointPrediction.relative_radius`."""
        return

    def points_in(self, height: int, width: int, peak_threshold: float = 0.0) -> Points:
        """Return the strongest peaks of the density, see `density_peaks`; none on ignored pixels.

        Args:
            height: height of the image in whose pixels the points are returned.
            width: its width.
            peak_threshold: people per block that a peak must exceed.

        Returns:
            (K, 2) x, y.
        """
        peaks = resize_points(density_peaks(self, peak_threshold), (self.width, self.height), (width, height))
        return peaks if self.ignored is None else peaks[~self.ignored.covers(peaks, height, width)]

    def cells(self, level: int) -> NDArray[np.float64]:
        """Return the people in each cell of GAME(`level`), (2 ** level, 2 ** level)."""
        return density_cells(self.density, self.stride, self.width, self.height, level)
