"""Experimental: people who walk through a line of a video, from density and optical flow.

A density of p people per square pixel that moves at v pixels per frame carries, through a line with the unit normal n,
the integral of p v . n along the line: people per frame. Summed over frames it is the number of people who crossed.

The density comes per block, some of which is ground between people, and stands still. The speed of a place is therefore
that of what moves around it: with f the optical flow along n, and means over a window of the size of a block,

    to the right: p mean(|f|^3 where f > 0) / mean(f^2),      to the left: the same where f < 0

which is p |f| where everything moves alike, and nearly the speed of the people where they fill a part of the window.

How far it is off: docs/ground.md, measured by `crowdcount benchmark flow`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.video.read import read_frames

if TYPE_CHECKING:  # inference imports torch
    from crowdcount.predictor import Predictor

Floats = NDArray[np.float64]

LONGEST: Final = 960
"""Longer side in pixels to which frames are scaled for the optical flow; they are enlarged twofold at most, as the flow
of heads of a few pixels is lost otherwise."""

_LEAST_MOTION: Final = 0.02
"""Root mean square of the motion, in pixels of the scaled frame per frame, below which a place stands still."""


@dataclass(frozen=True)
class Line:
    """A line across the way of people, in pixels of the video.

    Attributes:
        start: x, y of its first end.
        end: x, y of its second end. Right and left are those of somebody who walks from the first to the second on the
            screen: a line from top to bottom has its right on the left of the screen.

    Raises:
        InputError: it is shorter than a pixel.
    """

    start: tuple[float, float]
    end: tuple[float, float]

    def __post_init__(self) -> None:
        if not np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]) >= 1:
            raise InputError(
                f"line: from {self.start} to {self.end} is shorter than a pixel; give x1,y1,x2,y2 in pixels"
            )

    def check(self, height: int, width: int) -> None:
        """Check that the line is inside a frame.

        Raises:
            InputError: an end is outside.
        """
        for x, y in (self.start, self.end):
            if not (0 <= x <= width and 0 <= y <= height):
                raise InputError(
                    f"line: {x:g},{y:g} is outside the frames of {width} x {height} pixels (width x height)"
                )


class Crossings(NamedTuple):
    """People who crossed a line.

    Attributes:
        to_right: number to the right of the line.
        to_left: number to its left.
    """

    to_right: float
    to_left: float


@dataclass(frozen=True)
class FlowReading:
    """Crossings up to a frame.

    Attributes:
        index: index of the frame among all frames of the video, from 0.
        seconds: its time from the start of the video.
        count: people in the frame whose density is used.
        crossed: people who crossed since the start of the video.
    """

    index: int
    seconds: float
    count: float
    crossed: Crossings


class OpticalFlow:
    """Motion from one frame to the next, by dense inverse search (`cv2.DISOpticalFlow`).

    Args:
        height: height of the frames in pixels.
        width: their width.

    Attributes:
        scale: size of the frames that are compared, relative to that of the frames given.
    """

    def __init__(self, height: int, width: int) -> None:
        self.scale = min(2.0, LONGEST / max(height, width))
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)  # heads are smaller than the half size at which the preset ends
        self._before: NDArray[np.uint8] | None = None

    def __call__(self, image: Image) -> Floats | None:
        """Return the motion (h, w, 2) since the frame before in pixels of the scaled frame; None at the first frame.

        Args:
            image: (H, W, 3) uint8, RGB.
        """
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if self.scale != 1:
            way = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC
            grey = cv2.resize(grey, None, fx=self.scale, fy=self.scale, interpolation=way)
        before, self._before = self._before, np.asarray(grey, np.uint8)
        if before is None:
            return None
        motion = self._search.calc(before, self._before, None)  # type: ignore[call-overload]  # None: no first guess
        return np.asarray(motion, np.float64)


class LineFlow:
    """Flow of people through a line.

    Args:
        line: in pixels of the frames.
        height: height of the frames in pixels.
        width: their width.
        scale: see `OpticalFlow`.

    Raises:
        InputError: the line is outside the frames.
    """

    def __init__(self, line: Line, height: int, width: int, scale: float) -> None:
        line.check(height, width)
        start, end = scale * np.array(line.start), scale * np.array(line.end)
        length = float(np.linalg.norm(end - start))
        self._right = np.array([-(end - start)[1], (end - start)[0]]) / length
        steps = max(2, round(2 * length))
        self._places = start + (np.arange(steps)[:, None] + 0.5) / steps * (end - start)
        self._part = length / steps

    def __call__(self, motion: Floats, density: NDArray[np.float32], stride: int, seen: tuple[int, int]) -> Crossings:
        """Return the people who cross during a motion.

        Args:
            motion: (h, w, 2) of `OpticalFlow`.
            density: (rows, columns) people per block around that time.
            stride: side of a block in pixels of the image as the network saw it.
            seen: height and width of that image.
        """
        block = stride * np.array([motion.shape[1] / seen[1], motion.shape[0] / seen[0]])
        cells = (self._places / block).astype(np.int64)
        rows, columns = (np.clip(cells[:, axis], 0, density.shape[1 - axis] - 1) for axis in (1, 0))
        people = density[rows, columns] / float(np.prod(block)) * self._part
        right, left = (float(people @ speed) for speed in self._speeds(motion @ self._right, block))
        return Crossings(right, left)

    def _speeds(self, across: Floats, block: Floats) -> tuple[Floats, Floats]:
        """Return the speeds to the right and to the left at the places of the line, in pixels per frame."""
        window = (max(1, round(float(block[0]))), max(1, round(float(block[1]))))
        squares = self._along(cv2.blur(np.square(across), window))
        still = squares < _LEAST_MOTION**2
        parts = []
        for part in (np.maximum(across, 0), np.maximum(-across, 0)):
            cubes = self._along(cv2.blur(part**3, window))
            parts.append(np.where(still, 0, cubes / np.maximum(squares, _LEAST_MOTION**2)))
        return parts[0], parts[1]

    def _along(self, values: NDArray[np.integer[Any] | np.floating[Any]]) -> Floats:
        x, y = np.minimum(self._places.astype(np.int64), np.array(values.shape[::-1]) - 1).T
        found: Floats = np.asarray(values, np.float64)[y, x]
        return found


def count_flow(path: Path, predictor: "Predictor", line: Line, every: int = 5) -> Iterator[FlowReading]:
    """Yield the people who crossed a line so far, for every n-th frame of a video and for its last one.

    The optical flow is that of all frames; the density is that of the last counted frame.

    Args:
        path: path of the video.
        predictor: density model that counts.
        line: in pixels of the video.
        every: n, the distance of the counted frames.

    Raises:
        InputError: `every` is below 1, the line is outside the frames, or the video cannot be read, see `read_frames`.
    """
    check_number("every", every, 1, hint="which counts in all frames")
    flow: tuple[OpticalFlow, LineFlow] | None = None
    total = np.zeros(2)
    for frame in read_frames(path):
        if flow is None:
            height, width = frame.image.shape[:2]
            optical = OpticalFlow(height, width)
            flow = optical, LineFlow(line, height, width, optical.scale)
        motion, counted = flow[0](frame.image), frame.index % every == 0
        if counted or motion is None:
            prediction = predictor.predict(frame.image)
            seen = prediction.height, prediction.width
        if motion is not None:
            total += flow[1](motion, prediction.density, prediction.stride, seen)
        reading = FlowReading(frame.index, frame.seconds, prediction.count, Crossings(*total.tolist()))
        if counted:
            yield reading
    if flow is not None and not counted:  # who crossed since the last counted frame
        yield reading
