"""ShanghaiTech, parts A and B."""

from pathlib import Path
from typing import Literal, get_args

from crowdcount.data.annotations.common_formats import checked_points, load_mat, mat_location, numbered, paired
from crowdcount.data.annotations.error_collection import read_each
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError

Part = Literal["A", "B"]

_FOLDERS = {"train": "train_data", "test": "test_data"}
_SOURCE = "github.com/desenzhou/ShanghaiTechDataset or kaggle.com/datasets/tthien/shanghaitech"


class ShanghaiTech(CrowdSource):
    """ShanghaiTech: 482 crowd images from the web (A), 716 from the streets of Shanghai (B).

    Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network", CVPR 2016.
    Splits: A 300 train, 182 test; B 400 train, 316 test; no validation split. Two releases of the annotations exist,
    one with and one without points outside the image; `Record.points` follows the files.

    Layouts: `part_A_final/{train,test}_data/{images,ground_truth}` of the authors' archive, and the same with
    `part_A` and `ground-truth` of the copy on Kaggle. Images `IMG_1.jpg`, annotations `GT_IMG_1.mat`.

    Args:
        root: folder of the part's folder; its parent and the part's folder itself are accepted as well.
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
        names = (f"part_{self.part}", f"part_{self.part}_final")
        if self.root.resolve().name in names:
            return self.root
        near = [self.root / name for name in names if (self.root / name).is_dir()]
        found = near or sorted(path for name in names for path in self.root.glob(f"*/{name}") if path.is_dir())
        if not found:
            raise InputError(
                f"{self.root}: found no ShanghaiTech part {self.part}; expected {names[0]} or {names[1]} here, with "
                f"train_data/images and train_data/ground-truth in it. Download it from {_SOURCE}",
                self.root,
            )
        if len(found) > 1:
            # The copies may carry different releases of the annotations, so the choice changes the counts.
            raise InputError(f"{self.root}: found {found[0]} and {found[1]}; set root to the one you mean", self.root)
        return found[0]


def _record(pair: tuple[Path, Path]) -> Record:
    image, mat = pair
    return Record(image.stem, image, checked_points(mat, mat_location(mat, load_mat(mat, "image_info"))))


def _annotation_folder(folder: Path) -> Path:
    for name in ("ground-truth", "ground_truth"):
        if (folder / name).is_dir():
            return folder / name
    raise InputError(f"{folder}: no ground-truth (or ground_truth) folder; unpack the original archive here", folder)
