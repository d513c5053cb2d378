"""Conversion of files, arrays, tensors and Pillow images to RGB."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, Union, get_args

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.JpegImagePlugin
from numpy.typing import NDArray

from crowdcount.checks import check_choice
from crowdcount.errors import InputError
from crowdcount.images.levels import ValueRange, to_uint8
from crowdcount.images.read import Image, decode, decoder_message, pillow_values, read_image
from crowdcount.local_path import local_path

if TYPE_CHECKING:  # counting with an exported model needs no torch
    from torch import Tensor

logger = logging.getLogger(__name__)

ImageLike = Union[Path, str, NDArray[Any], "Tensor", PIL.Image.Image]
"""A file, (H, W), (H, W, 3) or (H, W, 4) array, (3, H, W) tensor, or a Pillow image."""

Channels = Literal["rgb", "bgr"]
"""Order of the channels of arrays and tensors."""


def as_image(
    image: ImageLike,
    *,
    channels: Channels = "rgb",
    value_range: ValueRange | None = None,
    max_memory: float | None = None,
) -> Image:
    """Return an image as (H, W, 3) uint8 RGB, upright.

    Files and Pillow images are rotated according to their EXIF data. Arrays and tensors are colour or grey: uint8,
    uint16 (reduced to the upper eight bits, like 16-bit files), or floats in [0, 1]. Transparency is dropped.

    Args:
        image: the image.
        channels: order of the channels of arrays and tensors, which do not state it: "bgr" for what `cv2.imread` and
            `cv2.VideoCapture` return. Files and Pillow images know theirs.
        value_range: values that become black and white in images of more than 8 bits; see `levels.to_uint8`.
        max_memory: limit in GiB of the memory for decoding a file.

    Raises:
        InputError: if the file, or that of a Pillow image, is missing, damaged or truncated, the array is not an
            image, or its values reach only a small part of their range.
    """
    check_choice("channels", channels, get_args(Channels))
    if isinstance(image, str | Path):
        return read_image(local_path(image), max_memory=max_memory, value_range=value_range)
    if isinstance(image, PIL.Image.Image):
        return _of_pillow(image, value_range)
    if _is_tensor(image):
        image = _of_tensor(image)
    if not isinstance(image, np.ndarray):
        raise InputError(f"an image is a file, an array, a tensor or a Pillow image; got {type(image).__name__}")
    return _of_array(image, value_range, channels)


def _is_tensor(image: object) -> "TypeGuard[Tensor]":
    torch = sys.modules.get("torch")  # there is no tensor without it
    return torch is not None and isinstance(image, torch.Tensor)


def _of_pillow(image: PIL.Image.Image, value_range: ValueRange | None) -> Image:
    name = str(getattr(image, "filename", "") or "the Pillow image")
    try:  # Pillow reads a file no sooner than here
        data = _unread_jpeg(image)
        values = None if data is not None else pillow_values(PIL.ImageOps.exif_transpose(image))
    except Exception as error:
        raise InputError(f"{name}: cannot be read ({decoder_message(error)})") from error
    if data is not None:
        return decode(data, name)
    assert values is not None, "one of the two is there"
    if values.dtype == np.int32 and value_range is None:
        values = _sixteen_bits(values, name)
    return _of_array(values, value_range, name=name)


def _unread_jpeg(image: PIL.Image.Image) -> bytes | None:
    """Return the file of a JPEG image that Pillow has opened and not decoded, which would pass over its damage."""
    # a draft changes the size, and another frame is another image
    if not isinstance(image, PIL.JpegImagePlugin.JpegImageFile) or image.tell():
        return None
    file = image.fp
    if file is None or not image.tile or image.decoderconfig:
        return None
    position = file.tell()
    file.seek(0)
    data: bytes = file.read()
    file.seek(position)
    return data


def _sixteen_bits(values: NDArray[np.int32], name: str) -> NDArray[np.uint16]:
    """Convert to uint16: Pillow holds some 16-bit grey images as 32-bit numbers."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high >= 2**16:
        raise InputError(
            f"{name}: its values reach from {low} to {high}, beyond 16 bits; give those of black and white as "
            "value_range (--range)"
        )
    return values.astype(np.uint16)


def _of_tensor(tensor: "Tensor") -> NDArray[Any]:
    if tensor.ndim != 3 or tensor.is_nested or tensor.shape[0] not in (1, 3, 4):
        shape = "a nested one" if tensor.is_nested else tuple(tensor.shape)
        raise InputError(f"a tensor is (3, H, W), or with 1 or 4 channels; got {shape}")
    try:
        array = tensor.detach().cpu().movedim(0, -1)
        return (array.float() if str(array.dtype) == "torch.bfloat16" else array).numpy()  # NumPy has no bfloat16
    # torch's own errors for tensors without plain values: meta, sparse, quantised, and types that NumPy lacks
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"a tensor holds plain values; got {tensor.dtype} of layout {tensor.layout} on {tensor.device}: "
            "convert it, with to_dense() or dequantize() for instance"
        ) from error


def _of_array(
    array: NDArray[Any], value_range: ValueRange | None, channels: Channels = "rgb", name: str = "an array"
) -> Image:
    if np.ma.is_masked(array):
        raise InputError(f"{name}: some pixels are masked out; give them values, with filled(0) for instance")
    array = np.asarray(array)  # also of np.matrix, which has two dimensions whatever is done to it
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise InputError(f"an array is (H, W), (H, W, 3) or (H, W, 4); got {array.shape}")
    array = array[..., :1].repeat(3, axis=2) if array.shape[2] == 1 else array[..., :3]
    if array.dtype == np.uint8 and array.max() == 1:
        logger.warning("%s: no uint8 value is above 1, an image all but black; if these were floats, give floats", name)
    image = to_uint8(array, name, value_range)
    return np.ascontiguousarray(image if channels == "rgb" else image[..., ::-1])
