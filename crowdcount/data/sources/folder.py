"""Folder of the user's own images with points."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from crowdcount.data.annotations.common_formats import is_paper
from crowdcount.data.annotations.error_collection import Remark, read_each, report_error, report_remark
from crowdcount.data.annotations.left_out import describe_unread, report_unused
from crowdcount.data.annotations.name_matching import match_points_to_images
from crowdcount.data.annotations.point_file import ANNOTATIONS, find_annotation, read_points
from crowdcount.data.annotations.point_table import read_table
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError, about
from crowdcount.geometry import Points, as_points
from crowdcount.images.read import IMAGE_SUFFIXES, image_files
from crowdcount.images.size import upright_size
from crowdcount.plausibility import Annotation, FrameError, find_doubts

SPLIT_FOLDERS: Final[dict[str, Split]] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Splits by the names of their folders in lower case."""

_TABLES = ("points.json", "points.csv")
_RULE = (
    "images that lie neither in the folder, in train, val (or valid, validation) or test, nor in a subfolder images "
    "of these"
)


class Folder(CrowdSource):
    """Folder of your own images with the points of the heads.

    Images lie in `root`, or in those of `root/train`, `root/val` (or `valid`, `validation`) and `root/test` that exist,
    or in a subfolder `images` of these. Without split folders, all images are for training, and a part is held out if
    training needs validation images. Other images and annotations below `root` are left out, and a warning says how
    many.

    Points, x and y in pixels from the upper left corner of the upright image, are given by one of:

    - `points.json`: `{"a.jpg": [[x, y], ...], "b.jpg": []}`;
    - `points.csv`: a header `image,x,y` and a line for each head; `b.jpg,,` for an image without people;
    - a file for each image, `a.txt` (or .csv, .json, .npy, .mat: see `read_points`), beside the image or in a folder
      `points` beside the images or the folder `images`. An empty `a.txt` is an image without people.

    The files points.json and points.csv lie in the folder of the split or in `root`. They name an image by its file
    name or by its relative path, which is required if two splits contain the same name. Each image must be named, each
    name must match an image, and each point file must have its image (except for a readme or a license), so that a
    forgotten image is not taken for an empty one. Points that are no pixels of their image (fractions of it, pixels of
    another copy, class numbers) are refused, or named in a warning where they may be meant: see
    `crowdcount.plausibility`.

    Args:
        root: the folder.
        points: path of a JSON or CSV file, or of a folder of point files, relative to `root`; by default as above.
        empty: whether no image contains people, and there is no annotation.

    Raises:
        InputError: if `points` is given together with `empty`.
    """

    def __init__(self, root: Path | str, points: Path | str | None = None, empty: bool = False) -> None:
        if empty and points is not None:
            raise InputError(f"points: {points} contradicts empty: true, which says that nobody is there; drop one")
        self.root = Path(root)
        self.points = None if points is None else self.root / points
        self.empty = empty

    @property
    def key(self) -> str:
        """Name of the folder."""
        return self.root.resolve().name or self.name

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in the order of their names, which are file names."""
        homes = self._homes()
        if split not in homes:
            return []
        home = homes[split]
        pictures = _pictures(home)
        if not pictures:
            formats = ", ".join(IMAGE_SUFFIXES)
            message = f"holds no image ({formats}){describe_unread(home)}; put them here, or into images"
            raise InputError(f"{home}: {message}", home)
        points = self._no_points(pictures, home) if self.empty else self._points(split, pictures, home)
        records = [Record(picture.name, picture, points[picture]) for picture in pictures if picture in points]
        self._report_left_out()
        _check_frames(self.root, {picture: points[picture] for picture in pictures if picture in points})
        return records

    def _homes(self) -> dict[Split, Path]:
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; set root to the folder of your images", self.root)
        found: dict[Split, Path] = {}
        for folder in sorted(path for path in self.root.iterdir() if path.name.lower() in SPLIT_FOLDERS):
            split = SPLIT_FOLDERS[folder.name.lower()]
            if folder.is_dir() and found.setdefault(split, folder) != folder:
                raise InputError(f"{found[split]} and {folder.name} are one split; move all into one of them", folder)
        if found and _pictures(self.root):
            names = ", ".join(found)
            raise InputError(
                f"{self.root}: holds images and the folders {names}; move the images into one of them", self.root
            )
        return found or {"train": self.root}

    def _no_points(self, pictures: list[Path], home: Path) -> Mapping[Path, Points]:
        table = self._table(home)
        folders = [folder / "points" for folder in (home, self.root) if (folder / "points").is_dir()]
        beside = [picture.parent / name.format(picture.stem) for picture in pictures for name in ANNOTATIONS]
        found = next((path for path in (table, *folders, *beside) if path is not None and path.exists()), None)
        if found is not None:
            raise InputError(f"{found}: an annotation in a folder with empty: true; take one of them out", found)
        return dict.fromkeys(pictures, as_points([]))

    def _report_left_out(self) -> None:
        pictures = {(split, home): _pictures(home) for split, home in self._homes().items()}
        read = {
            self._table(home) or self._points_folder(split, home, found[0].parent)
            for (split, home), found in pictures.items()
            if found
        }
        used = {picture for found in pictures.values() for picture in found}
        report_unused(self.root, used, None if self.empty else read, _RULE)

    def _points(self, split: Split, pictures: list[Path], home: Path) -> Mapping[Path, Points]:
        table = self._table(home)
        everywhere = [picture for folder in self._homes().values() for picture in _pictures(folder)]
        if table is None:
            place = self._points_folder(split, home, pictures[0].parent)
            shared = place in (self.root / "points", self.points)
            return _from_files(pictures, place, everywhere if shared else pictures)
        with about(table):
            entries = read_table(table)
        return match_points_to_images(table, entries, pictures, pictures if table.parent == home else everywhere)

    def _table(self, home: Path) -> Path | None:
        if self.points is not None:
            if not self.points.exists():
                raise InputError(f"points: {self.points} does not exist; give a path from {self.root}, or leave it out")
            return None if self.points.is_dir() else self.points
        for folder in (home, self.root):
            found = [folder / name for name in _TABLES if (folder / name).is_file()]
            if len(found) > 1:
                raise InputError(f"{folder}: both {_TABLES[0]} and {_TABLES[1]}; keep the one that holds", folder)
            if found:
                return found[0]
        return None

    def _points_folder(self, split: Split, home: Path, images: Path) -> Path:
        """Return the folder of the point files."""
        shared = self.root / "points" if self.points is None else self.points
        places = [shared / home.name, shared / split, shared]
        if self.points is None:
            places = [home / "points", *places, images]
        return next(place for place in places if place.is_dir())


def _pictures(home: Path) -> list[Path]:
    inner = home / "images"
    return image_files(inner if inner.is_dir() else home)


def _from_files(pictures: list[Path], place: Path, owners: list[Path]) -> dict[Path, Points]:
    """Return the points by image from the point files in `place`, where only `owners` may have one."""
    stems: dict[str, Path] = {}
    for picture in pictures:
        if stems.setdefault(picture.stem, picture) != picture:
            raise InputError(
                f"{picture} and {stems[picture.stem].name} would share a file of points; rename one", picture
            )
    try:
        points = dict(read_each(lambda picture: (picture, _read_image_points(picture, place)), pictures))
    except InputError as error:
        raise InputError(f"{error}. One points.json or points.csv for all images does as well") from error
    _refuse_orphans(place, owners)
    return points


def _read_image_points(picture: Path, place: Path) -> Points:
    with about(picture):
        path = find_annotation(picture, place)
    with about(path):
        return read_points(path)


def _refuse_orphans(place: Path, owners: list[Path]) -> None:
    """Report point files without an image."""
    names = {name.format(picture.stem) for picture in owners for name in ANNOTATIONS}
    endings = {Path(name).suffix for name in ANNOTATIONS}
    for path in sorted(place.iterdir()):
        other = path.name in names or is_paper(path)
        if path.suffix.lower() in endings and path.is_file() and not other:
            remedy = "restore the image, or take this file out"
            report_error(InputError(f"{path}: a file of points without its image; {remedy}", path))


def _check_frames(root: Path, points: Mapping[Path, Points]) -> None:
    """Report points that are not in the pixels of their images."""
    names = {picture: picture.relative_to(root).as_posix() for picture in points}
    images = [Annotation(names[picture], each, upright_size(picture)) for picture, each in points.items() if len(each)]
    for doubt in find_doubts(images):
        if doubt.refused:
            report_error(FrameError(f"{root}: {doubt.text}", root))
        else:
            report_remark(Remark("frame", root, doubt.text))
