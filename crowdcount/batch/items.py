"""Images of a data set before any is read: files, lines of lists, rows of tables, objects of a store."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from crowdcount.batch.filesystems import State, folder_of, joined, list_files, place, states
from crowdcount.batch.tables import Column
from crowdcount.errors import InputError
from crowdcount.files import read_text
from crowdcount.images.files import find_files
from crowdcount.images.formats import IMAGE_SUFFIXES
from crowdcount.local_path import is_address, local_path

TABLE: Final = ".parquet"
"""Suffix of tables."""

_LIST: Final = ".txt"


class Item(NamedTuple):
    """An image to count in.

    Attributes:
        name: path or address of the file; of the image in a table, `TABLE#ROW`.
        state: state of the file or the table; None where there is none.
        row: number of the row in the table, None for a file.
    """

    name: str
    state: State | None
    row: int | None = None

    @property
    def table(self) -> str:
        """Path or address of the table."""
        return self.name.rsplit("#", 1)[0]


@dataclass
class Found:
    """Images of a data set.

    Attributes:
        items: the images, each name once, in order.
        left_out: what else is there, a line for each folder, and one for the tables of the output.
    """

    items: list[Item] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def find_items(words: Iterable[str | Path], column: str, output: str) -> Found:
    """Return the images that words stand for.

    The output may be inside a folder of images; its own tables are left out.

    Args:
        words: files; folders and patterns, as in `crowdcount.images.find_images`; addresses of files and prefixes,
            which are searched with all below; lists (.txt, a path or address a line, from the folder of the list);
            tables (.parquet).
        column: column of the tables: paths or addresses (from the folder of the table), or the bytes of image files, or
            structures of `bytes` and `path`.
        output: folder or address of the table of counts.

    Raises:
        InputError: a folder, pattern or prefix yields no image, a list or table cannot be read, or there is no image
            at all.
    """
    left_out: list[str] = []
    items: dict[str, Item] = {}
    for name, state in _stated(_sources(words, output, left_out)):
        for item in _table_items(name, state, column) if _ends(name, TABLE) else (Item(name, state),):
            items.setdefault(item.name, item)
    if not items:
        raise InputError("; ".join(["source: holds no image to count in", *left_out]))
    return Found(list(items.values()), left_out)


def _sources(words: Iterable[str | Path], output: str, left_out: list[str]) -> Iterator[tuple[str, State | None]]:
    """Yield the files of words, without the tables of the output."""
    own, there = 0, place(output)
    for name, state in _files(words, left_out):
        if _ends(name, TABLE) and place(folder_of(name)) == there:
            own += 1
        else:
            yield name, state
    if own:
        left_out.append(f"{output}: {own} partition{'s' * (own != 1)} of the output left out, not images")


def _files(words: Iterable[str | Path], left_out: list[str]) -> Iterator[tuple[str, State | None]]:
    """Yield the files of words; the states are those known from a listing."""
    for word in map(str, words):
        if _ends(word, _LIST):
            yield from ((name, None) for name in _list_names(word))
        elif is_address(word):
            yield from _listed(word, left_out)
        else:
            path = local_path(word)
            found = find_files(path, (*IMAGE_SUFFIXES, TABLE))
            yield from ((str(file), None) for file in found.files)
            if reasons := found.left_out():
                left_out.append(f"{word}: {reasons}")


def _ends(name: str, suffix: str) -> bool:
    return name.lower().endswith(suffix)


def _list_names(name: str) -> Iterator[str]:
    path = local_path(name)
    for line in read_text(path).splitlines():
        if line.strip():
            yield joined(folder_of(str(path)), line)


def _listed(address: str, left_out: list[str]) -> Iterator[tuple[str, State | None]]:
    files = list(list_files(address))
    wanted = [each for each in files if each[0] == address or each[0].lower().endswith((*IMAGE_SUFFIXES, TABLE))]
    if not wanted:
        raise InputError(f"{address}: no {', '.join(IMAGE_SUFFIXES)} files there; {len(files)} files of other names")
    if len(wanted) < len(files):
        left_out.append(f"{address}: {len(files) - len(wanted)} files left out, not images by their names")
    yield from wanted


def _stated(files: Iterable[tuple[str, State | None]]) -> Iterator[tuple[str, State | None]]:
    """Yield files with their states, asking for those that are not known."""
    known = dict(files)
    missing = [name for name, state in known.items() if state is None]
    known |= zip(missing, states(missing), strict=True)
    yield from known.items()


def _table_items(name: str, state: State | None, column: str) -> Iterator[Item]:
    """Yield the images of a table; an empty row is one that cannot be read."""
    table = Column(name, column)
    if table.kind == "bytes":
        yield from (Item(f"{name}#{row}", state, row) for row in range(table.rows))
        return
    paths = [path and joined(folder_of(name), path) for path in table.paths()]
    known = states([path for path in paths if path])
    for row, path in enumerate(paths):
        yield Item(path, next(known)) if path else Item(f"{name}#{row}", state, row)
