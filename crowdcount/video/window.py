"""Intervals and upper bounds of the mean count over a window of frames."""

from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING

from crowdcount.intervals.calibration import Alarm, Calibration, Interval, alarm, interval

if TYPE_CHECKING:  # inference imports torch
    from crowdcount.inference.prediction import Prediction


class WindowBounds:
    """Intervals and alarms of the moving average over the last frames, from a calibration on such windows.

    They are "uncalibrated" while the window is not full, and where the model is calibrated on windows of another
    number of frames or not at all. For a window of one frame the calibration on images holds, too.

    Args:
        frames: number of counted frames in the average.
    """

    def __init__(self, frames: int) -> None:
        self._variances: deque[float | None] = deque(maxlen=frames)
        self._calibration: Calibration | None = None

    def add(self, prediction: "Prediction") -> None:
        """Add the prediction of the next frame."""
        self._variances.append(prediction.total_variance)
        frames, known = self._variances.maxlen, prediction.intervals
        self._calibration = None
        if known is not None and len(self._variances) == frames:
            fits = known.frames == frames and known.window is not None
            self._calibration = known.window if fits else known.image if frames == 1 else None

    def interval(self, mean: float, level: float) -> Interval:
        """Return the interval of the mean at a level; see `Calibration.interval`."""
        return interval(self._calibration, mean, self._variance, level)

    def alarm(self, threshold: float, mean: float, miss: float) -> Alarm:
        """Return whether the true mean may be above a threshold; see `Calibration.alarm`."""
        return alarm(self._calibration, threshold, mean, self._variance, miss)

    @property
    def _variance(self) -> float | None:
        known = [each for each in self._variances if each is not None]
        return fmean(known) if known and len(known) == len(self._variances) else None
