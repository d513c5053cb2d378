"""Images: from a file, array, tensor or Pillow image to (H, W, 3) uint8 RGB, and rules for their size."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.images.convert import as_image
    from crowdcount.images.read import Image, read_image
    from crowdcount.images.resize import Resize, ShortSide
    from crowdcount.images.resize_presets import ResizePreset

__all__ = [
    "Image",
    "Resize",
    "ResizePreset",
    "ShortSide",
    "as_image",
    "read_image",
]

__getattr__ = lazy_names(
    __name__,
    {
        "convert": ("as_image",),
        "read": (
            "Image",
            "read_image",
        ),
        "resize": (
            "Resize",
            "ShortSide",
        ),
        "resize_presets": ("ResizePreset",),
    },
)
