"""HEIC files, the photos of iPhones, through the extra `heif`."""

import io

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.images.header import Header


def decode(data: bytes, name: str, max_memory: float | None = None) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) RGB of a HEIC file, upright.

    Raises:
        InputError: if the extra is not installed, or the file is damaged or too large.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{name}: is a HEIC image, which needs another package: pip install 'crowdcount-zoo[heif]', or save it as "
            "JPEG"
        ) from error
    try:
        file = pillow_heif.open_heif(io.BytesIO(data))
        Header(*file.size).check(name, len(data), max_memory)
        return np.array(file.to_pillow().convert("RGB"))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # libheif's errors are a ValueError, a RuntimeError, an EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: is damaged ({reason}); copy it again from where it came from") from error
