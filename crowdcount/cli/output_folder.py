"""Paths of a call's outputs: never over one of its inputs, never over each other, never those of another call."""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from unicodedata import normalize

from crowdcount.errors import InputError
from crowdcount.folder_lock import alone_in

_MOST_BYTES: Final = 255
"""Length of a file name that common file systems allow."""


class OutputFolder:
    """A folder for the outputs of one call; files that an earlier call left there are replaced.

    Inside the `with` block no other call can have the folder.

    Args:
        folder: made where it is missing.
        inputs: files that must stay as they are, in this folder or elsewhere, however they are named.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path | str]) -> None:
        self.folder = folder
        self._inputs = {_path_key(path) for path in inputs}
        self._taken: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Make the folder and take it.

        Raises:
            InputError: another call writes to it.
        """
        self._stack.enter_context(alone_in(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others have the folder."""
        self._stack.close()

    def beside(self, source: Path, end: str) -> Path:
        """Return a free name for an output of a file: its stem and an end, else its whole name, then with a number.

        Names that are too long for a file system are cut, see `shortened`.
        """
        further = (f"{source.name}-{number}" for number in itertools.count(2))
        names = (f"{shortened(stem, end)}{end}" for stem in itertools.chain((source.stem, source.name), further))
        free = (name for name in names if _name_key(name) not in self._taken)
        found = next(name for name in free if _path_key(self.folder / name) not in self._inputs)
        self.take(found)
        return self.folder / found

    def take(self, name: str) -> None:
        """Let a name be free no longer, such as that of an output of an earlier call."""
        self._taken.add(_name_key(name))

    def table(self, name: str) -> Path:
        """Return the path of an output with a fixed name.

        Raises:
            InputError: it is an input.
        """
        path = self.folder / name
        if _path_key(path) in self._inputs:
            raise InputError(f"--output: {path} is an input; give another folder")
        return path


def shortened(stem: str, end: str) -> str:
    """Return a stem, cut where the name with its end were too long: its beginning, ~ and eight digits of its SHA-256.

    The table `counts.jsonl` says of each image what its outputs are called.

    Example:
        >>> shortened("photo", ".png"), len(shortened("x" * 300, ".png"))
        ('photo', 251)
    """
    data = os.fsencode(stem)
    room = _MOST_BYTES - len(os.fsencode(end))
    if len(data) <= room:
        return stem
    tail = f"~{hashlib.sha256(data).hexdigest()[:8]}"
    head = os.fsdecode(data[: room - len(tail)])
    return re.sub("[\udc80-\udcff]{1,3}$", "", head) + tail if _is_text(stem) else head + tail  # no half letter


def _is_text(name: str) -> bool:
    return not re.search("[\ud800-\udfff]", name)


def _name_key(name: str) -> str:
    """Return what two names have in common that are one on some disk: without capitals and forms of accents."""
    return normalize("NFC", name).casefold()


def _path_key(path: Path | str) -> str:
    """Return where a file is, however it was named."""
    return _name_key(os.path.realpath(path))
