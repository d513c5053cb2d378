"""Reading a split whose files are incomplete: adapters stop at the first fault, the doctor wants all of them."""

import glob
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from crowdcount.data.sample import IMAGE_SUFFIXES, Record, Split
from crowdcount.doctor.datasets import DataSet
from crowdcount.doctor.finding import Finding
from crowdcount.errors import InputError

_MOST = 6000
"""Faults of a split after which the doctor gives up: each of them costs another reading."""


def read_split(data: DataSet, split: Split) -> tuple[list[Record], list[Finding]]:
    """Return the records of a split and what is wrong with its files.

    Where the adapter refuses a file, it reads again from a view of the data set, a folder of links, in which that file
    is taken out (or, where it is missing, stood in for by another), until nothing is refused. So every format has one
    reader, which raises at the first fault, and still all faults are found.
    """
    try:
        return data.source().records(split), []
    except InputError:
        with _view(data.root) as view:
            return _Reading(data, split, view).all()


@contextmanager
def _view(root: Path) -> Iterator[Path]:
    """Make a folder of links to the files in `root` and its sub-folders, of the same name."""
    root = root.resolve()
    with tempfile.TemporaryDirectory(prefix="crowdcount-doctor-") as temporary:
        view = Path(temporary).resolve() / (root.name or "root")
        for folder, _, names in os.walk(root, followlinks=True):
            here = view / Path(folder).relative_to(root)
            here.mkdir()
            for name in names:
                (here / name).symlink_to(Path(folder) / name)
        yield view


class _Reading:
    """Reads a split from a view, time and again."""

    def __init__(self, data: DataSet, split: Split, view: Path) -> None:
        self._data, self._split, self._view = data, split, view
        self._folders = [view, *sorted(path for path in view.rglob("*") if path.is_dir())]
        self._stand_ins: list[Path] = []
        self._findings: list[Finding] = []
        self._last = ("", True)  # number of the file that was noted last, and whether it is a picture

    def all(self) -> tuple[list[Record], list[Finding]]:
        """Return the records whose files are in order, and a finding for each that is not."""
        for _ in range(_MOST):
            try:
                records = self._data.source(self._view).records(self._split)
            except InputError as error:
                if not self._mend(str(error)):
                    return [], self._findings
            else:
                return [self._real(each) for each in records if not self._is_stand_in(each)], self._findings
        self._note("split", self._data.root, f"has more than {_MOST} faulty files; the rest is not listed")
        return [], self._findings

    def _mend(self, message: str) -> bool:
        """Note what an adapter has refused, and change the view so that it reads on; tell whether that can be done."""
        path = self._culprit(message)
        known = path.is_relative_to(self._view) and path not in self._stand_ins
        if known and path.is_symlink() and self._belongs_to_one_image(path):
            self._note_file(path, message)
            path.unlink()
        elif known and not path.exists() and (other := next(_alike(path), None)) is not None:
            self._note_file(path, message)
            path.symlink_to(other.resolve())
            self._stand_ins.append(path)
        else:
            self._note("split", self._data.root, message)
            return False
        return True

    def _culprit(self, message: str) -> Path:
        """Return the file that a message is about: it begins with its path, or with a folder where a picture is missed.

        Of a picture that a list names, an adapter need not know in which folder it should be: then it is thought to be
        in one with pictures of such names.
        """
        path = Path(message.split(": ")[0])
        if path in self._folders:
            words: list[str] = re.findall(r"[\w-]+\.[a-z]+", message.removeprefix(f"{path}: "))
            for word in filter(_is_picture, map(Path, words)):
                places = [folder / word for folder in self._folders if folder.is_relative_to(path)]
                near = [place for place in places if next(_alike(place), None) is not None]
                if near and not any(place.exists() for place in places):
                    return near[0]
        return path

    def _belongs_to_one_image(self, path: Path) -> bool:
        """Tell pictures and their annotations from lists and tables, without which nothing can be read."""
        if _is_picture(path) or next(_alike(path), None) is not None:
            return True
        return any(_is_picture(each) for each in self._view.rglob(f"{glob.escape(path.stem)}.*"))

    def _note_file(self, path: Path, message: str) -> None:
        """Note a file, unless it is only missed or alone because what belongs to it was taken out just before."""
        if self._last != (_number(path), False) or not (_is_picture(path) or not path.exists()):
            self._note("file", path, message.removeprefix(f"{path}: "))
        self._last = (_number(path), _is_picture(path))

    def _note(self, check: str, path: Path, message: str) -> None:
        real = (
            self._data.root.joinpath(*path.relative_to(self._view).parts) if path.is_relative_to(self._view) else path
        )
        text = message.replace(str(self._view), str(self._data.root))
        self._findings.append(Finding(check, self._split, real.name, text, str(real)))

    def _is_stand_in(self, record: Record) -> bool:
        image = record.image
        assert isinstance(image, Path), "data sets in a folder have files"
        return any(image == path if _is_picture(path) else _number(image) == _number(path) for path in self._stand_ins)

    def _real(self, record: Record) -> Record:
        """Return a record with the path of the image in the data set itself."""
        assert isinstance(record.image, Path), "data sets in a folder have files"
        return replace(record, image=self._data.root / record.image.relative_to(self._view))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _alike(path: Path) -> Iterator[Path]:
    """Yield the files beside one whose names differ from its in digits alone."""
    shape = re.sub(r"\d+", "0", path.name)
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        if other != path and re.sub(r"\d+", "0", other.name) == shape:
            yield other


def _number(path: Path) -> str:
    """Return the last number in a file's name, by which images and annotations find each other, or else the name."""
    numbers: list[str] = re.findall(r"\d+", path.stem)
    return numbers[-1] if numbers else path.stem
