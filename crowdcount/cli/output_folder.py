"""Paths of a call's outputs: never over one of its inputs, never over each other."""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from crowdcount.errors import InputError


class OutputFolder:
    """A folder for the outputs of one call; files that an earlier call left there are replaced.

    Args:
        folder: made where it is missing.
        inputs: files that must stay as they are, in this folder or elsewhere, however they are named.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path | str]) -> None:
        self.folder = folder
        self._inputs = {_path_key(path) for path in inputs}
        self._taken: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def beside(self, source: Path, end: str) -> Path:
        """Return a free name for an output of a file: its stem and an end, else its whole name, then with a number."""
        further = (f"{source.name}-{number}" for number in itertools.count(2))
        stems = itertools.chain((source.stem, source.name), further)
        free = (name for stem in stems if (name := f"{stem}{end}").casefold() not in self._taken)
        found = next(name for name in free if _path_key(self.folder / name) not in self._inputs)
        self._taken.add(found.casefold())
        return self.folder / found

    def table(self, name: str) -> Path:
        """Return the path of an output with a fixed name.

        Raises:
            InputError: it is an input.
        """
        path = self.folder / name
        if _path_key(path) in self._inputs:
            raise InputError(f"--output: {path} is an input; give another folder")
        return path


def _path_key(path: Path | str) -> str:
    """Return where a file is, however it was named; some disks know no capitals."""
    return os.path.realpath(path).casefold()
