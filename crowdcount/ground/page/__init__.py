"""The page on which a camera is calibrated: one HTML file that needs nothing else."""

import base64
import html
import json
from pathlib import Path
from typing import Final

import cv2

from crowdcount.images.read import Image
from crowdcount.visualize.density import image_bytes

_TEMPLATE: Final = Path(__file__).with_name("page.html")
_QUALITY: Final = 90


def calibration_page(image: Image, name: str) -> str:
    """Return an HTML page on which points of an image are clicked and their metres typed, and a camera file is saved.

    It holds the image, as a JPEG without metadata, and loads nothing. Points are set and moved with mouse, touch or
    keyboard; residual and a grid of metres are shown as they change.

    Args:
        image: (H, W, 3) uint8 RGB, upright.
        name: of the image, for the title.
    """
    height, width = image.shape[:2]
    jpeg = base64.b64encode(image_bytes(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])).decode()
    facts = {"width": width, "height": height, "name": name}
    return (
        _TEMPLATE.read_text(encoding="utf-8")
        .replace("{{name}}", html.escape(name))
        .replace("{{width}}", str(width))
        .replace("{{height}}", str(height))
        .replace("{{facts}}", json.dumps(facts).replace("<", "\\u003c"))
        .replace("{{image}}", f"data:image/jpeg;base64,{jpeg}")
    )
