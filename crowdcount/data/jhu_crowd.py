"""JHU-CROWD++."""

import math
from pathlib import Path

from crowdcount.data.annotation import checked_points, numbered, paired
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError
from crowdcount.geometry import Points

_FIELDS = "x y w h o b"


class JhuCrowd(CrowdSource):
    """JHU-CROWD++ (version 2.0): 4372 images, some of them without people.

    Sindagi et al., "JHU-CROWD++: Large-Scale Crowd Counting Dataset and A Benchmark Method", arXiv 2004.03597.
    Splits: 2272 train, 500 val, 1600 test, all with annotations.

    Layout: `train`, `val` and `test`, each with `images` (`0001.jpg`) and `gt` (`0001.txt`). A line of an annotation
    is one head, `x y w h o b`: centre, approximate size, occlusion, blur. Only x and y are used. An empty annotation
    is a scene without people.

    Args:
        root: folder that holds `train`, `val` and `test`.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in numeric order."""
        return [Record(image.stem, image, _read_points(annotation)) for image, annotation in self._pairs(split)]

    def _pairs(self, split: Split) -> list[tuple[Path, Path]]:
        images, annotations = (self.root / split / name for name in ("images", "gt"))
        try:
            return paired(numbered(images, r"(\d+)\.jpg"), numbered(annotations, r"(\d+)\.txt"), images)
        except InputError as error:
            raise InputError(
                f"{error}. Expected in {self.root}: the folders train, val and test of JHU-CROWD++, each with "
                "images/0001.jpg, ... and gt/0001.txt, .... Download it from crowd-counting.com"
            ) from error


def _read_points(path: Path) -> Points:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return checked_points(path, [_read_line(path, i, line) for i, line in enumerate(lines, 1) if line.strip()])


def _read_line(path: Path, number: int, line: str) -> tuple[float, float]:
    fields = line.split()
    try:
        x, y = map(float, fields[:2])
    except ValueError:
        x = y = math.nan
    if len(fields) != len(_FIELDS.split()) or not (math.isfinite(x) and math.isfinite(y)):
        raise InputError(
            f"{path}: line {number} is {line[:80]!r}, expected the numbers {_FIELDS!r} of one head; "
            "correct it, or copy the file again from the original archive"
        )
    return x, y
