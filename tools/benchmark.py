"""Measure the package beside plain restatements of what published code does.

    python tools/benchmark.py losses --threads 1
    python tools/benchmark.py loader --threads 1 --image photo.jpg
    python tools/benchmark.py density --threads 1
    python tools/benchmark.py matching --threads 1

Both sides run in the same process, in turns; the best of the repeats counts. What takes minutes runs once.
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
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from crowdcount.data.sample import read_image
from crowdcount.errors import InputError
from crowdcount.geometry import Kernel, Points, as_points, block_counts, render_density
from crowdcount.losses.transport import transport
from crowdcount.models.rec.detections import Phrases, PointDetections
from crowdcount.models.rec.matcher import Match, PointMatcher

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

    density = commands.add_parser("density", parents=[shared], help="render density maps from points")
    density.add_argument("--points", type=_positive, nargs="+", default=[100, 1000, 3000], help="points of each image")
    density.add_argument("--width", type=_positive, default=1024, help="of the image in pixels (default %(default)s)")
    density.add_argument("--height", type=_positive, default=768, help="of the image in pixels (default %(default)s)")
    density.add_argument(
        "--reference-points",
        type=_positive,
        default=1000,
        help="filter whole images for so many points at most, extrapolate beyond (default %(default)s)",
    )
    density.set_defaults(run=density_benchmark)

    matching = commands.add_parser("matching", parents=[shared], help="assign queries to points, a batch at a time")
    matching.add_argument("--expressions", type=_positive, default=32, help="of the batch (default %(default)s)")
    matching.add_argument("--queries", type=_positive, default=1024, help="of each expression (default %(default)s)")
    matching.add_argument("--points", type=_positive, default=100, help="of each expression (default %(default)s)")
    matching.add_argument("--words", type=_positive, default=8, help="of each expression (default %(default)s)")
    matching.add_argument(
        "--columns", type=_positive, nargs="+", default=[16, 256], help="of the scores, padding included"
    )
    matching.set_defaults(run=matching_benchmark)

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


def density_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time density maps beside a filter of the whole image per point and, for one sigma, a loop over windows."""
    kernels = [Kernel(adaptive=True, size=None), Kernel(sigma=4, size=None)]
    return [_density_row(count, kernel, arguments) for kernel in kernels for count in arguments.points]


def _density_row(count: int, kernel: Kernel, arguments: argparse.Namespace) -> Row:
    size = height, width = arguments.height, arguments.width
    points = as_points(np.random.default_rng(count).uniform(0, [width - 0.01, height - 0.01], (count, 2)))
    timed = min(count, arguments.reference_points)
    sigma = _published_sigma(points) if kernel.adaptive else np.full(count, kernel.sigma)
    start = time.perf_counter()
    filtered = _published_filters(points[:timed], sigma[:timed], *size)
    slow = (time.perf_counter() - start) * count / timed
    contestants = [lambda: render_density(points, *size, kernel)]
    if not kernel.adaptive:
        contestants.append(lambda: _window_loop(points, kernel.sigma, *size))
    (fast, *loop), (got, *looped) = _race(contestants, arguments.repeats, f"{count} points")
    return {
        "kernel": "adaptive" if kernel.adaptive else f"sigma {kernel.sigma:g}",
        "points": count,
        "mean sigma": float(sigma.mean()),
        "filters s": slow,
        "timed on": "all" if timed == count else f"{timed}, extrapolated",
        "loop ms": loop[0] * 1e3 if loop else None,
        "ours ms": fast * 1e3,
        "filters/ours": slow / fast,
        "loop/ours": loop[0] / fast if loop else None,
        "difference to filters": float(np.abs(got - filtered).max()) if timed == count else None,
        "to loop": float(np.abs(got - looped[0]).max()) if looped else None,
    }


