"""Mall."""

from pathlib import Path
from typing import Final

from crowdcount.data.annotations.common_formats import numbered
from crowdcount.data.annotations.error_collection import read_each, report_left_out
from crowdcount.data.annotations.locate import locate
from crowdcount.data.annotations.mall_frames import FRAME, frame_points, load_frames
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError

_TRAIN: Final = 800


class Mall(CrowdSource):
    """Mall: 2000 frames of a camera in a shopping centre with 13 to 53 people each.

    Splits: frames 1 to 800 train, 801 to 2000 test; no validation split. Neighbouring frames show the same people, so a
    random part held out for validation is easier than the test. Points cover the whole frame: the region of interest of
    the data set is not applied.

    Layout: `frames` (`seq_000001.jpg`, ...) and `mall_gt.mat`.

    Args:
        root: folder of `frames` and `mall_gt.mat`, or one up to two levels above it.
    """

    published = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def records(self, split: Split) -> list[Record]:
        """Return the records of "train" or "test" in the order of the frames; "val" is empty."""
        if split == "val":
            return []
        folder = locate(self.root, lambda path: (path / "mall_gt.mat").is_file())
        path = folder / "mall_gt.mat"
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; expected frames and mall_gt.mat of the Mall data set in {folder}", path
            )
        truth, frames = load_frames(path), numbered(folder / "frames", r"seq_(\d+)\.jpg")
        last = truth.shape[1]
        if last <= _TRAIN:
            raise InputError(f"{path}: 'frame' has shape {truth.shape}, expected (1, 2000); copy the file again", path)
        beyond = [image for number, image in frames.items() if number > last]
        report_left_out(folder, beyond, f"beyond the {last} frames of {path.name}")
        numbers = range(1, _TRAIN + 1) if split == "train" else range(_TRAIN + 1, last + 1)
        return read_each(
            lambda n: Record(_image(frames, n, folder).stem, frames[n], frame_points(path, truth, n)), numbers
        )


def _image(frames: dict[int, Path], number: int, folder: Path) -> Path:
    if number not in frames:
        path = folder / "frames" / FRAME.format(number)
        raise InputError(f"{path.parent}: has no {path.name}; unpack the original archive here again", path)
    return frames[number]
