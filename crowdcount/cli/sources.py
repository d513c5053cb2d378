"""Files that a call is to count in: found by the words of the command line, read while the one before is counted."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crowdcount.errors import InputError
from crowdcount.images.files import find_files, unique_files
from crowdcount.images.formats import IMAGE_SUFFIXES
from crowdcount.images.read import Image
from crowdcount.local_path import local_path
from crowdcount.prefetch import ahead
from crowdcount.video.container import is_annotated
from crowdcount.video.read import VIDEO_SUFFIXES, is_video
from crowdcount.visualize.drawing_mark import is_drawing

_CAMERA: Final = re.compile(r"\d{1,3}|/dev/video\d+")


@dataclass(frozen=True)
class Source:
    """A file and, where it is an image that can be read, its pixels."""

    path: Path
    image: Image | None = None
    error: str = ""

    @property
    def kind(self) -> object:
        """Equal for images that can be counted together."""
        return self.path if self.image is None else self.image.shape


@dataclass
class Found:
    """Files that the words of a command line mean.

    Attributes:
        files: images and videos, each once.
        missing: what is wrong with words that mean none, or images that are not read.
        left_out: what else is in the folders.
        drawings: files left out: overlays and annotated videos of an earlier call.
    """

    files: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    drawings: list[Path] = field(default_factory=list)


def find_sources(words: Sequence[str]) -> Found:
    """Return the files that are meant by names, folders, patterns, and - for those on standard input."""
    files: list[Path] = []
    result = Found()
    for word in expanded(words):
        try:
            found = find_files(_checked(word), (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        except InputError as error:
            result.missing.append(str(error))
            continue
        files += found.files
        if left_out := found.left_out():
            (result.missing if found.unread else result.left_out).append(f"{word}: {left_out}")
    for file in unique_files(files):
        drawn = is_annotated(file) if is_video(file) else is_drawing(file)
        (result.drawings if drawn else result.files).append(file)
    return result


def read_sources(files: Sequence[Path], read: Callable[[Path], Image]) -> Iterator[Source]:
    """Yield the files; an image is read while the one before is counted."""

    def decoded(path: Path) -> Image | None:
        return None if is_video(path) else read(path)

    for path, future in zip(files, ahead(decoded, files), strict=True):
        try:
            yield Source(path, future.result())
        except (InputError, OSError) as error:
            yield Source(path, error=str(error))


def _checked(word: str) -> Path:
    """Return the path that a word names.

    Raises:
        InputError: it names a camera, or an address.
    """
    path = local_path(word)
    if _CAMERA.fullmatch(word) and not path.is_file():
        raise InputError(f"{word}: is a camera, and files are counted here; record from it and give the video")
    return path


def expanded(words: Sequence[str]) -> Iterator[str]:
    """Yield words, those of standard input in place of a dash: lines, or what `find -print0` writes."""
    for word in words:
        if word != "-":
            yield word
            continue
        text = os.fsdecode(sys.stdin.buffer.read())  # names of files need not be UTF-8
        lines = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
        yield from (line for line in lines if line.strip())
