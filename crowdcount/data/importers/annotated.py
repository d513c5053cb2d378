"""The result of all importers, and the choice of shapes they take."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from crowdcount.errors import InputError

Kind = Literal["point", "keypoint", "box centre"]


@dataclass(frozen=True)
class Annotated:
    """The people of one image, as an annotation tool exported them.

    Attributes:
        image: path of the image as the export has it, with forward slashes.
        points: x, y of each head.
        place: file and entry that this came from, for messages.
        size: width and height of the image in pixels that the export states; None where it states none.
        relative: the points are fractions of width and height instead of pixels.
        uploaded: the export may have `_` in the file name where the file itself has a blank.
    """

    image: str
    points: list[tuple[float, float]]
    place: str
    size: tuple[int, int] | None = None
    relative: bool = False
    uploaded: bool = False


@dataclass
class Choice:
    """The choice of shapes that become heads; keeps count of those taken and left out.

    Args:
        labels: take shapes with these labels only; all where empty.
        keypoint: of a category with several keypoints (COCO) take this one.
        pictures: names of the pictures without their endings; text files (YOLO) of other names are no labels. Null
            takes every file.
    """

    labels: frozenset[str] = frozenset()
    keypoint: str | None = None
    pictures: frozenset[str] | None = None
    taken: Counter[Kind] = field(default_factory=Counter, init=False)
    left_out: Counter[str] = field(default_factory=Counter, init=False)
    _seen: Counter[str] = field(default_factory=Counter, init=False)

    def wants(self, label: str) -> bool:
        """Tell whether shapes of this label are asked for; count those that are not."""
        self._seen[label] += 1
        if self.labels and label not in self.labels:
            self.left_out[f"label {label!r}"] += 1
            return False
        return True

    def take(self, kind: Kind, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Count heads that were taken, and return them."""
        points = list(points)
        self.taken[kind] += len(points)
        return points

    def leave(self, reason: str) -> list[tuple[float, float]]:
        """Count a shape that is no head; return that there is none."""
        self.left_out[reason] += 1
        return []

    def check(self, place: str) -> None:
        """Refuse labels that no shape has.

        Raises:
            InputError: one was asked for and not met.
        """
        missing = sorted(self.labels - set(self._seen))
        if missing:
            known = ", ".join(f"{label!r} ({number})" for label, number in self._seen.most_common(20)) or "none"
            raise InputError(f"{place}: no shape has the label {missing[0]!r}; there are {known}")
