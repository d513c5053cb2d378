"""Generated scenes with referring expressions: people in a few colours, for tests and tutorials without files."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from crowdcount.data.sample import CrowdSource, Expression, Record, Split
from crowdcount.errors import InputError
from crowdcount.geometry import Points, as_points
from crowdcount.images.read import Image

_STREAMS: Final[dict[Split, int]] = {"train": 0, "val": 1, "test": 2}
_LEAST_SIDE: Final = 32
_LEAST_PEOPLE: Final = 2
_COLOURS: Final[dict[str, tuple[float, ...]]] = {
    "red": (205, 45, 45),
    "green": (50, 165, 65),
    "blue": (50, 80, 205),
    "yellow": (230, 205, 50),
}
_RADIUS: Final = (4.0, 6.0)
"""Smallest and largest head, in pixels."""

_MARGIN: Final = 5.0
"""Minimum distance of a head's centre from the border, in pixels."""

_APART: Final = 11.5
"""Distance in pixels between two centres while there is room."""

_SHADE: Final = 0.6
"""Share of the light in the shadow of a head."""

_TRIES: Final = 32
_SHARE_ABSENT: Final = 0.3


@dataclass(frozen=True)
class ReferringScene:
    """A generated image of people in different colours; calling it renders the image.

    Attributes:
        seed: seed of the data set.
        stream: number of the split.
        index: number of the scene within the split.
        size: side of the image in pixels.
        max_people: largest number of people.
    """

    seed: int
    stream: int
    index: int
    size: int
    max_people: int

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """One expression for each colour of the scene, sometimes one more for a colour that nobody wears.

        The latter has no points. No pixels are drawn.
        """
        points, worn, absent = self._people()
        return tuple(
            Expression(f"person in {name}", points[worn == number], attribute=name, category="person", kind="color")
            for number, name in enumerate(_COLOURS)
            if number == absent or number in worn
        )

    def __call__(self) -> Image:
        """Render the image (size, size, 3), RGB."""
        rng = self._random(1)
        points, worn, _ = self._people()
        image = _ground(rng, self.size)
        for (x, y), number in zip(points.tolist(), worn.tolist(), strict=True):
            _head(rng, image, x, y, tuple(_COLOURS.values())[number])
        soft = cv2.GaussianBlur(image, (3, 3), 0.5) + rng.normal(0, 3, image.shape)
        return np.clip(soft, 0, 255, out=soft).astype(np.uint8)

    def _people(self) -> tuple[Points, NDArray[np.int64], int | None]:
        """Return the centres (N, 2), their colour numbers (N,), and a colour that nobody wears, or None."""
        rng = self._random(0)
        count = int(rng.integers(_LEAST_PEOPLE, self.max_people + 1))
        order = rng.permutation(len(_COLOURS))
        kinds = int(rng.integers(2, min(len(_COLOURS), count) + 1))
        worn = np.concatenate([order[:kinds], rng.choice(order[:kinds], count - kinds)])
        absent = int(order[-1]) if kinds < len(_COLOURS) and rng.random() < _SHARE_ABSENT else None
        return _places(rng, count, self.size), worn, absent

    def _random(self, purpose: int) -> Generator:
        """Return the random generator of the scene for arranging (0) or painting (1)."""
        return np.random.default_rng((self.seed, self.stream, self.index, purpose))


class ReferringScenes(CrowdSource):
    """Generated scenes of people in red, green, blue and yellow, with expressions such as "person in red".

    People are coloured discs with a radius of 4 to 6 pixels on textured ground. Every scene has two to four colours,
    each with its expression; about one scene in five also has an expression without points, for a colour that nobody
    wears. A scene only depends on its seed, split, number, size and largest count; no files are needed.

    Args:
        train: number of training scenes.
        val: number of validation scenes.
        test: number of test scenes.
        size: side of the square images in pixels.
        max_people: largest number of people in a scene, at least 2; they overlap if they do not fit.
        seed: any non-negative integer.

    Raises:
        InputError: if an argument is out of range.
    """

    def __init__(
        self, train: int = 200, val: int = 40, test: int = 60, size: int = 96, max_people: int = 10, seed: int = 0
    ) -> None:
        self._sizes: dict[Split, int] = {"train": train, "val": val, "test": test}
        limits = [(name, value, 0) for name, value in [*self._sizes.items(), ("seed", seed)]]
        for name, value, least in [*limits, ("size", size, _LEAST_SIDE), ("max_people", max_people, _LEAST_PEOPLE)]:
            if value < least:
                raise InputError(f"ReferringScenes: {name} is {value}; give {least} or more")
        self.size, self.max_people, self.seed = size, max_people, seed

    def records(self, split: Split) -> list[Record]:
        """Return the scenes of a split; only their expressions are computed."""
        scenes = (
            ReferringScene(self.seed, _STREAMS[split], index, self.size, self.max_people)
            for index in range(self._sizes[split])
        )
        return [Record.referring(f"{split}_{scene.index:05d}", scene, scene.expressions) for scene in scenes]


def _places(rng: Generator, count: int, size: int) -> Points:
    """Return (count, 2) centres, each the first of some tries far enough from the others, or else the farthest."""
    chosen = rng.uniform(_MARGIN, size - _MARGIN, (1, 2))
    while len(chosen) < count:
        tries = rng.uniform(_MARGIN, size - _MARGIN, (_TRIES, 2))
        near = np.linalg.norm(tries[:, None] - chosen, axis=2).min(axis=1)
        chosen = np.concatenate([chosen, tries[[np.argmax(np.minimum(near, _APART))]]])
    return as_points(chosen)


def _ground(rng: Generator, size: int) -> Image:
    """Paint a greyish ground with patches and grain: (size, size, 3)."""
    base = rng.uniform(90, 170) + rng.normal(0, 6, 3)
    texture = np.zeros((size, size), np.float32)
    for cells, strength in ((4, 12.0), (12, 7.0), (40, 4.0)):
        noise = strength * rng.standard_normal((cells, cells), np.float32)
        texture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(base + texture[..., None], 0, 255).astype(np.uint8)


def _head(rng: Generator, image: Image, x: float, y: float, colour: tuple[float, ...]) -> None:
    """Draw a disc around (x, y) with its shadow, a dark rim and a light spot."""
    radius, tone = rng.uniform(*_RADIUS), np.clip(colour + rng.normal(0, 10, 3), 0, 255)
    ground = image[int(y), int(x)]
    _disc(image, x + 0.25 * radius, y + 0.3 * radius, radius, _SHADE * ground)
    _disc(image, x, y, radius, 0.65 * tone)
    _disc(image, x, y, 0.82 * radius, tone)
    _disc(image, x - 0.25 * radius, y - 0.3 * radius, 0.3 * radius, 0.7 * tone + 70)


_BITS: Final = 4
_ONE: Final = 1 << _BITS
"""One pixel in cv2's fixed point, in which pixel centres are integers: hence the half subtracted below."""


def _disc(image: Image, x: float, y: float, radius: float, colour: NDArray[np.float64]) -> None:
    centre = (round((x - 0.5) * _ONE), round((y - 0.5) * _ONE))
    reach = round((radius - 0.5) * _ONE)  # the smooth border adds half a pixel
    cv2.circle(image, centre, reach, tuple(colour.tolist()), -1, cv2.LINE_AA, _BITS)
