"""NWPU-Crowd."""

import json
from pathlib import Path

from crowdcount.data.annotation import checked_points, load_mat, numbered
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError
from crowdcount.geometry import Points


class Nwpu(CrowdSource):
    """NWPU-Crowd: 5109 scenes, 351 of them without people.

    Wang et al., "NWPU-Crowd: A Large-Scale Benchmark for Crowd Counting and Localization", TPAMI 2020.
    Splits: 3109 train, 500 val, 1500 test. The annotations of the test images are held back: their points are None.

    Layout: `images_part1` to `images_part5` (or one folder `images`), `mats` (or `jsons`), and the lists `train.txt`,
    `val.txt` and `test.txt`, whose first column is the number of the image.

    Args:
        root: folder that holds the folders of images and the lists.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in the order of its list."""
        numbers = self._numbers(split)
        images = self._images()
        for number in numbers:
            if number not in images:
                raise InputError(
                    f"{self.root}: {split}.txt lists {number:04d}, but no images folder has {number:04d}.jpg"
                )
        points = dict.fromkeys(numbers) if split == "test" else self._points(numbers)
        return [Record(f"{number:04d}", images[number], points[number]) for number in numbers]

    def _numbers(self, split: Split) -> list[int]:
        path = self.root / f"{split}.txt"
        if not path.is_file():
            raise InputError(
                f"{path}: no such list; expected images_part1 to images_part5, mats, train.txt, val.txt and test.txt "
                f"of NWPU-Crowd in {self.root}. Download it from gjy3035.github.io/NWPU-Crowd-Sample-Code"
            )
        columns = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        first = [fields[0] for fields in columns if fields]
        wrong = [word for word in first if not word.isascii() or not word.isdigit()]
        if wrong or not first:
            raise InputError(f"{path}: expected the number of an image on each line, found {wrong[:1] or 'nothing'}")
        numbers = [int(word) for word in first]
        if len(set(numbers)) < len(numbers):
            raise InputError(f"{path}: lists {len(numbers) - len(set(numbers))} images twice; take the repeats out")
        return numbers

    def _images(self) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for folder in sorted(path for path in self.root.glob("images*") if path.is_dir()):
            found |= numbered(folder, r"(\d+)\.jpg")
        return found

    def _points(self, numbers: list[int]) -> dict[int, Points]:
        mats, jsons = self.root / "mats", self.root / "jsons"
        if mats.is_dir():
            files = {number: mats / f"{number:04d}.mat" for number in numbers}
            return {number: checked_points(path, load_mat(path, "annPoints")) for number, path in files.items()}
        if not jsons.is_dir():
            raise InputError(f"{self.root}: neither a mats nor a jsons folder; unpack the annotations here")
        return {number: _read_json(jsons / f"{number:04d}.json") for number in numbers}


def _read_json(path: Path) -> Points:
    if not path.is_file():
        raise InputError(f"{path}: no such annotation; restore it from the original archive")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["points"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not an NWPU annotation ({error!r}); copy it again from the archive") from error
    return checked_points(path, values)
