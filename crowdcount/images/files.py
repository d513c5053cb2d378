"""Images on disk: finding them, and reading files that may be damaged."""

import glob
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import PIL.Image

from crowdcount.errors import InputError
from crowdcount.images.read import IMAGE_SUFFIXES, Image, image_files, read_image

_MOST_PIXELS: Final = 2**30  # OpenCV reads no more
_pillow = threading.Lock()  # its limit of pixels and Python's warnings are those of the whole process


def read_complete_image(path: Path) -> Image:
    """Decode an image file as training does (`read_image`), but reject truncated files.

    OpenCV alone fills the missing part with grey, which would be counted.

    Raises:
        InputError: if the file is missing, damaged or truncated.
    """
    if path.is_file() and not _is_whole_jpeg(path):
        try:
            with strictly_opened(path):
                pass
        # Pillow raises nearly anything for a damaged file; what it does not know, OpenCV may still read
        except PIL.UnidentifiedImageError:
            pass
        except (MemoryError, PIL.Image.DecompressionBombError) as error:
            raise InputError(
                f"{path}: is too large to be decoded ({decoder_message(error)}); cut or shrink it"
            ) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # the system's, such as a forbidden file
                raise InputError(f"{path}: cannot be read ({error.strerror})") from error
            reason = decoder_message(error)
            raise InputError(f"{path}: is damaged ({reason}); copy it again from where it came from") from error
    return read_image(path)


def _is_whole_jpeg(path: Path) -> bool:
    """Return whether a file begins and ends as a JPEG does: it is complete and need not be decoded twice."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(-min(2, path.stat().st_size), os.SEEK_END)
            return start == b"\xff\xd8" and file.read() == b"\xff\xd9"
    except OSError:
        return False  # whoever decodes it says why


@contextmanager
def strictly_opened(path: Path) -> Iterator[PIL.Image.Image]:
    """Open an image file with Pillow and decode it completely, one file at a time; Pillow's errors pass through."""
    with _pillow:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, _MOST_PIXELS // 2  # it refuses twice that
        try:
            with warnings.catch_warnings(action="ignore"), PIL.Image.open(path) as image:
                image.load()
                yield image
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def find_images(words: Iterable[Path | str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the files that names, folders and patterns stand for, each once, in the order given.

    Args:
        words: files of any name; folders, of which the files with one of the suffixes are taken, without subfolders;
            patterns such as `shots/*.jpg` or `shots/**/*.png`, filtered by suffix as well.
        suffixes: file name suffixes in lower case, with the dot.

    Raises:
        InputError: if a folder or a pattern yields no file.
    """
    found: dict[Path, Path] = {}
    for word in map(Path, words):
        for file in _files(word, suffixes):
            found.setdefault(_path_key(file), file)
    return list(found.values())


def _path_key(file: Path) -> Path:
    """Return the location of a file, with links resolved where possible."""
    try:
        return file.resolve()
    except (OSError, RuntimeError, ValueError):  # a link to itself, or no name of a file at all
        return file.absolute()


def _files(word: Path, suffixes: tuple[str, ...]) -> list[Path]:
    try:
        folder, there = word.is_dir(), word.exists()
    except OSError:  # its name is too long, or its folder forbidden
        return [word]
    if folder:
        files = image_files(word, suffixes)
        where = "in this folder (subfolders are not searched; a pattern such as 'FOLDER/**/*.jpg' does)"
    elif there or not glob.has_magic(str(word)):
        return [word]  # a missing file is reported when its turn comes
    else:
        # Path.glob takes no absolute pattern, and Path.expanduser no home that is not there
        matches = sorted(Path(match) for match in glob.glob(os.path.expanduser(word), recursive=True))  # noqa: PTH111, PTH207
        files = [path for path in matches if path.suffix.lower() in suffixes and path.is_file()]
        where = "match this pattern"
    if not files:
        raise InputError(f"{word}: no {', '.join(suffixes)} files {where}")
    return files


def decoder_message(error: Exception) -> str:
    """Return the message of an exception, or its class name if the message is empty."""
    return str(error) or type(error).__name__
