"""UCF_CC_50."""

from pathlib import Path
from typing import Literal, get_args

from crowdcount.data.annotations.common_formats import checked_points, load_mat, numbered, paired
from crowdcount.data.annotations.error_collection import read_each
from crowdcount.data.annotations.locate import locate
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError

Fold = Literal[1, 2, 3, 4, 5]

_IMAGE, _ANNOTATION = r"(\d+)\.jpg", r"(\d+)_ann\.mat"


class UcfCc50(CrowdSource):
    """UCF_CC_50: 50 images of very dense crowds in five folds.

    Idrees et al., "Multi-source Multi-scale Counting in Extremely Dense Crowd Images", CVPR 2013. Five-fold
    cross-validation is customary, but the folds are not standardised: published codes draw their own, so figures of
    different papers are not comparable. Here, fold k tests on the ten images whose number is congruent to k modulo 5
    and trains on the other forty, a fixed rule of this package:

    - fold 1: 1, 6, 11, 16, 21, 26, 31, 36, 41, 46
    - fold 2: 2, 7, 12, 17, 22, 27, 32, 37, 42, 47
    - fold 3: 3, 8, 13, 18, 23, 28, 33, 38, 43, 48
    - fold 4: 4, 9, 14, 19, 24, 29, 34, 39, 44, 49
    - fold 5: 5, 10, 15, 20, 25, 30, 35, 40, 45, 50

    Layout: `1.jpg` to `50.jpg` beside their annotations `1_ann.mat` to `50_ann.mat`.

    Args:
        root: folder of the images, or one up to two levels above it.
        fold: 1 to 5.
    """

    name = "ucf_cc_50"
    published = True

    def __init__(self, root: Path | str, fold: Fold) -> None:
        if fold not in get_args(Fold):
            raise InputError(f"fold: UCF_CC_50 has the folds 1 to 5, not {fold!r}")
        self.root = Path(root)
        self.fold = fold

    @property
    def key(self) -> str:
        """Name with the fold, such as "ucfcc50.fold1"."""
        return f"ucfcc50.fold{self.fold}"

    def records(self, split: Split) -> list[Record]:
        """Return the records of "train" (the other four folds) or "test" in numeric order; "val" is empty."""
        if split == "val":
            return []
        folder = locate(self.root, lambda path: any(path.glob("[0-9]*_ann.mat")))
        images = numbered(folder, _IMAGE, _ANNOTATION)
        if not images:
            raise InputError(
                f"{folder}: expected 1.jpg to 50.jpg and 1_ann.mat to 50_ann.mat of UCF_CC_50. "
                "Download it from crcv.ucf.edu/data/ucf-cc-50",
                folder,
            )
        pairs = paired(images, numbered(folder, _ANNOTATION, _IMAGE), folder)
        chosen = [pair for pair in pairs if (int(pair[0].stem) % 5 == self.fold % 5) == (split == "test")]
        return read_each(_record, chosen)


def _record(pair: tuple[Path, Path]) -> Record:
    image, mat = pair
    return Record(image.stem, image, checked_points(mat, load_mat(mat, "annPoints")))
