"""Finding images: names, folders and patterns, and an account of what is left out."""

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from crowdcount.errors import InputError
from crowdcount.images.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES, image_format


@dataclass(frozen=True)
class Found:
    """Files that a name, a folder or a pattern stands for, and what was left out.

    Attributes:
        word: the name, folder or pattern.
        files: the files, in order.
        unread: images in formats that are not read, or without the suffix of an image.
        other: other files, such as notes.
        below: images in subfolders, which are not searched.
    """

    word: Path
    files: list[Path]
    unread: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)
    below: int = 0

    def left_out(self) -> str:
        """Return how many files were left out and why, without the word; empty if none was."""
        reasons = []
        if self.unread:
            reasons.append(f"{_by_suffix(self.unread)}, images that are not read by format or name: save them as JPEG")
        if self.other:
            reasons.append(f"{_by_suffix(self.other)}, not images by their names")
        if self.below:
            reasons.append(f"{self.below} in subfolders (not searched; a pattern such as 'FOLDER/**/*.jpg' does)")
        number = len(self.unread) + len(self.other) + self.below
        files = "1 file" if number == 1 else f"{number} files"
        return f"{files} left out: {'; '.join(reasons)}" if number else ""


def _by_suffix(files: Iterable[Path]) -> str:
    """Return the number of files of each suffix, with the name of one of them."""
    names: dict[str, list[str]] = {}
    for path in files:
        names.setdefault(path.suffix.lower() or "without suffix", []).append(path.name)
    return ", ".join(
        f"{len(each)} {suffix} ({each[0]}{', ...' if len(each) > 1 else ''})" for suffix, each in names.items()
    )


def find_images(words: Iterable[Path | str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the files that names, folders and patterns stand for, each once, in the order given.

    Args:
        words: files of any name; folders, of which the files with one of the suffixes are taken, without subfolders;
            patterns such as `shots/*.jpg` or `shots/**/*.png`, filtered by suffix as well.
        suffixes: file name suffixes in lower case, with the dot.

    Raises:
        InputError: if a folder or a pattern yields no file.
    """
    return unique_files(file for word in words for file in find_files(word, suffixes).files)


def unique_files(files: Iterable[Path]) -> list[Path]:
    """Return files in order, each once, under the first of its names."""
    found: dict[Path, Path] = {}
    for file in files:
        found.setdefault(_path_key(file), file)
    return list(found.values())


def find_files(word: Path | str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Found:
    """Return the files that a name, a folder or a pattern stands for, and what was left out; see `find_images`.

    Raises:
        InputError: if a folder or a pattern yields no file.
    """
    word = Path(word)
    try:
        folder, there = word.is_dir(), word.exists()
    except OSError:  # its name is too long, or its folder forbidden
        return Found(word, [word])
    if folder:
        try:
            found = list_folder(word, suffixes)
        except OSError as error:
            raise InputError(f"{word}: cannot be read ({error.strerror})") from error
        where = "in this folder"
    elif there or not glob.has_magic(str(word)):
        return Found(word, [word])  # a missing file is reported when its turn comes
    else:
        # Path.glob takes no absolute pattern, and Path.expanduser no home that is not there
        matches = sorted(Path(match) for match in glob.glob(os.path.expanduser(word), recursive=True))  # noqa: PTH111, PTH207
        found = _sorted_out(word, (path for path in matches if path.is_file()), suffixes)
        where = "match this pattern"
    if not found.files:
        left_out = found.left_out()
        raise InputError(f"{word}: no {', '.join(suffixes)} files {where}" + (f"; {left_out}" if left_out else ""))
    return found


def list_folder(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Found:
    """Return the images of a folder sorted by name, and what was left out; hidden files do not count."""
    visible = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    below = sum(_number_below(path, suffixes) for path in visible if path.is_dir())
    return _sorted_out(folder, (path for path in visible if path.is_file() or _is_broken_link(path)), suffixes, below)


def _is_broken_link(path: Path) -> bool:
    """Return whether a file is missing where a link points, as of data that were not fetched."""
    return path.is_symlink() and not path.exists()


def _number_below(folder: Path, suffixes: tuple[str, ...]) -> int:
    names = (name for _, _, files in os.walk(folder) for name in files)
    return sum(name.lower().endswith(suffixes) and name[0] != "." for name in names)


def _sorted_out(word: Path, files: Iterable[Path], suffixes: tuple[str, ...], below: int = 0) -> Found:
    found = Found(word, [], below=below)
    for path in files:
        suffix = path.suffix.lower()
        image = suffix in UNREAD_SUFFIXES or (suffix not in suffixes and _holds_image(path))
        (found.files if suffix in suffixes else found.unread if image else found.other).append(path)
    return found


def _holds_image(path: Path) -> bool:
    """Return whether a file begins as an image does, whatever its name."""
    try:
        with path.open("rb") as file:
            return bool(image_format(file.read(256)))
    except OSError:
        return False


def _path_key(file: Path) -> Path:
    """Return the location of a file, with links resolved where possible."""
    try:
        return file.resolve()
    except (OSError, RuntimeError, ValueError):  # a link to itself, or no name of a file at all
        return file.absolute()
