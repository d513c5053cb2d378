"""NWPU-Crowd."""

from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from crowdcount.data.annotations.common_formats import checked_boxes, checked_points, load_mats, numbered
from crowdcount.data.annotations.error_collection import read_each, report_error, report_left_out
from crowdcount.data.annotations.locate import locate
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError, about
from crowdcount.files import read_json, read_text
from crowdcount.geometry import Points

_TRAITS = {"luminance": 3, "level": 4}  # the further columns of the lists, and the highest number in each
_ANNOTATIONS = {"jsons": ".json", "mats": ".mat"}


class _Heads(NamedTuple):
    points: Points | None
    boxes: NDArray[np.float32] | None


class Nwpu(CrowdSource):
    """NWPU-Crowd: 5109 images, 351 of them without people.

    Wang et al., "NWPU-Crowd: A Large-Scale Benchmark for Crowd Counting and Localization", TPAMI 2020.
    Splits: 3109 train, 500 val, 1500 test. The annotations of the test images are withheld: their points are None.

    Layout: `images_part1` to `images_part5` (or one folder `images`), `jsons` or `mats`, and the lists `train.txt`,
    `val.txt` and `test.txt`. A line of a list is the number of an image, its luminance (0 to 3) and its level of
    crowding (0: no one, to 4: more than 5000), the latter two missing in `test.txt`: they become the attributes
    `luminance` and `level`. Boxes are read if an annotation has them (`boxes`, in a .mat file `annBoxes`). If both
    folders exist, `jsons` is read.

    Args:
        root: folder of the image folders and the lists, or one up to two levels above it.
    """

    published = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @property
    def _home(self) -> Path:
        return locate(self.root, lambda path: any((path / f"{split}.txt").is_file() for split in get_args(Split)))

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in the order of its list."""
        listed = self._listed(split)
        images = self._images()
        self._report_unlisted(images)
        for number in sorted(listed.keys() - images.keys()):
            path = self._home / f"{number:04d}.jpg"
            lists = f"{self._home}: {split}.txt lists {path.stem}, but no images folder has {path.name}"
            report_error(InputError(f"{lists}; unpack its folder again", path))
        folder = None if split == "test" else self._annotations()

        def read(number: int) -> Record:
            heads = _Heads(None, None) if folder is None else _read_heads(folder, number)
            return Record(f"{number:04d}", images[number], heads.points, attributes=listed[number], boxes=heads.boxes)

        return read_each(read, [number for number in listed if number in images])

    def _listed(self, split: Split) -> dict[int, dict[str, str]]:
        path = self._home / f"{split}.txt"
        if not path.is_file():
            raise InputError(
                f"{path}: no such list; expected images_part1 to images_part5, mats, train.txt, val.txt and test.txt "
                f"of NWPU-Crowd in {self._home}. Download it from gjy3035.github.io/NWPU-Crowd-Sample-Code",
                path,
            )
        listed: dict[int, dict[str, str]] = {}
        with about(path):
            text = read_text(path)
        for line, words in enumerate(map(str.split, text.splitlines()), 1):
            if not words:
                continue
            number = _number(path, line, words[0])
            if number in listed:
                raise InputError(f"{path}: line {line} lists image {number:04d} again; take the repeat out", path)
            listed[number] = _traits(path, line, words[1:])
        if not listed:
            raise InputError(f"{path}: expected the number of an image on each line, found nothing", path)
        return listed

    def _report_unlisted(self, images: dict[int, Path]) -> None:
        """Report images that none of the lists names."""
        lists = [path for split in get_args(Split) if (path := self._home / f"{split}.txt").is_file()]
        words = {line.split()[0] for path in lists for line in read_text(path).splitlines() if line.strip()}
        listed = {int(word) for word in words if word.isascii() and word.isdigit()}
        unlisted = [path for number, path in images.items() if number not in listed]
        report_left_out(self._home, unlisted, f"images that {', '.join(path.name for path in lists)} do not list")

    def _images(self) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for folder in sorted(path for path in self._home.glob("images*") if path.is_dir()):
            for number, path in numbered(folder, r"(\d+)\.jpg").items():
                if number in found:
                    raise InputError(f"{path} and {found[number]} are the same image; keep one of them", path)
                found[number] = path
        return found

    def _annotations(self) -> Path:
        """Return the folder of the annotations."""
        for name in _ANNOTATIONS:
            if (self._home / name).is_dir():
                return self._home / name
        raise InputError(f"{self._home}: neither a mats nor a jsons folder; unpack the annotations here", self._home)


def _number(path: Path, line: int, word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise InputError(f"{path}: line {line}: expected the number of an image, found {word[:80]!r}", path)
    return int(word)


def _traits(path: Path, line: int, words: list[str]) -> dict[str, str]:
    """Return the attributes of an image; empty if the list has only its number."""
    traits = dict(zip(_TRAITS, words, strict=False))
    fits = all(word.isascii() and word.isdigit() and int(word) <= _TRAITS[key] for key, word in traits.items())
    if words and not (fits and len(words) == len(_TRAITS)):
        raise InputError(
            f"{path}: line {line} goes on with {' '.join(words)[:80]!r}, expected the luminance, 0 to 3, and the "
            "level, 0 to 4; copy the list again from the original archive",
            path,
        )
    return {key: str(int(word)) for key, word in traits.items()}


def _read_heads(folder: Path, number: int) -> _Heads:
    path = folder / f"{number:04d}{_ANNOTATIONS[folder.name]}"
    if not path.is_file():
        raise InputError(f"{path}: no such annotation; restore it from the original archive", path)
    points_key, boxes_key = ("points", "boxes") if path.suffix == ".json" else ("annPoints", "annBoxes")
    content: dict[str, Any] = _object(path) if path.suffix == ".json" else load_mats(path, points_key, boxes_key)
    if points_key not in content:
        raise InputError(
            f"{path}: not an NWPU annotation, it has no {points_key!r}; copy it again from the archive", path
        )
    points = checked_points(path, content[points_key])
    boxes = checked_boxes(path, content[boxes_key], len(points)) if boxes_key in content else None
    return _Heads(points, boxes)


def _object(path: Path) -> dict[str, Any]:
    with about(path):
        content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: not an NWPU annotation, but {type(content).__name__}; copy it again from the archive", path
        )
    return content
