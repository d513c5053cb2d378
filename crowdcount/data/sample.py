"""Data sets as lightweight records of images and points."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.geometry import Points, as_points
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image, read_image
from crowdcount.legacy import renamed

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Expression:
    """A referring expression of an image and the objects that it refers to.

    Attributes:
        text: expression as published.
        points: (N, 2) as published, including those outside the image; N = 0 if it refers to nothing in the image.
        attribute: words that distinguish it from other expressions of its class; empty if there are none.
        category: class of the objects; empty if the data set has none.
        kind: type of the attribute in the data set's terms, such as "color" or "action".
    """

    text: str
    points: Points
    attribute: str = ""
    category: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Record:
    """An annotated image, not yet decoded.

    Attributes:
        name: name, unique within the split, for logs and tables.
        image: file, or a picklable function that renders the image.
        points: (N, 2) as published, including those outside the image; None if the annotation is withheld. With
            expressions, their concatenated points: an object that two expressions refer to occurs twice.
        expressions: referring expressions of the image; empty if the data set has none.
        attributes: attributes of the whole image as text, such as `weather: rain`; see the docstring of the adapter.
        boxes: (N, 4) x1, y1, x2, y2 in pixels, one for each point, as published; None if the data set has no head
            sizes.
    """

    name: str
    image: Path | Callable[[], Image]
    points: Points | None
    expressions: tuple[Expression, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    boxes: NDArray[np.float32] | None = None

    @classmethod
    def referring(cls, name: str, image: Path | Callable[[], Image], expressions: Sequence[Expression]) -> "Record":
        """Return a record with expressions and their points."""
        points = np.concatenate([as_points([]), *(expression.points for expression in expressions)])
        return cls(name, image, points, tuple(expressions))

    @property
    def texts(self) -> list[str]:
        """Texts of the expressions."""
        return [expression.text for expression in self.expressions]

    @property
    def count(self) -> int:
        """Number of annotated points, the ground truth in papers."""
        return len(self.require_points())

    def require_points(self) -> Points:
        """Return the points.

        Raises:
            InputError: if the annotation is not public.
        """
        if self.points is None:
            raise InputError(f"{self.name} has no public annotation, so its count is not known")
        return self.points

    def outside(self, mask: IgnoreMask | None) -> "Record":
        """Return the record without the people under a mask of the size of its image; None is no mask."""
        if mask is None or self.points is None:
            return self
        expressions = tuple(
            replace(each, points=each.points[~_covered(mask, each.points)]) for each in self.expressions
        )
        kept = ~_covered(mask, self.points)
        boxes = None if self.boxes is None else self.boxes[kept]
        return replace(self, points=self.points[kept], expressions=expressions, boxes=boxes)

    def read(self) -> Image:
        """Decode the image.

        Raises:
            InputError: if the file is missing or damaged.
        """
        return read_image(self.image) if isinstance(self.image, Path) else self.image()


def _covered(mask: IgnoreMask, points: Points) -> NDArray[np.bool_]:
    return mask.covers(points, *mask.pixels.shape)


class CrowdSource(ABC):
    """Base class of data sets. Adapters read annotations only, never pixels.

    Attributes:
        name: name of the adapter on the command line, such as "ucf_qnrf"; by default the name of the class in lower
            case with underscores.
        published: whether all users of the data set have the same images, so that figures are comparable.
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
        """Short name of the data, such as "sha", used for figures and published totals."""
        return self.name

    @abstractmethod
    def records(self, split: Split) -> list[Record]:
        """Return the records of an official split in a fixed order; an empty list if there is no such split.

        Raises:
            InputError: if a file is missing, damaged or without its counterpart.
        """

    def sampling_weights(self, records: Sequence[Record]) -> NDArray[np.float64] | None:
        """Return (N,) relative probabilities of being drawn for training, None to draw each record once per epoch.

        Args:
            records: training records, without those that are held out.
        """
        return None


__getattr__ = renamed(__name__, "images.read")
