"""JHU-CROWD++."""

import logging
from pathlib import Path
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from crowdcount.data.annotations.common_formats import are_finite, numbered, paired
from crowdcount.data.annotations.error_collection import read_each
from crowdcount.data.annotations.locate import locate
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError, about
from crowdcount.files import read_text
from crowdcount.geometry import as_points
from crowdcount.json_fields import parse_number

logger = logging.getLogger(__name__)

_FIELDS = "x y w h o b"
_LABELS = "image_labels.txt"
_WEATHER: Final = {"0": "none", "1": "fog", "2": "rain", "3": "snow"}


class JhuCrowd(CrowdSource):
    """JHU-CROWD++ (version 2.0): 4372 images, some of them without people.

    Sindagi et al., "JHU-CROWD++: Large-Scale Crowd Counting Dataset and A Benchmark Method", arXiv 2004.03597.
    Splits: 2272 train, 500 val, 1600 test, all with annotations.

    Layout: `train`, `val` and `test`, each with `images` (`0001.jpg`), `gt` (`0001.txt`) and `image_labels.txt`. A
    line of an annotation is one head, `x y w h o b`: centre, approximate size, occlusion, blur; centre and size give
    the box, occlusion and blur are ignored. An empty annotation is an image without people. A line of the labels is
    `id,count,scene,weather,distractor`: the attributes `scene`, `weather` ("none", "fog", "rain" or "snow") and
    `distractor` ("0" or "1").

    Args:
        root: folder of `train`, `val` and `test`, or one up to two levels above it.
    """

    published = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @property
    def key(self) -> str:
        """Always "jhu"."""
        return "jhu"

    @property
    def _home(self) -> Path:
        return locate(self.root, lambda path: any((path / split / "gt").is_dir() for split in get_args(Split)))

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in numeric order."""
        pairs = self._pairs(split)
        labels = _read_labels(self._home / split / _LABELS, [int(image.stem) for image, _ in pairs])
        return read_each(lambda pair: _record(*pair, labels.get(int(pair[0].stem), {})), pairs)

    def _pairs(self, split: Split) -> list[tuple[Path, Path]]:
        images, annotations = (self._home / split / name for name in ("images", "gt"))
        try:
            return paired(numbered(images, r"(\d+)\.jpg"), numbered(annotations, r"(\d+)\.txt"), images)
        except InputError as error:
            raise InputError(
                f"{error}. Expected in {self._home}: the folders train, val and test of JHU-CROWD++, each with "
                "images/0001.jpg, ... and gt/0001.txt, .... Download it from crowd-counting.com"
            ) from error


def _record(image: Path, annotation: Path, attributes: dict[str, str]) -> Record:
    heads = _read_heads(annotation)
    centre, half = heads[:, :2], heads[:, 2:4] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return Record(image.stem, image, as_points(centre), attributes=attributes, boxes=boxes.astype(np.float32))


def _read_heads(path: Path) -> NDArray[np.float64]:
    """Return the (N, 6) fields of the heads."""
    with about(path):
        lines = enumerate(read_text(path).splitlines(), 1)
    rows = [_read_line(path, number, line) for number, line in lines if line.strip()]
    return np.array(rows, np.float64).reshape(-1, len(_FIELDS.split()))


def _read_line(path: Path, number: int, line: str) -> list[float]:
    fields = [parse_number(word) for word in line.split()]
    if len(fields) != len(_FIELDS.split()) or not are_finite(fields):
        raise InputError(
            f"{path}: line {number} is {line[:80]!r}, expected the numbers {_FIELDS!r} of one head; "
            "correct it, or copy the file again from the original archive",
            path,
        )
    return fields


def _read_labels(path: Path, numbers: list[int]) -> dict[int, dict[str, str]]:
    """Return the attributes of every image by number; empty if the file does not exist."""
    if not path.is_file():
        logger.warning("%s: no such file, so the scenes, the weather and the distractors are not known", path)
        return {}
    with about(path):
        lines = enumerate(read_text(path).splitlines(), 1)
    labels = dict(_read_label(path, number, line) for number, line in lines if line.strip())
    missing = [number for number in numbers if number not in labels]
    if missing:
        raise InputError(
            f"{path}: has no line for image {missing[0]:04d}; copy it again from the original archive", path
        )
    return labels


def _read_label(path: Path, number: int, line: str) -> tuple[int, dict[str, str]]:
    fields = [field.strip() for field in line.split(",")]
    # A comma inside the scene would make more fields: the others count from the two ends.
    if (
        len(fields) < 5
        or not (fields[0].isascii() and fields[0].isdigit())
        or fields[-2] not in _WEATHER
        or fields[-1] not in ("0", "1")
    ):
        raise InputError(
            f"{path}: line {number} is {line[:80]!r}, expected id,count,scene,weather,distractor with weather 0 to 3 "
            "and distractor 0 or 1; correct it, or copy the file again from the original archive",
            path,
        )
    scene = ",".join(fields[2:-2])
    return int(fields[0]), {"scene": scene, "weather": _WEATHER[fields[-2]], "distractor": fields[-1]}