def matching_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time a matching for each expression beside one cost matrix of all queries of the batch by all its points."""
    return [_matching_row(columns, arguments) for columns in arguments.columns]


def _matching_row(columns: int, arguments: argparse.Namespace) -> Row:
    detections, targets = _expressions(columns, arguments)
    matcher = PointMatcher()
    contestants = [lambda: _published_matching(detections, targets, matcher), lambda: matcher(detections, targets)]
    (slow, fast), (expected, got) = _race(contestants, arguments.repeats, f"{columns} columns")
    same = sum(map(_equal_matches, expected, got))
    return {
        "expressions x queries x points": f"{len(targets)} x {arguments.queries} x {arguments.points}",
        "columns": columns,
        "one matrix ms": slow * 1e3,
        "ours ms": fast * 1e3,
        "ratio": slow / fast,
        "same assignments": f"{same} of {len(targets)}",
    }


def _equal_matches(expected: Match, got: Match) -> bool:
    return all(map(torch.equal, expected, got))


def _expressions(columns: int, arguments: argparse.Namespace) -> tuple[PointDetections, list[Tensor]]:
    """Return random detections, with -inf for padding, and as many points for each expression."""
    random = torch.Generator().manual_seed(columns)
    rows, queries, size = arguments.expressions, arguments.queries, arguments.words + 3
    if size > columns:
        raise InputError(f"--columns: {columns} can't hold {arguments.words} words, [CLS], a full stop and [SEP]")
    tokens = (torch.arange(columns) < size).expand(rows, columns)
    labels = (torch.arange(columns) < size - 2).expand(rows, columns)
    phrases = Phrases(tokens.long(), tokens, labels, labels, tokens)
    logits = torch.randn(rows, queries, columns, generator=random).masked_fill(~tokens[:, None], -torch.inf)
    centres = torch.rand(rows, queries, 2, generator=random)
    features = torch.zeros(rows, queries, 1)
    text = torch.zeros(rows, columns, 1)
    detections = PointDetections(logits, centres, centres, features, text, phrases, torch.zeros(rows).long())
    return detections, list(torch.rand(rows, arguments.points, 2, generator=random))


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
    table = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


def _cell(value: object) -> str:
    if value is None:
        return "-"
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


def _published_sigma(points: Points) -> NDArray[np.float64]:
    """Return 0.3 times the mean distance to the three nearest other points, as CSRNet's script for part A does."""
    distances = np.asarray(KDTree(points, leafsize=2048).query(points, k=4)[0])
    return np.asarray(0.1 * distances[:, 1:].sum(axis=1))


def _published_filters(points: Points, sigma: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """Filter an image with one dot for each point and add them up, as CSRNet's script for part A does.

    There a dot is 1 and what falls outside the image is lost; here it is 1 over the part inside, so that the sum can be
    compared. That takes no time of note.
    """
    from scipy.ndimage import gaussian_filter

    density = np.zeros((height, width), np.float32)
    for (x, y), each in tqdm(list(zip(points.astype(int).tolist(), sigma, strict=True)), leave=False, disable=None):
        dot = np.zeros((height, width), np.float32)
        dot[y, x] = 1 / (_mass_inside(x, width, each) * _mass_inside(y, height, each))
        density += gaussian_filter(dot, each, mode="constant")
    return density


def _mass_inside(pixel: int, length: int, sigma: float) -> float:
    """Return the part of a Gaussian, cut at 4 sigma as scipy does, that lies on an axis of `length` pixels."""
    reach = int(4 * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * np.square(steps / sigma))
    return float(weights[(steps >= -pixel) & (steps < length - pixel)].sum() / weights.sum())


def _window_loop(points: Points, sigma: float, height: int, width: int) -> NDArray[np.float32]:
    """Add one window after the other of a kernel computed once; one cut by the border is scaled to 1."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    kernel = (np.outer(weights, weights) / weights.sum() ** 2).astype(np.float32)
    density = np.zeros((height, width), np.float32)
    for x, y in points.astype(int).tolist():
        left, right, up, down = min(x, reach), min(width - 1 - x, reach), min(y, reach), min(height - 1 - y, reach)
        window = kernel[reach - up : reach + down + 1, reach - left : reach + right + 1]
        if window.size < kernel.size:
            window = window / window.sum()
        density[y - up : y + down + 1, x - left : x + right + 1] += window
    return density


def _published_matching(detections: PointDetections, targets: list[Tensor], matcher: PointMatcher) -> list[Match]:
    """Compute the costs of all queries of the batch and all its points, cut out each expression's and assign them."""
    rows, queries = detections.points.shape[:2]
    sizes = torch.tensor([len(each) for each in targets])
    logits = detections.logits.masked_fill(~detections.phrases.tokens[:, None], 0).flatten(0, 1)
    labels = detections.phrases.labels.repeat_interleave(sizes, dim=0)
    others = (detections.phrases.tokens & ~detections.phrases.labels).repeat_interleave(sizes, dim=0)
    classes = functional.softplus(-logits) @ labels.float().T + functional.softplus(logits) @ others.float().T
    distances = torch.cdist(detections.points.flatten(0, 1), torch.cat(targets), p=1)
    cost = matcher.class_cost / matcher.columns * classes + matcher.point_cost * distances
    blocks = np.split(cost.view(rows, queries, -1).numpy(), sizes.cumsum(0)[:-1].tolist(), axis=2)
    matches = [linear_sum_assignment(block[row]) for row, block in enumerate(blocks)]
    return [(torch.from_numpy(query), torch.from_numpy(point)) for query, point in matches]


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
