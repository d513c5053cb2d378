"""Result of the importers, and selection of the shapes to import."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from crowdcount.errors import InputError

Kind = Literal["point", "keypoint", "box centre"]


@dataclass(frozen=True)
class Annotated:
    """The annotation of one image in an export.

    Attributes:
        image: path of the image in the export, with forward slashes.
        points: x, y of each head.
        place: file and entry, for messages.
        size: width and height of the image in pixels according to the export; None if it has none.
        relative: whether the points are fractions of width and height instead of pixels.
        uploaded: whether the export may have `_` in the file name in place of blanks.
    """

    image: str
    points: list[tuple[float, float]]
    place: str
    size: tuple[int, int] | None = None
    relative: bool = False
    uploaded: bool = False


@dataclass
class Choice:
    """Selection of the shapes that become heads, with statistics of imported and skipped ones.

    Args:
        labels: labels of the shapes to import; empty for all.
        keypoint: keypoint to import of categories with several keypoints (COCO).
        images: names of the images without suffix; text files (YOLO) of other names are not labels. None for all.
    """

    labels: frozenset[str] = frozenset()
    keypoint: str | None = None
    images: frozenset[str] | None = None
    taken: Counter[Kind] = field(default_factory=Counter, init=False)
    left_out: Counter[str] = field(default_factory=Counter, init=False)
    _seen: Counter[str] = field(default_factory=Counter, init=False)

    def wants(self, label: str) -> bool:
        """Return whether shapes of this label are imported; count those that are not."""
        self._seen[label] += 1
        if self.labels and label not in self.labels:
            self.left_out[f"label {label!r}"] += 1
            return False
        return True

    def take(self, kind: Kind, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Count imported heads, and return them."""
        points = list(points)
        self.taken[kind] += len(points)
        return points

    def leave(self, reason: str) -> list[tuple[float, float]]:
        """Count a skipped shape, and return an empty list."""
        self.left_out[reason] += 1
        return []

    def check(self, place: str) -> None:
        """Check that every selected label occurs.

        Raises:
            InputError: if a label does not occur.
        """
        missing = sorted(self.labels - set(self._seen))
        if missing:
            known = ", ".join(f"{label!r} ({number})" for label, number in self._seen.most_common(20)) or "none"
            raise InputError(f"{place}: no shape has the label {missing[0]!r}; there are {known}")
