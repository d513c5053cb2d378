"""Data sets as light records of images and points, split by split."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.geometry import Points, as_points
from crowdcount.images.read import Image, read_image
from crowdcount.legacy import renamed

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Expression:
    """One referring expression of an image and the objects it means.

    Attributes:
        text: the expression as published.
        points: (N, 2) as published, also those outside the image; N = 0 where nothing in the image is meant.
        attribute: the words that tell it from other expressions of its class; empty where there are none.
        category: class of the objects; empty where the data set gives none.
        kind: what the attribute is about, in the data set's words, such as "color" or "action".
    """

    text: str
    points: Points
    attribute: str = ""
    category: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Record:
    """One annotated image, not yet decoded.

    Attributes:
        name: unique within the split, for logs and tables.
        image: a file, or a picklable function that renders the image.
        points: (N, 2) as published, also those outside the image; None where the annotation is withheld. With
            expressions, the points of all of them one after the other: an object that two expressions mean is in it
            twice.
        expressions: the referring expressions of the image; empty in data sets that have none.
        attributes: what the data set says of the whole image, as text, such as `weather: rain`; the adapter's
            docstring lists its own.
        boxes: (N, 4) x1, y1, x2, y2 in pixels, one for each point, as published; None where the data set has no sizes
            of heads.
    """

    name: str
    image: Path | Callable[[], Image]
    points: Points | None
    expressions: tuple[Expression, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    boxes: NDArray[np.float32] | None = None

    @classmethod
    def referring(cls, name: str, image: Path | Callable[[], Image], expressions: Sequence[Expression]) -> "Record":
        """Return a record with expressions, whose points are theirs."""
        points = np.concatenate([as_points([]), *(expression.points for expression in expressions)])
        return cls(name, image, points, tuple(expressions))

    @property
    def texts(self) -> list[str]:
        """The texts of the expressions."""
        return [expression.text for expression in self.expressions]

    @property
    def count(self) -> int:
        """Number of annotated points: the ground truth of the papers."""
        return len(self.require_points())

    def require_points(self) -> Points:
        """Return the points.

        Raises:
            InputError: the annotation is not public.
        """
        if self.points is None:
            raise InputError(f"{self.name} has no public annotation, so its count is not known")
        return self.points

    def read(self) -> Image:
        """Decode the image.

        Raises:
            InputError: the file is missing or damaged.
        """
        return read_image(self.image) if isinstance(self.image, Path) else self.image()


class CrowdSource(ABC):
    """A data set: what its adapter promises. Adapters read annotations only, never pixels.

    Attributes:
        name: of the adapter on the command line, such as "ucf_qnrf"; a class that does not set its own gets that of the
            class in lower case, with underscores between the words.
        published: whether everybody who reads the data set has the same images, so that figures on it compare.
    """

    name: ClassVar[str]
    published: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Give the class a name."""
        super().__init_subclass__(**arguments)
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def key(self) -> str:
        """Short name of what is read, such as "sha", under which figures and published totals are filed."""
        return self.name

    @abstractmethod
    def records(self, split: Split) -> list[Record]:
        """Return the records of an official split, in a fixed order; an empty list where it has no such split.

        Raises:
            InputError: a file is missing, damaged or without its partner.
        """

    def sampling_weights(self, records: Sequence[Record]) -> NDArray[np.float64] | None:
        """Return relative chances (N,) of being drawn for training, or None where each is drawn once an epoch.

        Args:
            records: the training records, or what is left of them when a part is held out.
        """
        return None


__getattr__ = renamed(__name__, "images.read")
