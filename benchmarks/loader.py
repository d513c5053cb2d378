"""Decoding and cropping as bytes, compared with converting the whole image to floats first."""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.race import Commands, Row, positive, race
from crowdcount.errors import InputError
from crowdcount.images.read import read_image


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    loader = commands.add_parser("loader", parents=[shared], help="decode an image and crop it")
    loader.add_argument("--image", type=Path, help="a JPEG to use instead of a generated one of 2902 x 2013")
    loader.add_argument("--crop", type=positive, default=448, help="crop side in pixels (default %(default)s)")
    loader.set_defaults(run=loader_benchmark)


def loader_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time decoding and cropping as bytes against converting the whole image to floats first."""
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.image or write_image(Path(folder) / "photo.jpg", 2902, 2013)
        height, width = read_image(path).shape[:2]
        side = arguments.crop
        with Image.open(path) as stored:
            if stored.size != (width, height) or min(stored.size) < side:
                raise InputError(f"{path}: give an image of at least {side} px a side without EXIF rotation")
        top, left = (height - side) // 2, (width - side) // 2

        def ours() -> Tensor:
            crop = read_image(path)[top : top + side, left : left + side]
            return torch.from_numpy(crop.transpose(2, 0, 1).copy()).float().div(255)

        def published() -> Tensor:
            return published_decode(path)[:, top : top + side, left : left + side]

        (slow, fast), (expected, got) = race([published, ours], arguments.repeats, path.name)
        row = {
            "image": f"{width}x{height}",
            "bits per pixel": path.stat().st_size * 8 / (width * height),
            "published ms": slow * 1e3,
            "ours ms": fast * 1e3,
            "ratio": slow / fast,
            "largest difference of 255": (got - expected).abs().amax().item() * 255,
        }
    return [row]


def published_decode(path: Path) -> Tensor:
    """Decode a whole image to floats (3, H, W), as torchvision's ToTensor does, and copy it."""
    image = np.array(Image.open(path).convert("RGB"))
    return torch.from_numpy(image).permute(2, 0, 1).contiguous().float().div(255).clone()


def write_image(path: Path, width: int, height: int) -> Path:
    """Write a generated JPEG (quality 95) of gradients and blurred noise.

    It has 1.8 bits per pixel; the images of ShanghaiTech have 1.9 (part A) and 1.6 (part B), and the decoding time
    depends on that number.
    """
    random = np.random.default_rng(0)
    noise = cv2.GaussianBlur(random.normal(0, 12, (height, width, 1)).astype(np.float32), (0, 0), 1)
    image: NDArray[np.float32] = noise[:, :, None] + _waves(width, height)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=95)
    return path


def _waves(width: int, height: int) -> NDArray[np.float32]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [127 + 60 * np.sin(0.004 * x + 0.006 * y + i) + 40 * np.cos(0.01 * x - 0.003 * y * i) for i in range(3)]
    return np.stack(waves, axis=-1)
