"""Density maps, compared with one filter of the whole image per point and with a loop over windows."""

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from tqdm import tqdm

from benchmarks.race import Commands, Row, positive, race
from crowdcount.cli.word_order import Values
from crowdcount.geometry import Kernel, Points, as_points, render_density


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    density = commands.add_parser("density", parents=[shared], help="render density maps from points")
    density.add_argument("--points", type=positive, action=Values, default=[100, 1000, 3000], help="points per image")
    density.add_argument("--width", type=positive, default=1024, help="of the image in pixels (default %(default)s)")
    density.add_argument("--height", type=positive, default=768, help="of the image in pixels (default %(default)s)")
    density.add_argument(
        "--reference-points",
        type=positive,
        default=1000,
        help="maximum number of points filtered one by one; beyond, the time is extrapolated (default %(default)s)",
    )
    density.set_defaults(run=density_benchmark)


def density_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time density maps against one filter of the whole image per point and, for one sigma, a loop over windows."""
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
    (fast, *loop), (got, *looped) = race(contestants, arguments.repeats, f"{count} points")
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


def _published_sigma(points: Points) -> NDArray[np.float64]:
    """Return 0.3 times the mean distance to the three nearest other points, as in CSRNet's script for part A."""
    distances = np.asarray(KDTree(points, leafsize=2048).query(points, k=4)[0])
    return np.asarray(0.1 * distances[:, 1:].sum(axis=1))


def _published_filters(points: Points, sigma: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """Filter an image with one dot for each point and add the results, as in CSRNet's script for part A.

    In the script a dot is 1 and the mass outside the image is lost; here a dot is 1 divided by the mass inside, so that
    the sums can be compared. The extra time is negligible.
    """
    from scipy.ndimage import gaussian_filter

    density = np.zeros((height, width), np.float32)
    for (x, y), each in tqdm(list(zip(points.astype(int).tolist(), sigma, strict=True)), leave=False, disable=None):
        dot = np.zeros((height, width), np.float32)
        dot[y, x] = 1 / (_mass_inside(x, width, each) * _mass_inside(y, height, each))
        density += gaussian_filter(dot, each, mode="constant")
    return density


def _mass_inside(pixel: int, length: int, sigma: float) -> float:
    """Return the mass of a Gaussian, truncated at 4 sigma as in scipy, on an axis of `length` pixels."""
    reach = int(4 * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * np.square(steps / sigma))
    return float(weights[(steps >= -pixel) & (steps < length - pixel)].sum() / weights.sum())


def _window_loop(points: Points, sigma: float, height: int, width: int) -> NDArray[np.float32]:
    """Add windows of one kernel in a loop; windows cut by the border are rescaled to 1."""
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
