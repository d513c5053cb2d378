"""Counting an image in tiles because it does not fit into memory: time, peak memory and exactness.

The time covers a user's call from the JPEG file to the density, including the measurement of the network's margin. The
memory is that above the loaded model, which has counted a small image before.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.child import in_child, opened
from benchmarks.peak import Peak
from benchmarks.race import Commands, Row, positive
from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.inference.density import Inference, TorchRunner
from crowdcount.inference.parts import merge_tiles, pixels_that_fit
from crowdcount.inference.receptive_field import receptive_margin, tile_multiple
from crowdcount.inference.tiling import grid
from crowdcount.predictor import DEFAULT_MODEL, Predictor
from crowdcount.zoo.models import Model

_MARGIN = 128
"""Margin in pixels of networks without a receptive margin: their tiles are not exact, and only counted."""


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    tiles = commands.add_parser("tiles", parents=[shared], help="an image too large for the memory; runs once")
    tiles.add_argument("--model", default=DEFAULT_MODEL, help="name or file (default %(default)s)")
    tiles.add_argument("--width", type=positive, default=20_000, help="of the image (default %(default)s)")
    tiles.add_argument("--height", type=positive, default=4_000, help="of the image (default %(default)s)")
    tiles.add_argument("--max-memory", type=float, default=2.0, help="in GiB (default %(default)s)")
    tiles.add_argument(
        "--small-width", type=positive, default=2_000, help="width of an image also counted whole (default %(default)s)"
    )
    tiles.add_argument("--small-height", type=positive, default=1_600, help="its height (default %(default)s)")
    tiles.add_argument("--device", default="auto", help="default %(default)s")
    tiles.set_defaults(run=tiles_benchmark)


def tiles_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Write the image, and count it in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        _write(path, scene(arguments.height, arguments.width))
        return [in_child(_measured, arguments.model, path, vars(arguments) | {"run": None})]


def scene(height: int, width: int, seed: int = 0) -> Image:
    """Return an image (H, W, 3) with coarse shapes and fine noise, generated quickly at any size."""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(40, 216, (height // 24 + 1, width // 24 + 1, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(shapes, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    noise = rng.integers(0, 40, (64, width, 3), dtype=np.uint8)
    for top in range(0, height, 64):
        image[top : top + 64] += noise[: height - top]
    return image


def _write(path: Path, image: Image) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise InputError("a JPEG has at most 65,500 pixels on a side")


def _measured(source: str, path: Path, options: dict[str, Any]) -> Row:
    """Return the row; runs in the child process."""
    model, weights = opened(source, options["threads"])
    if model.inference.window is not None:
        raise InputError(f"--model: {source} counts in windows, so it needs no tiles")
    predictor = Predictor(model, device=options["device"], max_memory=options["max_memory"])
    predictor.predict(scene(256, 256))
    with Peak(predictor.device) as peak:
        start = time.perf_counter()
        exact = predictor.predict(path).exact
        seconds = time.perf_counter() - start
    small = scene(options["small_height"], options["small_width"])
    return {
        "model": source,
        "weights": weights,
        "image": f"{options['width']} x {options['height']}",
        "tiles": _tiles(model, options["height"], options["width"], options["max_memory"]),
        "seconds": seconds,
        "peak MiB above the model": peak.mebibytes,
        "within": "yes" if peak.mebibytes <= options["max_memory"] * 1024 else "no",
        "exact": "yes" if exact else "no",
        f"difference at {options['small_width']} x {options['small_height']}": difference(model, small),
    }


def _tiles(model: Model, height: int, width: int, max_memory: float) -> int:
    """Return the number of tiles in which an image of that size is counted."""
    runner = TorchRunner(model.network, torch.empty((3, height, width), dtype=torch.uint8, device="meta"))
    room = pixels_that_fit(max_memory, runner, runner.nbytes)
    if room is None or height * width <= room:
        return 1
    step, margin = tile_multiple(model.network), receptive_margin(model.network)
    height, width = (-(-side // step) * step for side in (height, width))
    return len(grid(height, width, _MARGIN if margin is None else margin, step, room))


def difference(model: Model, image: Image) -> float:
    """Return the difference of the density in tiles from that in one pass, relative to the largest density.

    The tiles are as small as the margins sensibly allow, with twice as many seams as at any practical limit.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1).to(next(model.network.parameters()).device)
    whole = Inference()(model.network, pixels).density
    tiled, _ = merge_tiles(TorchRunner(model.network, pixels), _room(model, pixels))
    return float(np.abs(tiled[0, : whole.shape[0], : whole.shape[1]] - whole).max() / np.abs(whole).max())


def _room(model: Model, image: Tensor) -> float:
    """Return the pixels of a tile: a quarter of the image, but at least the margins and half as much between them."""
    least = 2 * (receptive_margin(model.network) or _MARGIN) + 4 * tile_multiple(model.network)
    return max(image.shape[-2] * image.shape[-1] / 4, float(least**2))
