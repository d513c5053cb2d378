"""Duplicate images: a perceptual hash finds candidates, a comparison of details confirms them."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from tqdm import tqdm

Grey = NDArray[np.integer[Any] | np.floating[Any]]

_SIDE: Final = 128
_COSINES: Final = dct(np.eye(32), axis=0, norm="ortho")[:8].astype(np.float32)
_NEAR: Final = 12
"""Maximum Hamming distance between the 64-bit hashes of candidates."""
_ALIKE: Final = 0.7
"""Minimum correlation of the details of duplicates.

Measured on the 882 images of ShanghaiTech A and of B's training split: the nine duplicates have 0.95 and more, all
other candidates 0.56 and less (two views of one square a few steps apart).
"""
_BLOCK: Final = 16
_LOCAL: Final = 0.6
"""Correlation of the details of a part, below which it shows something else; see `Pair.lowest`.

The nine duplicates of ShanghaiTech A have 0.69 and more; frames made of one image of B with 13 and 30 patches of
another, 0.2 and less.
"""
_NEIGHBOURS: Final = 10
"""Maximum number of candidates compared for each image: all frames of one camera are candidates of each other."""


def _windows() -> list[tuple[float, float, float, float]]:
    """Return left, top, width and height, as fractions, of the parts of an image that a crop of it may show."""
    windows = [(0.0, 0.0, 1.0, 1.0)]
    for side in (0.9, 0.8, 0.7):
        places = [0.0, (1 - side) / 2, 1 - side]
        windows += [(x, y, side, side) for x in places for y in places]
        windows += [(0.0, y, 1.0, side) for y in places] + [(x, 0.0, side, 1.0) for x in places]
    return windows


WINDOWS: Final = _windows()
"""The whole image first, then trimmed by up to 30 % on one axis or both."""


@dataclass(frozen=True)
class Appearance:
    """Reduced content of an image for comparison.

    Attributes:
        hashes: (46,) uint64, one for each of `WINDOWS`: 64 bits of the discrete cosine transform.
        small: (128, 128) uint8, the image in grey.
    """

    hashes: NDArray[np.uint64]
    small: NDArray[np.uint8]


class Pair(NamedTuple):
    """Two images that are alike.

    Attributes:
        one: index of the first.
        other: index of the second, which is higher.
        likeness: correlation of their details.
        lowest: the same in the part of the image where it is lowest. Copies agree everywhere (up to a mark on one of
            them); frames of a fixed camera agree in the background and not where people have moved.
    """

    one: int
    other: int
    likeness: float
    lowest: float

    @property
    def is_copy(self) -> bool:
        """Whether the images agree everywhere."""
        return self.lowest >= _LOCAL


def image_hash(grey: NDArray[np.uint8]) -> Appearance:
    """Return the appearance of an image (H, W) uint8."""
    double = cv2.resize(grey, (2 * _SIDE, 2 * _SIDE), interpolation=cv2.INTER_AREA)
    corners = (np.array(WINDOWS) * 2 * _SIDE).round().astype(int)
    parts = [cv2.resize(double[y : y + h, x : x + w], (32, 32), interpolation=cv2.INTER_AREA) for x, y, w, h in corners]
    small = cv2.resize(double, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return Appearance(_hashes(np.stack(parts)), small)


def _hashes(parts: Grey) -> NDArray[np.uint64]:
    """Return a bit for each of the 8 x 8 lowest frequencies, set if its coefficient is above their median.

    Args:
        parts: (N, 32, 32) grey.

    Returns:
        (N,) uint64.
    """
    frequencies = (_COSINES @ parts.astype(np.float32) @ _COSINES.T).reshape(len(parts), 64)
    bits = np.packbits(frequencies > np.median(frequencies, axis=1, keepdims=True), axis=1)
    return bits.view(np.uint64)[:, 0]


def find_duplicates(prints: list[Appearance]) -> list[Pair]:
    """Return pairs of duplicate images, including compressed, resized, toned and cropped copies.

    Frames of a fixed camera are such pairs as well, as they share their background: see `Pair.is_copy`.

    Of 150 images of ShanghaiTech, resized by 0.8, brightened and saved as JPEG of quality 50, all were found, also with
    10 % of both sides cropped; with 15 %, 20 % and 25 % cropped, 97 %, 75 % and 45 %. Mirrored and rotated copies are
    not found.

    Args:
        prints: appearances of all images.

    Returns:
        Sorted pairs.
    """
    found: dict[tuple[int, int], tuple[float, float]] = {}
    if prints:
        hashes = np.stack([each.hashes for each in prints])  # (N, windows)
        for i in tqdm(range(len(prints)), desc="comparing", unit="image", delay=2, disable=None):
            for j, window in _candidates(hashes, i):
                pair = (min(i, j), max(i, j))
                if pair not in found:
                    alike = compare(prints[i].small, prints[j].small, window)
                    if alike[0] >= _ALIKE:
                        found[pair] = alike
    return [Pair(*pair, *alike) for pair, alike in sorted(found.items())]


def is_copy(one: Appearance, other: Appearance) -> bool:
    """Return whether one image is a copy of another, also resized, compressed or trimmed; see `find_duplicates`.

    Frames of a fixed camera are no copies of each other where people have moved.
    """
    for first, second in ((one, other), (other, one)):
        distances = np.bitwise_count(second.hashes ^ first.hashes[0])
        window = int(distances.argmin())
        if distances[window] <= _NEAR:
            likeness, lowest = compare(first.small, second.small, window)
            if likeness >= _ALIKE and lowest >= _LOCAL:
                return True
    return False


def _candidates(hashes: NDArray[np.uint64], index: int) -> list[tuple[int, int]]:
    """Return images with a window whose hash is close to that of a whole image, nearest first, and the window."""
    distances = np.bitwise_count(hashes ^ hashes[index, 0])  # (N, windows)
    nearest = distances.min(axis=1).astype(np.int64)
    nearest[index] = 65
    order = np.argsort(nearest, kind="stable")[:_NEIGHBOURS]
    return [(int(j), int(distances[j].argmin())) for j in order if nearest[j] <= _NEAR]


def compare(one: NDArray[np.uint8], other: NDArray[np.uint8], window: int) -> tuple[float, float]:
    """Return the correlation of the details of an image with those of an aligned window of another, whole and lowest.

    Details are what a blur removes: the hash ignores them, and crowds with the same light and composition differ in
    them.

    Args:
        one: (128, 128) grey.
        other: (128, 128) grey.
        window: index of the window of `other` that matches `one`.

    Returns:
        The correlation over the whole image, and the lowest of its 16 x 16 parts with details.
    """
    warp = _alignment(one, other, window)
    size = (_SIDE, _SIDE)
    aligned = cv2.warpAffine(other, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    covered = cv2.warpAffine(np.ones(size, np.uint8), warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    if np.count_nonzero(covered) < _SIDE * _SIDE / 2:
        return 0.0, 0.0
    first, second = (np.where(covered, _detail(grey), 0) for grey in (one, aligned))
    if not (first.any() and second.any()):
        return 0.0, 0.0
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    return float((first * second).sum()), _lowest(first, second, covered)


def _lowest(first: NDArray[np.float32], second: NDArray[np.float32], covered: NDArray[np.bool_]) -> float:
    """Return the lowest correlation of two images of details in a block that is covered and has details."""
    products, one, other, inner = (
        each.reshape(_SIDE // _BLOCK, _BLOCK, _SIDE // _BLOCK, _BLOCK).sum(axis=(1, 3), dtype=np.float64)
        for each in (first * second, first**2, second**2, covered)
    )
    energy = np.maximum(one, other)
    rich = (energy > energy.mean() / 4) & (inner == _BLOCK**2)
    return float((products[rich] / energy[rich]).min(initial=1.0))


def _alignment(one: NDArray[np.uint8], other: NDArray[np.uint8], window: int) -> NDArray[np.float32]:
    """Return the (2, 3) affine map from pixels of `one` to those of `other`: the window, then refined."""
    x, y, width, height = WINDOWS[window]
    start = np.array([[width, 0, x * _SIDE], [0, height, y * _SIDE]], np.float32)
    steps = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    try:
        _, warp = cv2.findTransformECC(one, other, start.copy(), cv2.MOTION_AFFINE, steps, np.ones_like(one), 5)
    except cv2.error:  # it does not converge, as different images may not: compare them as they lie
        return start
    return np.asarray(warp, np.float32)


def _detail(grey: Grey) -> NDArray[np.float32]:
    values = grey.astype(np.float32)
    return (values - cv2.GaussianBlur(values, (0, 0), 4)).astype(np.float32)
