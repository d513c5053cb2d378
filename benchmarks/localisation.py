"""Matching of points with heads, compared with augmenting paths over a dense distance matrix."""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from tqdm import tqdm

from benchmarks.race import Commands, Row, positive
from crowdcount.errors import InputError
from crowdcount.metrics.nwpu_localisation import boxes_to_heads, hits, pairs_within

Whole = NDArray[np.int64]
Neighbours = Callable[[int], Iterator[int]]

_LEVELS = ((0, 0, 35), (1, 100, 146), (101, 500, 229), (501, 3500, 85))
"""Minimum and maximum people per image and the number of images, as in the validation split of NWPU-Crowd."""

_LARGEST = (5600, 7000, 10_400, 11_500, 12_924)
_SIZE = (3200, 2200)
_IMAGES = sum(images for _, _, images in _LEVELS) + len(_LARGEST)


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    localisation = commands.add_parser("localisation", parents=[shared], help="match points with heads")
    localisation.add_argument(
        "--points", type=positive, default=196_238, help=f"heads of {_IMAGES} images (default %(default)s)"
    )
    localisation.set_defaults(run=localisation_benchmark)


def localisation_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time each side on the same images: the matrix once, the others as the best of the repeats.

    CPU time is measured, since all three use one thread and may wait on a shared machine.
    """
    sides = {
        "ours": (_our_hits, arguments.repeats),
        "lists": (_list_hits, arguments.repeats),
        "matrix": (_matrix_hits, 1),
    }
    counts = _counts(arguments.points)
    scenes = [_scene(count, index) for index, count in enumerate(tqdm(counts, "images", leave=False, disable=None))]
    seconds = dict.fromkeys(sides, float("inf"))
    found: dict[str, list[int]] = {}
    for side, (function, repeats) in sides.items():
        for _ in tqdm(range(repeats), side, leave=False, disable=None):
            start = time.process_time()
            found[side] = [function(*scene) for scene in scenes]
            seconds[side] = min(seconds[side], time.process_time() - start)
    heads, points = (sum(len(scene[part]) for scene in scenes) for part in (1, 0))
    size = {"images": len(counts), "heads": heads, "points": points}
    return [{**size, **_row(side, seconds, found)} for side in ("matrix", "lists")]


def _row(side: str, seconds: dict[str, float], found: dict[str, list[int]]) -> Row:
    same = sum(a == b for a, b in zip(found[side], found["ours"], strict=True))
    return {
        "beside": side,
        "its CPU s": seconds[side],
        "ours CPU s": seconds["ours"],
        "ratio": seconds[side] / seconds["ours"],
        "TP": sum(found[side]),
        "our TP": sum(found["ours"]),
        "images with the same TP": f"{same} of {len(found[side])}",
    }


def _our_hits(predicted: Whole, true: Whole, radius: Whole) -> int:
    return hits(pairs_within(predicted, true, radius))[0]


def _matrix_hits(predicted: Whole, true: Whole, radius: Whole) -> int:
    """Return the true positives by Kuhn's algorithm on a dense matrix, whose rows are read again for each search."""
    if not len(predicted) or not len(true):
        return 0
    within = cdist(true, predicted) <= radius[:, None]
    return _kuhn(len(predicted), len(true), lambda head: (point for point, hit in enumerate(within[head]) if hit))


def _list_hits(predicted: Whole, true: Whole, radius: Whole) -> int:
    """Return the true positives with the neighbours of each head listed once from the matrix."""
    if not len(predicted) or not len(true):
        return 0
    near: list[list[int]] = [[] for _ in true]
    for head, point in np.argwhere(cdist(true, predicted) <= radius[:, None]).tolist():
        near[head].append(point)
    return _kuhn(len(predicted), len(true), lambda head: iter(near[head]))


def _kuhn(points: int, heads: int, near: Neighbours) -> int:
    """Return the size of a maximum matching, found head by head along augmenting paths."""
    owner = [-1] * points
    return sum(_augment(head, near, owner) for head in range(heads))


def _augment(root: int, near: Neighbours, owner: list[int]) -> bool:
    """Search depth first for an augmenting path from a head to a free point, and reassign the points along it.

    The path is kept in a list: in a crowd it may exceed Python's recursion limit.
    """
    seen = [False] * len(owner)
    path, choices = [root], [near(root)]
    taken: list[int] = []
    while path:
        point = next((point for point in choices[-1] if not seen[point]), None)
        if point is None:
            path.pop()
            choices.pop()
            if taken:
                taken.pop()
            continue
        seen[point] = True
        taken.append(point)
        if owner[point] < 0:
            for head, each in zip(path, taken, strict=True):
                owner[each] = head
            return True
        path.append(owner[point])
        choices.append(near(owner[point]))
    return False


def _counts(total: int) -> list[int]:
    """Return the number of people in each image; the fourth level makes up the sum."""
    few = [np.geomspace(max(low, 1), max(high, 1), images) * (high > 0) for low, high, images in _LEVELS[:3]]
    known = np.rint(np.concatenate([*few, _LARGEST])).astype(int)
    low, _, images = _LEVELS[3]
    rest = total - int(known.sum()) - low * images
    if not rest >= 0:
        raise InputError(f"--points: {total} is too few; give {total - rest} or more")
    shares = np.geomspace(1, 100, images)
    many = low + np.floor(rest * shares / shares.sum()).astype(int)
    many[-1] += rest - int((many - low).sum())
    return [*known.tolist(), *many.tolist()]


def _scene(count: int, seed: int) -> tuple[Whole, Whole, Whole]:
    """Return points, heads and radii of an image: groups of people, and boxes as large as their distances allow.

    Four heads in five have a point, displaced by a quarter of the head's size; one point in eight belongs to no head.
    """
    rng = np.random.default_rng(seed)
    places = _crowd(rng, count)
    spacing = np.full(count, 80.0)
    if count > 4:
        spacing = np.asarray(KDTree(places).query(places, k=4)[0])[:, 1:].mean(axis=1)
    side = (0.9 * spacing).clip(4, 150)
    corner = np.floor(places - np.stack([side, 1.25 * side], axis=1) / 2)
    boxes = np.concatenate([corner, corner + np.ceil(np.stack([side, 1.25 * side], axis=1))], axis=1)
    heads = boxes_to_heads(boxes)
    kept = rng.random(count) < 0.8
    found = places[kept] + rng.normal(0, 0.25, (int(kept.sum()), 2)) * side[kept, None]
    wrong = _crowd(rng, count // 9)
    return np.floor(np.concatenate([found, wrong])).astype(np.int64), heads.points, heads.sigma_l


def _crowd(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return (count, 2) positions, two thirds of them in groups of about eighty, denser towards the top."""
    height = _SIZE[1]
    grouped = 2 * count // 3
    groups = max(1, grouped // 80)
    centres = rng.uniform([0, 0.3 * height], _SIZE, (groups, 2))
    spread = 20 + 150 * (centres[:, 1] / height - 0.3)
    chosen = rng.integers(groups, size=grouped)
    close = centres[chosen] + rng.normal(0, 1, (grouped, 2)) * spread[chosen, None]
    loose = rng.uniform([0, 0.2 * height], _SIZE, (count - grouped, 2))
    return np.concatenate([close, loose]).clip(0, np.array(_SIZE) - 1.0)
