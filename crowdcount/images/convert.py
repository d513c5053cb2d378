"""Conversion of files, arrays, tensors and Pillow images to RGB."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from numpy.typing import NDArray
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.images.files import decoder_message, read_complete_image
from crowdcount.images.read import Image

ImageLike = Path | str | NDArray[Any] | Tensor | PIL.Image.Image
"""A file, (H, W), (H, W, 3) or (H, W, 4) array, (3, H, W) tensor, or a Pillow image."""


def as_image(image: ImageLike) -> Image:
    """Return an image as (H, W, 3) uint8 RGB, upright.

    Files and Pillow images are rotated according to their EXIF data. Arrays and tensors are RGB or grey: uint8, uint16
    (reduced to the upper eight bits, like 16-bit files), or floats in [0, 1]. Transparency is dropped.

    Raises:
        InputError: if the file, or that of a Pillow image, is missing, damaged or truncated, or the array is not an
            image.
    """
    if isinstance(image, str | Path):
        return read_complete_image(Path(image))
    if isinstance(image, PIL.Image.Image):
        return _of_pillow(image)
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
            raise InputError(f"a tensor is (3, H, W), or with 1 or 4 channels; got {tuple(image.shape)}")
        image = image.detach().cpu().movedim(0, -1)
        image = (image.float() if image.dtype == torch.bfloat16 else image).numpy()  # NumPy has no bfloat16
    if not isinstance(image, np.ndarray):
        raise InputError(f"a picture is a file, an array, a tensor or a Pillow image; got {type(image).__name__}")
    return _of_array(image)


def _of_pillow(image: PIL.Image.Image) -> Image:
    try:  # Pillow reads a file no sooner than here
        upright = PIL.ImageOps.exif_transpose(image)
        values = np.array(upright if upright.mode[0] in "IF" else upright.convert("RGB"))
    except Exception as error:
        name = getattr(image, "filename", "") or "the Pillow image"
        raise InputError(f"{name}: cannot be read ({decoder_message(error)})") from error
    return _of_array(_sixteen_bits(values) if upright.mode[0] == "I" else values)


def _sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Convert to uint16: Pillow holds some 16-bit grey images as 32-bit numbers."""
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
