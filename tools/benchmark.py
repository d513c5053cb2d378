"""Measure the package beside plain restatements of what published code does.

    python tools/benchmark.py losses --threads 1
    python tools/benchmark.py loader --threads 1 --image photo.jpg

Both sides run in the same process, in turns; the best of the repeats counts.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from crowdcount.data.sample import read_image
from crowdcount.errors import InputError
from crowdcount.geometry import Points, as_points, block_counts
from crowdcount.losses.transport import transport

Row = dict[str, Any]
Result = TypeVar("Result")


def main() -> None:
    """Run one benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--threads", type=_positive, default=1, help="of torch and OpenCV (default %(default)s)")
    shared.add_argument("--repeats", type=_positive, default=5, help="best of so many (default %(default)s)")
    shared.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    commands = parser.add_subparsers(required=True)

    losses = commands.add_parser("losses", parents=[shared], help="optimal transport, forward and backward")
    losses.add_argument(
        "--points", type=_positive, nargs="+", default=[100, 300, 1000, 3000], help="points of each image"
    )
    losses.add_argument("--batch", type=_positive, default=8, help="images (default %(default)s)")
    losses.add_argument("--crop", type=_positive, default=448, help="image side in pixels (default %(default)s)")
    losses.add_argument("--stride", type=_positive, default=8, help="block side in pixels (default %(default)s)")
    losses.set_defaults(run=losses_benchmark)

    loader = commands.add_parser("loader", parents=[shared], help="decode an image and crop it")
    loader.add_argument("--image", type=Path, help="a JPEG of yours instead of a generated one of 2902 x 2013")
    loader.add_argument("--crop", type=_positive, default=448, help="crop side in pixels (default %(default)s)")
    loader.set_defaults(run=loader_benchmark)

    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    try:
        rows = arguments.run(arguments)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    _print_table(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def losses_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time the transport term of DM-Count beside a dense loop over images, and compare the gradients."""
    return [_losses_row(count, arguments) for count in arguments.points]


def _losses_row(count: int, arguments: argparse.Namespace) -> Row:
    stride = arguments.stride
    points, density = _crowd(count, arguments.batch, arguments.crop, stride)

    def ours() -> Tensor:
        return _gradient(density, transport(density, points, stride).sum())

    def published() -> Tensor:
        return _gradient(density, _published_transport(density, points, stride))

    (slow, fast), (expected, got) = _race([published, ours], arguments.repeats, f"{count} points")
    return {
        "points per image": count,
        "published ms": slow * 1e3,
        "ours ms": fast * 1e3,
        "ratio": slow / fast,
        "gradient rel. difference": _relative_difference(got, expected),
    }


def loader_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time decoding and cropping as bytes beside decoding everything to floats first."""
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.image or _photo(Path(folder) / "photo.jpg", 2902, 2013)
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
            return _published_decode(path)[:, top : top + side, left : left + side]

        (slow, fast), (expected, got) = _race([published, ours], arguments.repeats, path.name)
        row = {
            "image": f"{width}x{height}",
            "bits per pixel": path.stat().st_size * 8 / (width * height),
            "published ms": slow * 1e3,
            "ours ms": fast * 1e3,
            "ratio": slow / fast,
            "largest difference of 255": (got - expected).abs().amax().item() * 255,
        }
    return [row]


def _race(
    contestants: list[Callable[[], Result]], repeats: int, what: str
) -> tuple[tuple[float, ...], tuple[Result, ...]]:
    """Return the best time in seconds of each, taken in turns, and what each returned."""
    best = [float("inf")] * len(contestants)
    results: dict[int, Result] = {}
    for _ in tqdm(range(repeats), desc=what, leave=False, disable=None):
        for index, contestant in enumerate(contestants):
            start = time.perf_counter()
            results[index] = contestant()
            best[index] = min(best[index], time.perf_counter() - start)
    return tuple(best), tuple(results[index] for index in range(len(contestants)))


def _print_table(rows: list[Row]) -> None:
    """Print rows with the same keys under one heading."""
    heading = list(rows[0])
    print("  ".join(heading))
    for row in rows:
        print("  ".join(_cell(row[name]).rjust(len(name)) for name in heading))


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _relative_difference(got: Tensor, expected: Tensor) -> float:
    """Return the largest over the images of max |got - expected| / max |expected|."""
    largest = expected.flatten(1).abs().amax(dim=1)
    return ((got - expected).flatten(1).abs().amax(dim=1) / largest).max().item()


def _gradient(density: Tensor, loss: Tensor) -> Tensor:
    return torch.autograd.grad(loss, density)[0]


def _crowd(count: int, batch: int, side: int, stride: int) -> tuple[list[Points], Tensor]:
    """Return points, half of them uniform and half in groups, and a density (batch, 1, ...) that half fits them."""
    random = np.random.default_rng(count)
    points, maps = [], []
    for _ in range(batch):
        grouped = count // 2
        centres = random.uniform(0, side, (6, 2))[random.integers(6, size=grouped)]
        groups = np.clip(centres + random.normal(0, side / 16, (grouped, 2)), 0, side - 0.01)
        points.append(as_points(np.concatenate([random.uniform(0, side - 0.01, (count - grouped, 2)), groups])))
        blocks = block_counts(points[-1], side, side, stride)
        maps.append(0.5 * blocks + random.gamma(0.5, count / blocks.size, blocks.shape))
    return points, torch.from_numpy(np.stack(maps)[:, None]).float().requires_grad_()


def _published_transport(density: Tensor, points: list[Points], stride: int) -> Tensor:
    """Return the transport term summed over the batch: a dense kernel and a loop for each image."""
    total = density.new_zeros(())
    for each, cell in zip(points, density, strict=True):
        flat = cell.flatten()
        cost = _published_cost(torch.from_numpy(each), cell.shape[-1], stride)
        mass = flat.detach().sum()
        plan, beta = _published_sinkhorn(cost, flat.detach() / (mass + 1e-8))
        # also computed there, and never used
        _ = (cost * plan).sum()
        square = mass * mass
        gradient = mass / (square + 1e-8) * beta - (flat.detach() * beta).sum() / (square + 1e-8)
        total = total + (flat * gradient).sum()
    return total


def _published_cost(points: Tensor, cells: int, stride: int) -> Tensor:
    """Return the (n, cells^2) squared distances of points and block centres."""
    centres = torch.arange(cells, dtype=torch.float32)[None] * stride + stride / 2
    x, y = points[:, :1], points[:, 1:]
    along_x = -2 * (x @ centres) + x * x + centres * centres
    along_y = -2 * (y @ centres) + y * y + centres * centres
    return (along_y[:, :, None] + along_x[:, None, :]).flatten(1)


def _published_sinkhorn(cost: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the transport plan (n, blocks) and the potential of the blocks."""
    n, blocks = cost.shape
    source = torch.full((n,), 1 / n)
    kernel = torch.exp(cost / -10)
    u, v = source.clone(), torch.full((blocks,), 1 / blocks)
    for iteration in range(1, 101):
        before = u, v
        v = target / (u @ kernel + 1e-16)
        u = source / (kernel @ v + 1e-16)
        if v.isnan().any() or u.isnan().any() or v.isinf().any() or u.isinf().any():
            u, v = before
            break
        if iteration % 10 == 0 and (target - v * (u @ kernel)).square().sum().item() <= 1e-9:
            break
    return u[:, None] * kernel * v, 10 * torch.log(v + 1e-16)


def _published_decode(path: Path) -> Tensor:
    """Decode a whole image to floats (3, H, W), as torchvision's ToTensor does, and copy it."""
    image = np.array(Image.open(path).convert("RGB"))
    return torch.from_numpy(image).permute(2, 0, 1).contiguous().float().div(255).clone()


def _photo(path: Path, width: int, height: int) -> Path:
    """Write a generated JPEG (quality 95) of gradients and blurred noise.

    It has 1.8 bits per pixel; the photos of ShanghaiTech have 1.9 (part A) and 1.6 (part B), and decoding time goes
    with that number.
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


if __name__ == "__main__":
    main()
