"""UCF-QNRF."""

from pathlib import Path, PurePosixPath
from typing import Final

from crowdcount.data.annotations.common_formats import checked_points, load_mat, numbered, paired
from crowdcount.data.annotations.error_collection import read_each, report_left_out
from crowdcount.data.annotations.locate import locate
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError, about
from crowdcount.files import read_text

_IMAGE: Final = r"img_(\d+)\.jpg"
_ANNOTATION: Final = r"img_(\d+)_ann\.mat"
_LISTS: Final = ("{}.txt", "qnrf_{}.txt")


class UcfQnrf(CrowdSource):
    """UCF-QNRF: 1535 images of dense crowds.

    Idrees et al., "Composition Loss for Counting, Density Map Estimation and Localization in Dense Crowds", ECCV 2018.
    Splits: 1201 train, 334 test; no official validation split. The code of Bayesian loss and of DM-Count includes a
    split of the training images: if its `train.txt` and `val.txt` (or `qnrf_train.txt` and `qnrf_val.txt`) are placed
    beside the folder `Train`, they define "train" and "val". With only one of them, the other split is the rest.

    Layout: `Train` and `Test`, images `img_0001.jpg` beside their annotations `img_0001_ann.mat`. A list has the name
    of an image on each line, with or without folder and suffix.

    Args:
        root: folder of `Train` and `Test`, or one up to two levels above it.
    """

    published = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @property
    def key(self) -> str:
        """Always "qnrf"."""
        return "qnrf"

    @property
    def _home(self) -> Path:
        return locate(self.root, lambda path: any((path / name).is_dir() for name in ("Train", "Test")))

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in numeric order; "val" is empty without lists."""
        images, annotations, folder = self._files("Test" if split == "test" else "Train")
        pairs = paired(images, annotations, folder)
        if split != "test":
            # The lists may name also what has lost its partner.
            pairs = self._cut(
                split, pairs, {path.stem.removesuffix("_ann") for path in (*images.values(), *annotations.values())}
            )
        return read_each(_record, pairs)

    def _files(self, name: str) -> tuple[dict[int, Path], dict[int, Path], Path]:
        """Return the images and annotations of a folder by number, and the folder."""
        folder = self._home / name
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; expected the folders Train and Test of UCF-QNRF in {self._home}. "
                "Download it from crcv.ucf.edu/data/ucf-qnrf",
                folder,
            )
        return numbered(folder, _IMAGE, _ANNOTATION), numbered(folder, _ANNOTATION, _IMAGE), folder

    def _cut(self, split: Split, pairs: list[tuple[Path, Path]], names: set[str]) -> list[tuple[Path, Path]]:
        """Return the pairs of "train" or "val"; `names` are the names allowed in the lists."""
        paths = {name: self._list(name) for name in ("train", "val")}
        lists = {name: _listed(path, names) for name, path in paths.items() if path is not None}
        if not lists:
            return pairs if split == "train" else []
        train, val = (lists.get(name, names - lists.get(other, set())) for name, other in _OTHER.items())
        if train & val:
            raise InputError(
                f"{paths['train']}, {paths['val']}: both list {min(train & val)}; take it out of one", paths[split]
            )
        unlisted = [image for image, _ in pairs if image.stem not in train | val]
        report_left_out(self._home, unlisted, "images that neither of the lists train and val names")
        chosen = train if split == "train" else val
        return [(image, mat) for image, mat in pairs if image.stem in chosen]

    def _list(self, name: str) -> Path | None:
        found = [path for pattern in _LISTS if (path := self._home / pattern.format(name)).is_file()]
        if len(found) > 1:
            raise InputError(
                f"{found[0]} and {found[1]} are two lists of the same split; keep the one that holds", found[0]
            )
        return found[0] if found else None


_OTHER: Final = {"train": "val", "val": "train"}


def _record(pair: tuple[Path, Path]) -> Record:
    image, mat = pair
    return Record(image.stem, image, checked_points(mat, load_mat(mat, "annPoints")))


def _listed(path: Path, known: set[str]) -> set[str]:
    """Return the names in a list, without folders and suffixes."""
    with about(path):
        text = read_text(path)
    listed: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        name = PurePosixPath(line.split()[0].replace("\\", "/")).stem if line.split() else ""
        if line.strip() and (name not in known or name in listed):
            problem = "is listed again" if name in listed else "is no image of the folder Train"
            raise InputError(f"{path}: line {number}: {line.strip()[:80]!r} {problem}; correct the list", path)
        listed |= {name} - {""}
    return listed
