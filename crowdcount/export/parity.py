"""Comparison of an exported graph in its runtime with the network in torch, at several sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.export.graph import Graph

SIZES: Final = ((1, 1, 1), (2, 96, 160), (1, 224, 224), (3, 352, 256), (1, 448, 672))
"""Numbers, heights and widths of images at which graphs are compared, rounded up to what the network takes."""

TOLERANCE: Final = 1e-4
"""Largest difference of a graph from torch: of the count, and of a block as a share of the largest density."""

_FEW: Final = 1.0
"""Counts below this are compared as if they were this: a share of nearly nobody is no measure."""

Run = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]
"""Returns the outputs by name for normalised images (N, 3, H, W)."""


@dataclass(frozen=True)
class Parity:
    """A graph beside torch at one size.

    Attributes:
        images: number of images in the pass.
        height: height of the input in pixels.
        width: its width.
        count: count of all images in torch.
        count_error: difference of the graph's count.
        errors: largest difference of each output, by name, as a share of its largest value in torch.
    """

    images: int
    height: int
    width: int
    count: float
    count_error: float
    errors: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether all differences are within `TOLERANCE`."""
        count = abs(self.count_error) / max(abs(self.count), _FEW)
        return max(count, *self.errors.values()) <= TOLERANCE  # False for NaN as well


class ParityError(InputError):
    """An exported graph that does not compute what the network computes."""


def compare(graph: Graph, run: Run, least: int = 1) -> list[Parity]:
    """Run a graph in its runtime and in torch, at `SIZES`.

    Args:
        graph: the graph in torch.
        run: runs the exported one.
        least: smallest side of the exported one, in size divisors.

    Raises:
        ParityError: the runtime fails at some size.
    """
    divisor = graph.divisor
    results = []
    for images, *sides in SIZES:
        height, width = (max(-(-side // divisor), least) * divisor for side in sides)
        results.append(_compared(graph, run, noise(height, width, images)))
    return results


def check(results: Sequence[Parity], name: str) -> None:
    """Check that an exported graph computes what the network computes.

    Raises:
        ParityError: at some size it does not.
    """
    wrong = [each for each in results if not each.passed]
    if wrong:
        worst = wrong[0]
        size = _size(worst.images, worst.height, worst.width)
        raise ParityError(
            f"{name}: the exported graph counts {worst.count + worst.count_error:.6g} where torch counts "
            f"{worst.count:.6g}, at {size} pixels, and {len(wrong)} of {len(results)} sizes differ "
            "by more than rounding; no file was written. Please report it with the name of the model"
        )


def parity_table(results: Sequence[Parity]) -> str:
    """Return a line for each size: count in torch, difference, largest difference of each output."""
    names = list(results[0].errors)
    head = ["size", "count in torch", "difference", *(f"{name}, largest difference" for name in names)]
    lines = [
        [_size(each.images, each.height, each.width), f"{each.count:.4f}", f"{each.count_error:+.1e}"]
        + [f"{each.errors[name]:.1e}" for name in names]
        for each in results
    ]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *lines)
    )


def _size(images: int, height: int, width: int) -> str:
    return f"{width} x {height}" if images == 1 else f"{images} of {width} x {height}"


def _compared(graph: Graph, run: Run, images: NDArray[np.float32]) -> Parity:
    number, _, height, width = images.shape
    with torch.inference_mode():
        expected = {name: value.numpy() for name, value in graph.outputs(torch.from_numpy(images)).items()}
    try:
        found = run(images)
    except (RuntimeError, AssertionError, ValueError) as error:  # an InputError is a ValueError
        raise ParityError(
            f"the exported graph fails at {_size(number, height, width)} pixels ({error}); no file was written. Please "
            "report it with the name of the model"
        ) from error
    count, other = (float(each["density"].sum(dtype=np.float64)) for each in (expected, found))
    scales = {**expected, "size_difference": expected["density"]}  # it may be 0 up to rounding
    errors = {name: _error(found[name], value, scales[name]) for name, value in expected.items()}
    return Parity(number, height, width, count, other - count, errors)


def _error(found: NDArray[np.float32], expected: NDArray[np.float32], scale: NDArray[np.float32]) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / max(float(np.abs(scale).max()), 1e-12))


def noise(height: int, width: int, images: int = 1) -> NDArray[np.float32]:
    """Return normalised images (images, 3, height, width) of coarse shapes and fine noise, the same in every call."""
    return np.stack([_noise(height, width, seed) for seed in range(images)])


def _noise(height: int, width: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([height, width, seed])
    coarse = rng.standard_normal((height // 24 + 2, width // 24 + 2, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    image = image + 0.3 * np.asarray(rng.standard_normal(image.shape), np.float32)
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
