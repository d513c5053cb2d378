"""The strip under a frame of an annotated video: counts, zones and a chart, sized by the frame."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.images.read import Image
from crowdcount.video.smoothing import Reading
from crowdcount.visualize.text import INK, PAPER, Colour, text_size, text_width, write

_SMOOTH: Final = (20, 90, 200)
"""Colour of smoothed numbers and their chart."""
_AREA: Final = (214, 228, 247)
_FAINT: Final = (120, 120, 120)
_MOST_NAME: Final = 16
"""Maximum width of a zone name in digit heights; longer ones are cut."""
_SHIFT: Final = 4
"""Fractional bits of the coordinates passed to OpenCV."""


class _Box(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


class Strip:
    """White paper as wide as a frame, with room for its counts, a chart and rows of zones.

    Args:
        height: frame height in pixels.
        width: frame width in pixels.
        zones: names of the zones.

    Attributes:
        paper: (strip, width, 3) uint8, RGB.
    """

    def __init__(self, height: int, width: int, zones: Sequence[str] = ()) -> None:
        self._text = text_size(height, width)
        self._line = 2 * self._text
        self._margin = 2 * self._text // 3
        # In a narrow frame, a chart would leave no room for the numbers.
        self._middle = width if width < 26 * self._text else width // 2
        self._number = text_width(" 0000.0", self._text)
        self._zones = self._cells(zones, width)
        end = max((box.bottom for box in self._zones.values()), default=self._margin + 2 * self._line)
        self.paper: Image = np.full((end + self._margin, width, 3), PAPER, np.uint8)

    def write_counts(self, reading: Reading) -> None:
        """Write the count, the time and the smoothed count."""
        first = _Box(self._margin, self._margin, self._middle - self._margin, self._margin + self._line)
        clock = _clock(reading.seconds)
        split = first.right - text_width(clock, self._text)
        self._write(first._replace(left=split), clock, _FAINT)
        self._write(first._replace(right=split - self._margin), f"count {reading.count:.1f}", INK)
        second = first._replace(top=first.bottom, bottom=first.bottom + self._line)
        self._write(second, f"smoothed {reading.smoothed:.1f}", _SMOOTH)

    def write_zones(self, reading: Reading) -> None:
        """Write the name of each zone, its count and its smoothed count, in columns."""
        for name, box in self._zones.items():
            smoothed = box.right - self._number
            counts = smoothed - self._number
            self._write(box._replace(right=counts), _shortened(name, counts - box.left, self._text), INK)
            for left, values, colour in ((counts, reading.zones, INK), (smoothed, reading.smoothed_zones, _SMOOTH)):
                if name in values:
                    cell = box._replace(left=left, right=left + self._number)
                    self._write(cell, f"{values[name]:.1f}", colour, right=True)

    def draw_chart(self, series: Sequence[float], expected: int | None = None) -> None:
        """Draw values over time, scaled from zero to the largest so far.

        Args:
            series: the values so far; no chart is drawn if it is empty or the frame is too narrow.
            expected: final number of values, if known.
        """
        top, bottom = 2 * self._margin, self._margin + 2 * self._line - self._text // 2
        box = _Box(self._middle + 5 * self._text, top, self.paper.shape[1] - 2 * self._margin, bottom)
        if not len(series) or box.left >= box.right:
            return
        peak = max(1.0, max(series))
        for value, y in ((f"{peak:.0f}", box.top), ("0", box.bottom)):
            label = _Box(self._middle, y - self._text, box.left - self._margin, y + self._text)
            self._write(label, value, _FAINT, right=True)
        self._draw(box, _polyline(box, series, peak, expected))

    def _draw(self, box: _Box, points: NDArray[np.int32]) -> None:
        thick = max(1, round(self._text / 9))
        ground = [(x, box.bottom << _SHIFT) for x in (points[-1, 0], points[0, 0])]
        cv2.fillPoly(self.paper, [np.vstack([points, ground]).astype(np.int32)], _AREA, cv2.LINE_AA, _SHIFT)
        cv2.line(self.paper, (box.left, box.bottom), (box.right, box.bottom), _FAINT, 1)
        cv2.polylines(self.paper, [points], False, _SMOOTH, thick, cv2.LINE_AA, _SHIFT)
        x, y = points[-1].tolist()
        cv2.circle(self.paper, (x, y), (self._text << _SHIFT) // 4, _SMOOTH, -1, cv2.LINE_AA, _SHIFT)

    def _cells(self, names: Sequence[str], width: int) -> dict[str, _Box]:
        """Lay out the zones below the counts, in as many columns as their longest name allows."""
        longest = max((text_width(name, self._text) for name in names), default=0)
        cell = min(longest, _MOST_NAME * self._text) + 2 * self._number + self._text // 2
        room = width - 2 * self._margin + self._text
        columns = max(1, room // (cell + self._text))
        step, top = room // columns, 2 * self._margin + 2 * self._line
        cells = {}
        for number, name in enumerate(names):
            left, y = self._margin + number % columns * step, top + number // columns * self._line
            cells[name] = _Box(left, y, left + min(cell, step - self._text), y + self._line)
        return cells

    def _write(self, box: _Box, words: str, colour: Colour, *, right: bool = False) -> None:
        """Write text into a box, shrunk to fit."""
        text = self._text * min(1.0, (box.right - box.left) / max(1, text_width(words, self._text)))
        x = box.right - text_width(words, text) if right else box.left
        write(self.paper, words, x, (box.top + box.bottom) / 2, text, colour)


def _polyline(box: _Box, series: Sequence[float], peak: float, expected: int | None) -> NDArray[np.int32]:
    """Return the points (N, 2) of the chart in fixed-point pixels, thinned to the visible resolution."""
    last = max(len(series), expected or 0, 2) - 1
    shown = min(len(series), 2 * (box.right - box.left))
    places = np.linspace(0, len(series) - 1, shown).round().astype(int)
    values = np.array([max(0.0, series[place]) for place in places])
    x = box.left + (box.right - box.left) * places / last
    y = box.bottom - (box.bottom - box.top) * values / peak
    return np.rint(np.stack([x, y], axis=1) * (1 << _SHIFT)).astype(np.int32)


def _clock(seconds: float) -> str:
    """Format a time such as 0:04.8, or 1:02:03 from one hour on."""
    tenths = round(seconds * 10)
    minutes = tenths // 600
    if minutes < 60:
        return f"{minutes}:{tenths % 600 / 10:04.1f}"
    return f"{minutes // 60}:{minutes % 60:02d}:{tenths % 600 // 10:02d}"


def _shortened(name: str, room: int, text: float) -> str:
    """Cut a name so that it fits."""
    if text_width(name, text) <= room:
        return name
    kept = next((n for n in range(len(name) - 1, 0, -1) if text_width(f"{name[:n]}..", text) <= room), 1)
    return f"{name[:kept]}.."
