"""Generated crowd scenes: a data set from a seed, without files."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator

from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.data.synthetic.layout import Layout, arrange
from crowdcount.data.synthetic.render import paint
from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.images.read import Image

_STREAMS: Final[dict[Split, int]] = {"train": 0, "val": 1, "test": 2}
_SHARE_EMPTY: Final = 0.05
_LEAST_SIDE: Final = 32


@dataclass(frozen=True)
class Scene:
    """A generated image; calling it renders the image.

    Attributes:
        seed: seed of the data set.
        stream: number of the split.
        index: number of the scene within the split.
        width: image width in pixels.
        height: image height in pixels.
        max_people: largest number of people.
    """

    seed: int
    stream: int
    index: int
    width: int
    height: int
    max_people: int

    @property
    def points(self) -> Points:
        """Head centres (N, 2), from back to front, all of them inside; no pixels are drawn."""
        return self._layout().points

    def __call__(self) -> Image:
        """Render the image (height, width, 3), RGB."""
        return paint(self._random(1), self._layout())

    def _layout(self) -> Layout:
        rng = self._random(0)
        count = 0 if rng.random() < _SHARE_EMPTY else round(self.max_people * rng.random() ** 1.6)
        return arrange(rng, count, self.width, self.height)

    def _random(self, purpose: int) -> Generator:
        """Return the random generator of the scene for arranging (0) or painting (1)."""
        return np.random.default_rng((self.seed, self.stream, self.index, purpose))


class Synthetic(CrowdSource):
    """Generated crowd scenes with exact points; no files are needed.

    A scene only depends on its seed, split, number, size and largest count: a shorter split is the beginning of a
    longer one, and no scene is in two splits.

    Args:
        train: number of training scenes.
        val: number of validation scenes.
        test: number of test scenes.
        width: image width in pixels.
        height: image height in pixels.
        max_people: largest number of people in a scene; about one scene in twenty is empty.
        seed: any non-negative integer.

    Raises:
        InputError: if an argument is out of range.
    """

    def __init__(
        self,
        train: int = 200,
        val: int = 40,
        test: int = 60,
        width: int = 384,
        height: int = 288,
        max_people: int = 200,
        seed: int = 0,
    ) -> None:
        self._sizes: dict[Split, int] = {"train": train, "val": val, "test": test}
        numbers = [*self._sizes.items(), ("max_people", max_people), ("seed", seed)]
        for name, value in numbers:
            if value < 0:
                raise InputError(f"Synthetic: {name} is {value}; give 0 or more")
        for name, value in {"width": width, "height": height}.items():
            if value < _LEAST_SIDE:
                raise InputError(f"Synthetic: {name} is {value} pixels; give {_LEAST_SIDE} or more")
        self.width, self.height, self.max_people, self.seed = width, height, max_people, seed

    def records(self, split: Split) -> list[Record]:
        """Return the scenes of a split; only their points are computed."""
        scenes = [
            Scene(self.seed, _STREAMS[split], index, self.width, self.height, self.max_people)
            for index in range(self._sizes[split])
        ]
        return [Record(f"{split}_{scene.index:05d}", scene, scene.points) for scene in scenes]
