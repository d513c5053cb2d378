"""Reading a split whose files are incomplete: adapters stop at the first fault, the doctor wants all of them."""

import glob
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

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
        self._folders = [view]
        self._series: dict[Path, dict[str, Path]] = {}  # by name with 0 for every number: what links point to
        for path in sorted(view.rglob("*")):
            if path.is_dir():
                self._folders.append(path)
            else:
                self._series.setdefault(_shape(path), {})[path.name] = path.resolve()
        self._stand_ins: set[Path] = set()
        self._numbers: set[str] = set()  # of annotations among them
        self._findings: list[Finding] = []
        self._last = ("", True)  # number of the file that was noted last, and whether it is a picture

    def all(self) -> tuple[list[Record], list[Finding]]:
        """Return the records whose files are in order, and a finding for each that is not."""
        for _ in tqdm(iter(range(_MOST)), desc=f"faults of {self._split}", unit="file", delay=2, disable=None):
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
        if path.is_relative_to(self._view):
            if path.is_symlink() and self._belongs_to_one_image(path):
                self._take_out(path, message)
                return True
            other = self._alike(path)
            if other is not None and not path.exists():
                self._stand_in(path, other, message)
                return True
        self._note("split", self._data.root, message)
        return False

    def _take_out(self, path: Path, message: str) -> None:
        if path in self._stand_ins:  # what it points to is at fault, and will be found out under its own name
            target = path.resolve()
            series = self._series[_shape(path)]
            self._series[_shape(path)] = {name: each for name, each in series.items() if each != target}
        else:
            self._note_file(path, message)
            self._series[_shape(path)].pop(path.name, None)  # it may have stood in for another before
        path.unlink()

    def _stand_in(self, path: Path, other: Path, message: str) -> None:
        if path not in self._stand_ins:
            self._note_file(path, message)
        path.symlink_to(other)
        self._stand_ins.add(path)
        self._numbers |= set() if _is_picture(path) else {_number(path)}

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
                near = [place for place in places if self._alike(place) is not None]
                if near and not any(place.exists() for place in places):
                    return near[0]
        return path

    def _alike(self, path: Path) -> Path | None:
        """Return another file of the folder, whose name differs from that of `path` in digits alone."""
        series = self._series.get(_shape(path), {})
        return next((target for name, target in series.items() if name != path.name), None)

    def _belongs_to_one_image(self, path: Path) -> bool:
        """Tell pictures and their annotations from lists and tables, without which nothing can be read."""
        if _is_picture(path) or self._alike(path) is not None:
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
        assert isinstance(record.image, Path), "data sets in a folder have files"
        return record.image in self._stand_ins or _number(record.image) in self._numbers

    def _real(self, record: Record) -> Record:
        """Return a record with the path of the image in the data set itself."""
        assert isinstance(record.image, Path), "data sets in a folder have files"
        return replace(record, image=self._data.root / record.image.relative_to(self._view))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _shape(path: Path) -> Path:
    return path.with_name(re.sub(r"\d+", "0", path.name))


def _number(path: Path) -> str:
    """Return the last number in a file's name, by which images and annotations find each other, or else the name."""
    numbers: list[str] = re.findall(r"\d+", path.stem)
    return numbers[-1] if numbers else path.stem
