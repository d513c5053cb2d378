"""Mall."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crowdcount.data.annotations.common_formats import checked_points, load_mat, numbered
from crowdcount.data.annotations.error_collection import read_each
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError
from crowdcount.geometry import Points

_TRAIN: Final = 800


class Mall(CrowdSource):
    """Mall: 2000 frames of a camera in a shopping centre with 13 to 53 people each.

    Splits: frames 1 to 800 train, 801 to 2000 test; no validation split. Neighbouring frames show the same people, so a
    random part held out for validation is easier than the test. Points cover the whole frame: the region of interest of
    the data set is not applied.

    Layout: `frames` (`seq_000001.jpg`, ...) and `mall_gt.mat`.

    Args:
        root: folder of `frames` and `mall_gt.mat`, or of a folder `mall_dataset` with them.
    """

    published = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def records(self, split: Split) -> list[Record]:
        """Return the records of "train" or "test" in the order of the frames; "val" is empty."""
        if split == "val":
            return []
        inner = self.root / "mall_dataset"
        folder = inner if inner.is_dir() else self.root
        path = folder / "mall_gt.mat"
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; expected frames and mall_gt.mat of the Mall data set in {folder}", path
            )
        truth, frames = load_mat(path, "frame"), numbered(folder / "frames", r"seq_(\d+)\.jpg")
        if truth.ndim != 2 or truth.shape[0] != 1 or truth.shape[1] <= _TRAIN:
            raise InputError(f"{path}: 'frame' has shape {truth.shape}, expected (1, 2000); copy the file again", path)
        numbers = range(1, _TRAIN + 1) if split == "train" else range(_TRAIN + 1, truth.shape[1] + 1)
        return read_each(lambda n: Record(_image(frames, n, folder).stem, frames[n], _points(path, truth, n)), numbers)


def _image(frames: dict[int, Path], number: int, folder: Path) -> Path:
    if number not in frames:
        path = folder / "frames" / f"seq_{number:06d}.jpg"
        raise InputError(f"{path.parent}: has no {path.name}; unpack the original archive here again", path)
    return frames[number]


def _points(path: Path, truth: NDArray[np.generic], number: int) -> Points:
    try:
        location = truth[0, number - 1]["loc"][0, 0]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: frame {number} holds no 'loc'; this is not an annotation of Mall", path) from error
    try:
        return checked_points(path, location)
    except InputError as error:
        raise InputError(f"{error} (frame {number})") from error
