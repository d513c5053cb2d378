"""ShanghaiTech, parts A and B."""

import re
from pathlib import Path
from typing import Literal, get_args

from crowdcount.data.annotations.common_formats import checked_points, load_mat, mat_location, numbered, paired
from crowdcount.data.annotations.error_collection import read_each
from crowdcount.data.annotations.locate import locate
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError

Part = Literal["A", "B"]

_NAMED = re.compile(r"(?:part|sh|sht|shanghai_?tech)?[_ -]?([ab])(?:_final)?", re.IGNORECASE)
_FOLDERS = {"train": "train_data", "test": "test_data"}
_SOURCE = "github.com/desenzhou/ShanghaiTechDataset or kaggle.com/datasets/tthien/shanghaitech"


class ShanghaiTech(CrowdSource):
    """ShanghaiTech: 482 crowd images from the web (A), 716 from the streets of Shanghai (B).

    Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network", CVPR 2016.
    Splits: A 300 train, 182 test; B 400 train, 316 test; no validation split. Two releases of the annotations exist,
    one with and one without points outside the image; `Record.points` follows the files.

    Layouts: `part_A_final/{train,test}_data/{images,ground_truth}` of the authors' archive, and the same with
    `part_A` and `ground-truth` of the copy on Kaggle. Images `IMG_1.jpg`, annotations `GT_IMG_1.mat`. A part's folder
    may have any name but that of the other part.

    Args:
        root: folder of `train_data` and `test_data`, or one up to two levels above it.
        part: A or B.
    """

    name = "shanghaitech"
    published = True

    def __init__(self, root: Path | str, part: Part) -> None:
        if part not in get_args(Part):
            raise InputError(f"part: ShanghaiTech has parts A and B, not {part!r}")
        self.root = Path(root)
        self.part = part

    @property
    def key(self) -> str:
        """Either "sha" or "shb"."""
        return f"sh{self.part.lower()}"

    def records(self, split: Split) -> list[Record]:
        """Return the records of "train" or "test" in numeric order; "val" is empty."""
        if split == "val":
            return []
        folder = self._folder() / _FOLDERS[split]
        images = numbered(folder / "images", r"IMG_(\d+)\.jpg")
        annotations = numbered(_annotation_folder(folder), r"GT_IMG_(\d+)\.mat")
        pairs = paired(images, annotations, folder / "images")
        return read_each(_record, pairs)

    def _folder(self) -> Path:
        def holds(folder: Path) -> bool:
            return _has_splits(folder) and _letter(folder) in ("", self.part)

        if _has_splits(self.root) and not holds(self.root):
            other = _letter(self.root)
            raise InputError(
                f"{self.root}: is no ShanghaiTech part {self.part}, its name says part {other}; set part or root",
                self.root,
            )
        found = locate(self.root, holds)
        if not holds(found):
            raise InputError(
                f"{self.root}: found no ShanghaiTech part {self.part}; expected part_{self.part} or "
                f"part_{self.part}_final here, with train_data/images and train_data/ground-truth in it. Download it "
                f"from {_SOURCE}",
                self.root,
            )
        return found


def _has_splits(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _FOLDERS.values())


def _letter(folder: Path) -> str:
    """Return the part that the name of a folder, or of the target of a link, states; empty if none."""
    names = (folder.absolute().name, folder.resolve().name)
    found = [match[1].upper() for name in names if (match := _NAMED.fullmatch(name))]
    return found[0] if found else ""


def _record(pair: tuple[Path, Path]) -> Record:
    image, mat = pair
    return Record(image.stem, image, checked_points(mat, mat_location(mat, load_mat(mat, "image_info"))))


def _annotation_folder(folder: Path) -> Path:
    for name in ("ground-truth", "ground_truth"):
        if (folder / name).is_dir():
            return folder / name
    raise InputError(f"{folder}: no ground-truth (or ground_truth) folder; unpack the original archive here", folder)
