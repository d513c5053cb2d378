"""Generated videos of people who walk over a plane ground before a pinhole camera, with exact places and crossings."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import cv2
import numpy as np

from crowdcount.checks import check_number
from crowdcount.data.synthetic.layout import Floats, Layout
from crowdcount.data.synthetic.render import People, ground
from crowdcount.geometry import Points, as_points
from crowdcount.images.read import Image

Segment = tuple[tuple[float, float], tuple[float, float]]
"""A line from one pixel to another."""

_HEAD: Final = 1.5
"""Height of the centre of a head in metres."""
_HALF_HEAD: Final = 0.12
"""Half of the height of a head in metres."""
_APART: Final = 0.5
"""Distance in metres that people keep to the left and right edges of the ground they walk on."""
_NOISE: Final = 2.0


@dataclass(frozen=True)
class PinholeView:
    """A camera without roll that looks over a plane ground; x is to its right, y ahead, in metres.

    Attributes:
        width: of the image in pixels.
        height: of the image in pixels.
        above: height of the camera in metres.
        tilt: degrees by which it looks down.
        focal: focal length in pixels.
    """

    width: int = 320
    height: int = 240
    above: float = 6.0
    tilt: float = 25.0
    focal: float = 320.0

    def heads(self, places: Floats) -> Points:
        """Return where the heads of people at places (N, 2) are seen: (N, 2) pixels."""
        down, drop = math.radians(self.tilt), self.above - _HEAD
        depth = places[:, 1] * math.cos(down) + drop * math.sin(down)
        below = drop * math.cos(down) - places[:, 1] * math.sin(down)
        x = self.width / 2 + self.focal * places[:, 0] / depth
        return as_points(np.stack([x, self.height / 2 + self.focal * below / depth], axis=1))

    def layout(self, places: Floats) -> Layout:
        """Return the layout of people at places (N, 2); heads have the size that the camera sees."""
        down = math.radians(self.tilt)
        slope = _HALF_HEAD * math.cos(down) / (self.above - _HEAD)
        horizon = self.height / 2 - self.focal * math.tan(down)
        return Layout(self.width, self.height, horizon, slope, math.cos(down), self.heads(places), ())


@dataclass(frozen=True)
class Walkers:
    """People who walk to and fro across the view, each at a speed and in a direction of their own.

    They leave the ground at one side and come back at the other, out of view; near and far they turn round.

    Args:
        count: number of people on the ground.
        speed: mean speed in metres per second; single ones differ by a fifth.
        seed: of places, looks and ways.
        fps: frames per second.
        view: the camera.

    Raises:
        InputError: a number is out of its range.
    """

    count: int = 20
    speed: float = 1.3
    seed: int = 0
    fps: float = 12.5
    view: PinholeView = field(default_factory=PinholeView)

    def __post_init__(self) -> None:
        check_number("count", self.count, 0)
        check_number("speed", self.speed, 0)
        check_number("fps", self.fps, 0, above=True)

    @property
    def extent(self) -> tuple[float, float, float]:
        """The ground that they walk on in metres: half of its width, its nearest and its farthest distance."""
        near = _distance(self.view, self.view.height * 0.95)
        far = _distance(self.view, max(self.view.height * 0.15, self.view.layout(np.zeros((0, 2))).horizon + 20))
        return far * self.view.width / 2 / self.view.focal * 1.15 + 1.0, near, far

    def places(self, frame: int) -> Floats:
        """Return where people are in a frame: (count, 2) metres."""
        side, near, far = self.extent
        start, way = self._ways
        moved = start + way * (frame / self.fps)
        x = (moved[:, 0] + side) % (2 * side) - side
        turned = (moved[:, 1] - near) % (2 * (far - near))
        return np.stack([x, near + np.minimum(turned, 2 * (far - near) - turned)], axis=1)

    def points(self, frame: int) -> Points:
        """Return the heads in a frame: (count, 2) pixels, some outside the image."""
        return self.view.heads(self.places(frame))

    def image(self, frame: int) -> Image:
        """Render a frame: (height, width, 3), RGB."""
        places = self.places(frame)
        self._people.move(self.view.layout(places))
        image = self._ground.copy()
        for number in np.argsort(-places[:, 1], kind="stable").tolist():
            self._people.draw(image, number)
        noise = np.random.default_rng((self.seed, 2, frame)).normal(0, _NOISE, image.shape)
        return np.clip(cv2.GaussianBlur(image, (3, 3), 0.5) + noise, 0, 255).astype(np.uint8)

    def crossings(self, line: Segment, frames: int) -> tuple[int, int]:
        """Return how many heads cross a line from frame 0 to `frames` - 1: to its right and to its left.

        Right and left are those of somebody who walks along the line on the screen, from its first to its second end.
        """
        right = left = 0
        before = self.points(0).astype(np.float64)
        for frame in range(1, frames):
            after = self.points(frame).astype(np.float64)
            near = np.abs(after - before)[:, 0] < self.view.width / 2  # not those who come back at the other side
            sides = _crossed(before[near], after[near], line)
            right, left = right + int((sides > 0).sum()), left + int((sides < 0).sum())
            before = after
        return right, left

    @cached_property
    def _ways(self) -> tuple[Floats, Floats]:
        rng = np.random.default_rng((self.seed, 0))
        side, near, far = self.extent
        start = rng.uniform([-side + _APART, near], [side - _APART, far], (self.count, 2))
        angle = rng.uniform(-0.5, 0.5, self.count) + np.pi * rng.integers(0, 2, self.count)
        speed = self.speed * rng.uniform(0.8, 1.2, self.count)
        return start, speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    @cached_property
    def _people(self) -> People:
        return People(np.random.default_rng((self.seed, 1)), self.view.layout(self.places(0)))

    @cached_property
    def _ground(self) -> Image:
        return ground(np.random.default_rng((self.seed, 3)), self.view.layout(np.zeros((0, 2))))


def _distance(view: PinholeView, row: float) -> float:
    """Return the distance in metres at which heads are seen in a row of the image."""
    angle = math.radians(view.tilt) + math.atan((row - view.height / 2) / view.focal)
    return (view.above - _HEAD) / math.tan(angle)


def _crossed(before: Floats, after: Floats, line: Segment) -> Floats:
    """Return 1 for ways (N, 2) to (N, 2) that cross a line to the right, -1 to the left, otherwise 0."""
    start, end = np.array(line[0]), np.array(line[1])
    right = np.array([-(end - start)[1], (end - start)[0]])
    first, last = (before - start) @ right, (after - start) @ right
    with np.errstate(divide="ignore", invalid="ignore"):
        at = before + (after - before) * (first / (first - last))[:, None]
        along = (at - start) @ (end - start) / ((end - start) @ (end - start))
    crossed = ((first < 0) != (last < 0)) & (along >= 0) & (along < 1)
    return np.where(crossed, np.where(last >= 0, 1.0, -1.0), 0.0)
