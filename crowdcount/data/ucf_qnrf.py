"""UCF-QNRF."""

from pathlib import Path

from crowdcount.data.annotation import checked_points, load_mat, numbered, paired
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError

_FOLDERS = {"train": "Train", "test": "Test"}


class UcfQnrf(CrowdSource):
    """UCF-QNRF: 1535 photographs of dense crowds.

    Idrees et al., "Composition Loss for Counting, Density Map Estimation and Localization in Dense Crowds", ECCV 2018.
    Splits: 1201 train, 334 test; no validation split.

    Layout: `Train` and `Test`, images `img_0001.jpg` beside their annotations `img_0001_ann.mat`.

    Args:
        root: folder that holds `Train` and `Test`.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def records(self, split: Split) -> list[Record]:
        """Return the records of "train" or "test" in numeric order; "val" is empty."""
        if split == "val":
            return []
        folder = self.root / _FOLDERS[split]
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; expected the folders Train and Test of UCF-QNRF in {self.root}. "
                "Download it from crcv.ucf.edu/data/ucf-qnrf"
            )
        annotations = numbered(folder, r"img_(\d+)_ann\.mat")
        pairs = paired(numbered(folder, r"img_(\d+)\.jpg"), annotations, folder)
        return [Record(image.stem, image, checked_points(mat, load_mat(mat, "annPoints"))) for image, mat in pairs]
