"""A user's pictures: where they are, and how any form of one becomes an image."""

import glob
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from numpy.typing import NDArray
from torch import Tensor

from crowdcount.data.sample import IMAGE_SUFFIXES, Image, pictures_in, read_image
from crowdcount.errors import InputError

Photo = Path | str | NDArray[Any] | Tensor | PIL.Image.Image
"""A file, (H, W), (H, W, 3) or (H, W, 4) array, (3, H, W) tensor, or a Pillow image."""

_MOST_PIXELS: Final = 2**30  # OpenCV reads no more
_pillow = threading.Lock()  # its limit of pixels and Python's warnings are those of the whole process


def as_image(photo: Photo) -> Image:
    """Return a picture as (H, W, 3) uint8 RGB, upright.

    Files and Pillow images are turned as their EXIF data say. Arrays and tensors are RGB or grey: uint8, uint16 (of
    which the upper eight bits are kept, as of a file with 16 bits), or floats in [0, 1]. Transparency is left out.

    Raises:
        InputError: the file is missing, damaged or cut short, also that behind a Pillow image; or the array is no
            picture.
    """
    if isinstance(photo, str | Path):
        return read_photo(Path(photo))
    if isinstance(photo, PIL.Image.Image):
        return _of_pillow(photo)
    if isinstance(photo, Tensor):
        if photo.ndim != 3 or photo.shape[0] not in (1, 3, 4):
            raise InputError(f"a tensor is (3, H, W), or with 1 or 4 channels; got {tuple(photo.shape)}")
        photo = photo.detach().cpu().movedim(0, -1)
        photo = (photo.float() if photo.dtype == torch.bfloat16 else photo).numpy()  # NumPy has no bfloat16
    if not isinstance(photo, np.ndarray):
        raise InputError(f"a picture is a file, an array, a tensor or a Pillow image; got {type(photo).__name__}")
    return _of_array(photo)


def read_photo(path: Path) -> Image:
    """Decode an image file as training does (`read_image`), but refuse one that is cut short.

    OpenCV alone fills up with grey what is missing, and that would be counted.

    Raises:
        InputError: the file is missing, damaged or cut short.
    """
    if path.is_file() and not _is_whole_jpeg(path):
        try:
            with strictly_opened(path):
                pass
        # Pillow raises nearly anything for a damaged file; what it does not know, OpenCV may still read
        except PIL.UnidentifiedImageError:
            pass
        except (MemoryError, PIL.Image.DecompressionBombError) as error:
            raise InputError(f"{path}: is too large to be decoded ({_reason(error)}); cut or shrink it") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # the system's, such as a forbidden file
                raise InputError(f"{path}: cannot be read ({error.strerror})") from error
            reason = _reason(error)
            raise InputError(f"{path}: is damaged ({reason}); copy it again from where it came from") from error
    return read_image(path)


def _is_whole_jpeg(path: Path) -> bool:
    """Whether a file begins and ends as a JPEG does: such a one is not cut short, and need not be decoded twice."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(-min(2, path.stat().st_size), os.SEEK_END)
            return start == b"\xff\xd8" and file.read() == b"\xff\xd9"
    except OSError:
        return False  # whoever decodes it says why


@contextmanager
def strictly_opened(path: Path) -> Iterator[PIL.Image.Image]:
    """Open an image file with Pillow and decode it whole; raises whatever Pillow does. One at a time."""
    with _pillow:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, _MOST_PIXELS // 2  # it refuses twice that
        try:
            with warnings.catch_warnings(action="ignore"), PIL.Image.open(path) as image:
                image.load()
                yield image
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def find_photos(words: Iterable[Path | str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the files among names, folders and patterns, each once, in the order given.

    Args:
        words: files, which are taken whatever their name; folders, whose files with one of the suffixes are taken (not
            those of subfolders); patterns such as `shots/*.jpg` or `shots/**/*.png`, likewise.
        suffixes: in small letters, with the dot.

    Raises:
        InputError: a folder or a pattern gives nothing.
    """
    found: dict[Path, Path] = {}
    for word in map(Path, words):
        for file in _files(word, suffixes):
            found.setdefault(_place(file), file)
    return list(found.values())


def _place(file: Path) -> Path:
    """Return where a file is, its links followed as far as they lead."""
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
        files = pictures_in(word, suffixes)
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


def _of_pillow(photo: PIL.Image.Image) -> Image:
    try:  # Pillow reads a file no sooner than here
        upright = PIL.ImageOps.exif_transpose(photo)
        values = np.array(upright if upright.mode[0] in "IF" else upright.convert("RGB"))
    except Exception as error:
        name = getattr(photo, "filename", "") or "the Pillow image"
        raise InputError(f"{name}: cannot be read ({_reason(error)})") from error
    return _of_array(_sixteen_bits(values) if upright.mode[0] == "I" else values)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Pillow holds some grey pictures of 16 bits as 32-bit numbers."""
    return values.clip(0, 2**16 - 1).astype(np.uint16)


def _of_array(array: NDArray[Any]) -> Image:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise InputError(f"an array is (H, W), (H, W, 3) or (H, W, 4); got {array.shape}")
    array = array[..., :1].repeat(3, axis=2) if array.shape[2] == 1 else array[..., :3]
    if array.dtype == np.uint16:
        image: Image = (array >> 8).astype(np.uint8)
        return image
    if np.issubdtype(array.dtype, np.floating):
        return _of_floats(array)
    if array.dtype != np.uint8:
        raise InputError(f"an array holds uint8, uint16 or floats in [0, 1]; got {array.dtype}")
    whole: Image = np.ascontiguousarray(array)
    return whole


def _of_floats(array: NDArray[np.floating]) -> Image:
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also where one is NaN
        raise InputError(f"an array of floats is in [0, 1]; this one reaches from {low:g} to {high:g}: give uint8")
    image: Image = np.rint(array * 255).astype(np.uint8)
    return image
