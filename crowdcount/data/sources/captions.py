"""Images with captions that may say a number of objects, such as CountBench."""

import csv
import io
import logging
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, get_args

from crowdcount.data.sample import CrowdSource, Expression, Record, Split
from crowdcount.errors import InputError
from crowdcount.files import read_json, read_text
from crowdcount.geometry import as_points
from crowdcount.images.read import IMAGE_SUFFIXES
from crowdcount.models.clip.number_words import number_words
from crowdcount.models.image_text.captions import NUMBERS, find_number, numbers_in

logger = logging.getLogger(__name__)


class Caption(NamedTuple):
    """A row of a table of captions.

    Attributes:
        name: the image's path in the folder, or four digits: the position in the table of an image with an address.
        text: the caption.
        number: the number from two to ten that it says; None if it says none, several, or another than the table's.
        split: part of the data.
        url: address of the image, empty for a local one.
    """

    name: str
    text: str
    number: int | None
    split: str
    url: str


class Captions(CrowdSource):
    """A folder of images and a table with a caption for each.

    The table is a JSON list of objects, or a CSV file with a header, with the keys `text` and `image` (a path in
    `root`) or `image_url`; CountBench.json (Paiss et al., arXiv 2302.12066) is one. The image of the n-th row with an
    address is `images/000n.jpg` (or another format; the first is 0000): `crowdcount dataset download` puts it there.

    An image that is not there is left out, and a warning names it. A caption's number, from two to ten in words, is
    found as a whole word; with a key `number` it must be that one. Each record has the caption as its expression, whose
    attribute is the number's word, or empty.

    Args:
        root: the folder.
        table: the table's path in it.
        split: the part (train, val, test) of rows without a key `split`.
    """

    def __init__(self, root: Path | str, table: str = "captions.json", split: Split = "train") -> None:
        self.root = Path(root)
        self.table = self.root / table
        self.split = split

    @property
    def key(self) -> str:
        """Name of the table."""
        return self.table.stem.lower()

    @cached_property
    def captions(self) -> list[Caption]:
        """All rows of the table.

        Raises:
            InputError: the table is missing or damaged; the message names the row.
        """
        return [self._caption(position, row) for position, row in enumerate(_rows(self.table))]

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split whose images are there, in the order of the table."""
        found = [(caption, self._image(caption)) for caption in self.captions if caption.split == split]
        missing = self.missing(split)
        if missing:
            logger.warning("%d of %d images are missing and left out: %s", len(missing), len(found), " ".join(missing))
        return [_record(caption, image) for caption, image in found if image is not None]

    def missing(self, split: Split) -> list[str]:
        """Return the names of the images of a split that are not there."""
        return [caption.name for caption in self.captions if caption.split == split and self._image(caption) is None]

    def _image(self, caption: Caption) -> Path | None:
        if not caption.url:
            path = self.root / caption.name
            return path if path.is_file() else None
        paths = (self.root / "images" / f"{caption.name}{suffix}" for suffix in IMAGE_SUFFIXES)
        return next((path for path in paths if path.is_file()), None)

    def _caption(self, position: int, row: Mapping[str, Any]) -> Caption:
        where = f"{self.table}: row {position}"
        image, url, text = (_text(row, key, where) for key in ("image", "image_url", "text"))
        if not text or bool(image) == bool(url):
            raise InputError(f"{where}: needs a text, and either image or image_url", self.table)
        split = _text(row, "split", where) or self.split
        if split not in get_args(Split):
            raise InputError(f"{where}: split {split!r} is none of {', '.join(get_args(Split))}", self.table)
        return Caption(image or f"{position:04d}", text, _number(row.get("number"), text, where), split, url)


def _record(caption: Caption, image: Path) -> Record:
    word = "" if caption.number is None else number_words(caption.number)
    return Record.referring(caption.name, image, [Expression(caption.text, as_points([]), attribute=word)])


def _number(stated: object, text: str, where: str) -> int | None:
    """Return the number of a caption: the table's where it states one and the caption says it."""
    if stated in (None, ""):
        return find_number(text)
    if isinstance(stated, bool) or not re.fullmatch(r"\d+", str(stated)):
        raise InputError(f"{where}: number {stated!r} is no whole number")
    number = int(str(stated))
    return number if number in NUMBERS and number in numbers_in(text) else None


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: {key} is {str(value)[:80]!r}, expected text")
    return (value or "").strip()


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path}: no such table of captions; set root and table", path)
    if path.suffix.lower() == ".csv":
        return list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a list of objects with text and image, or a .csv file", path)
    return rows
