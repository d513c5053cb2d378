"""REC-8K."""

import logging
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from crowdcount.data.annotations.error_collection import read_each
from crowdcount.data.annotations.json_tables import entry_points, entry_text, get_entry, load_table
from crowdcount.data.annotations.locate import locate
from crowdcount.data.sample import CrowdSource, Expression, Record, Split
from crowdcount.errors import InputError

_LOG = logging.getLogger(__name__)

_SOURCE: Final = "Google Drive, file 1K3E7fd3D12L3-AlBhmOGRD73-KaOWYkK (anno.zip)"
_FLAT: Final = "rec-8k"
_IMAGES: Final = 8011

POINT_TOTALS: Final[dict[Split, int]] = {"train": 176_050, "val": 54_153, "test": 56_418}
"""Total points of all expressions according to a third party's training logs; not published."""


class _Origin(NamedTuple):
    """A data set from which images were taken: their possible folders below the image folder, and the download."""

    folders: tuple[str, ...]
    fetch: str


_CROWD_SURVEILLANCE = tuple(f"Crowd{mark}Surveillance/images_train/images/train" for mark in "_ ")
_ORIGINS: Final = {
    "cs": _Origin(_CROWD_SURVEILLANCE, "Crowd Surveillance (Google Drive, file 1QOv1jdOkfVYj6kw1lVZjQJo13V_23kGK)"),
    "mall": _Origin(("mall_dataset/frames",), "the Mall data set"),
    "detrac": _Origin(("DETRAC/DETRAC-train-data/Insight-MVT_Annotation_Train",), "the training images of UA-DETRAC"),
    "fsc147": _Origin(
        ("FSC147_384_V2/images_384_VarV2",), "FSC-147 (Google Drive, file 1ymDYrGs9DSRicfZbSCDiOu0ikGDh5k6S)"
    ),
    "carpk": _Origin(("CARPK_devkit/data/Images",), "CARPK"),
    "nwpu": _Origin(("NWPU/images",), "NWPU-Crowd, all parts in one folder (gjy3035.github.io/NWPU-Crowd-Sample-Code)"),
    "visdrone": _Origin(("VisDrone2020-CC/sequences",), "VisDrone2020-CC"),
    "jhuv2": _Origin(("jhu_crowd_v2.0/test/images",), "JHU-CROWD++ (crowd-counting.com)"),
    "internet": _Origin(
        ("internet",), "REC-8K's own images from the web (Google Drive, file 1eQ0T6B5Qev81FEU3lMUzUeegNkiWTQHq)"
    ),
}


class Rec8k(CrowdSource):
    """REC-8K: 8011 images with referring expressions such as "person walking" and a point for every object.

    Dai, Liu and Cheung, "Referring Expression Counting", CVPR 2024. The images come from nine sources. Several
    expressions of an image may be of one class and differ by an attribute.

    Layout: `annotations.json` and `splits.json`, and the images in the folders of their data sets, as unpacked from
    each archive: `Crowd_Surveillance/images_train/images/train` (or with a space), `mall_dataset/frames`,
    `DETRAC/DETRAC-train-data/Insight-MVT_Annotation_Train`, `FSC147_384_V2/images_384_VarV2`,
    `CARPK_devkit/data/Images`, `NWPU/images`, `VisDrone2020-CC/sequences`, `jhu_crowd_v2.0/test/images`, `internet`;
    or all of them in one folder `rec-8k`, named by their ids, as copied by the authors' script.

    Args:
        root: folder of `annotations.json` and `splits.json`, or the one above it.
        images: folder of the data set folders, or of `rec-8k`; by default `root`.
    """

    published = True

    def __init__(self, root: Path | str, images: Path | str | None = None) -> None:
        self.root = Path(root)
        self.images = self.root if images is None else Path(images)

    def records(self, split: Split) -> list[Record]:
        """Return one record for each image of a split, with its expressions, in the order of splits.json."""
        folder = self._folder()
        remedy = f"expected annotations.json and splits.json of REC-8K in {folder}; download them from {_SOURCE}"
        listed = _by_image(folder / "splits.json", load_table(folder / "splits.json", remedy), split)
        path = folder / "annotations.json"
        annotations = load_table(path, remedy)
        expressions = {name: _expressions(path, annotations, name, texts) for name, texts in listed.items()}
        places = _Places(self.images)
        records = read_each(lambda name: Record.referring(name, places.find(name), expressions[name]), expressions)
        if len(annotations) == _IMAGES and len(records) == len(expressions):
            _check_total(path, split, records)
        return records

    def _folder(self) -> Path:
        return locate(self.root, lambda path: (path / "splits.json").is_file(), depth=1)


def _by_image(path: Path, table: dict[str, Any], split: Split) -> dict[str, list[str]]:
    """Group the [image, expression] pairs of a split by image, in order of first occurrence."""
    if split not in table:
        raise InputError(f"{path}: has no split {split!r}, only {', '.join(table) or 'nothing'}")
    if not isinstance(table[split], list):
        raise InputError(f"{path}: split {split!r} is not a list; copy the file again from {_SOURCE}")
    grouped: dict[str, list[str]] = {}
    for number, pair in enumerate(table[split]):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(word, str) for word in pair):
            raise InputError(
                f"{path}: entry {number} of split {split!r} is {str(pair)[:80]}, expected [image, expression]; "
                "correct it, or copy the file again from the original archive"
            )
        grouped.setdefault(pair[0], []).append(pair[1])
    return grouped


def _expressions(path: Path, annotations: dict[str, Any], image: str, texts: list[str]) -> list[Expression]:
    entries = get_entry(path, annotations, image, f"image {image!r}")
    return [_expression(path, entries, text, f"expression {text!r} of image {image!r}") for text in texts]


def _expression(path: Path, entries: dict[str, Any], text: str, owner: str) -> Expression:
    entry = get_entry(path, entries, text, owner)
    attribute, category, kind = (entry_text(path, entry, key, owner) for key in ("attribute", "class", "type"))
    return Expression(text, entry_points(path, entry, owner), attribute, category, kind)


class _Places:
    """Lookup of images by id, with one listing per folder instead of a file access for each of 8011 images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, set[str]] = {}

    def find(self, image: str) -> Path:
        """Return the file of an image.

        Raises:
            InputError: if it does not exist, or its id does not name a known data set.
        """
        source, *rest = image.split("-")[1:] or [""]
        origin = _ORIGINS.get(source)
        flat = [self._folder / _FLAT / image, self._folder / image]
        own = [self._folder.joinpath(folder, *rest) for folder in origin.folders] if origin and rest else []
        for path in flat + own:
            if self._is_there(path):
                return path
        if origin is None or not own:
            raise InputError(
                f"image {image!r} of REC-8K is not in {self._folder / _FLAT}, and its id is not a number, one of "
                f"{', '.join(_ORIGINS)} and a file, joined by '-'; correct the id in annotations.json and splits.json"
            )
        raise InputError(
            f"{own[0]}: no such image, nor {flat[0]} (image {image!r} of REC-8K); fetch {origin.fetch} and unpack it "
            f"in {self._folder}, or set images to the folder that holds it",
            own[0],
        )

    def _is_there(self, path: Path) -> bool:
        if path.parent not in self._names:
            self._names[path.parent] = _files_in(path.parent)
        return path.name in self._names[path.parent]


def _files_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:  # the listing itself distinguishes files from folders
        return {entry.name for entry in entries if entry.is_file()}


def _check_total(path: Path, split: Split, records: list[Record]) -> None:
    total = sum(record.count for record in records)
    if total != POINT_TOTALS[split]:
        _LOG.warning(
            "%s: split %r has %d points; a third party's training logs have %d: this may be another release",
            *(path, split, total, POINT_TOTALS[split]),
        )
