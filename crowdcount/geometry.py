"""Points, density maps and the pixel convention of the package.

Continuous frame: pixel *i* covers [i, i + 1). A point (x, y) is inside an image of width W and height H when
0 <= x < W and 0 <= y < H; scaling an image by s maps x to s * x; a horizontal flip maps x to W - x.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.spatial import KDTree

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError

Points = NDArray[np.float32]
"""(N, 2) array of x, y in pixels."""


def as_points(values: object) -> Points:
    """Return array-like `values` of 2N numbers, or empty, as (N, 2) float32."""
    return np.asarray(values, dtype=np.float32).reshape(-1, 2)


def inside(points: Points, width: float, height: float) -> NDArray[np.bool_]:
    """Return the (N,) mask of the points with 0 <= x < width and 0 <= y < height."""
    x, y = points[:, 0], points[:, 1]
    mask: NDArray[np.bool_] = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return mask


def crop_points(points: Points, left: float, top: float, width: float, height: float) -> Points:
    """Return the points inside a crop, in the frame of the crop.

    Example:
        >>> crop_points(as_points([(10, 20), (70, 20)]), left=8, top=8, width=32, height=32)
        array([[ 2., 12.]], dtype=float32)
    """
    moved = points - np.array([left, top], np.float32)
    return moved[inside(moved, width, height)]


def resize_points(points: Points, old: tuple[int, int], new: tuple[int, int]) -> Points:
    """Return the points of a resized image; rounding moves no point across the border.

    Args:
        points: (N, 2) in the frame of the old size.
        old: width and height before.
        new: width and height after.
    """
    # In double precision no float32 below `old` comes so near to `new` that it is rounded up to it.
    return (points.astype(np.float64) * new / old).astype(np.float32)


def flip_points(points: Points, width: float) -> Points:
    """Return the points of a horizontally flipped image; points inside stay inside.

    x = 0 would map to `width`, which is outside: it maps to the largest float32 below.
    """
    x = points[:, 0]
    flipped = np.float32(width) - x
    below = np.nextafter(np.float32(width), np.float32(0))
    return np.stack([np.where(x >= 0, np.minimum(flipped, below), flipped), points[:, 1]], axis=1)


def block_counts(
    points: Points, height: int, width: int, stride: int, *, once_per_pixel: bool = False
) -> NDArray[np.float32]:
    """Count the points in every stride x stride block.

    Args:
        points: (N, 2); points outside the map are ignored.
        height: image height in pixels.
        width: image width in pixels.
        stride: block side in pixels; a remainder at the right or bottom belongs to no block.
        once_per_pixel: count a pixel at most once, however many points it holds, like the label maps of the published
            CLIP-EBC code.

    Returns:
        (height // stride, width // stride) float32; without `once_per_pixel`, its sum is the number of points inside
        the covered area.
    """
    rows, columns = height // stride, width // stride
    pixels = points[inside(points, columns * stride, rows * stride)].astype(np.int64)
    if once_per_pixel:
        pixels = np.unique(pixels, axis=0)
    cells = pixels // stride
    flat = np.bincount(cells[:, 1] * columns + cells[:, 0], minlength=rows * columns)
    return flat.astype(np.float32).reshape(rows, columns)


@dataclass(frozen=True)
class Kernel:
    """Kernel of a density map: a Gaussian sampled at whole pixels within a square window.

    It is centred on the pixel that holds the point. If the image border cuts the window, the part inside is rescaled
    to sum to 1, so that the sum of a map is its number of people.

    Args:
        sigma: standard deviation in pixels; with `adaptive`, that of a single point.
        size: side of the window in pixels, odd; null extends int(4 sigma + 0.5) pixels to each side. The defaults of
            size and sigma are the kernel that the published HMoDE was trained on.
        adaptive: set the sigma of each point to 0.3 times its mean distance to the three nearest other points inside
            the image, or to as many as there are: the usual reading of MCNN (Zhang et al., CVPR 2016). Coincident
            points have distance 0; a sigma of 0 gives a single pixel. Needs `size: null`.
        compat: `released` for the border rule of the published HMoDE maps (made with a script of SASNet). The window
            is centred on the pixel to the left of and above the one that holds the point (in the first column and row,
            on that pixel itself), and a window cut by the border holds a Gaussian centred on the remaining part.
            Needs a fixed sigma and a size. (Those maps also include points outside the image, moved inside; here
            they are ignored.)

    Raises:
        InputError: if a number is out of range or options exclude each other.
    """

    sigma: float = 4.0
    size: int | None = 15
    adaptive: bool = False
    compat: Literal["released"] | None = None

    def __post_init__(self) -> None:
        check_number("kernel.sigma", self.sigma, 0, above=True, hint="in pixels")
        if self.size is not None and (self.size < 1 or self.size % 2 != 1):
            raise InputError(
                f"kernel.size: {self.size}; give an odd number of pixels, or null for 4 sigma to each side"
            )
        check_choice("kernel.compat", self.compat, (None, "released"))
        if self.adaptive and self.size is not None:
            raise InputError(
                f"kernel.size: {self.size}; with adaptive set it to null, each point has a window of its own"
            )
        if self.compat and self.size is None:
            raise InputError("kernel.compat: released needs a size and a fixed sigma; the published maps have 15 and 4")


_DEFAULT = Kernel()


def render_density(points: Points, height: int, width: int, kernel: Kernel = _DEFAULT) -> NDArray[np.float32]:
    """Render the density map of one image.

    A Gaussian is separable, so a map is a product of two sparse matrices of weights along y and x; the weights include
    the border rules.

    Args:
        points: (N, 2); points outside the image are ignored.
        height: image height in pixels.
        width: image width in pixels.
        kernel: kernel placed at each point.

    Returns:
        (height, width) float32, people per pixel; up to rounding, its sum is the number of points inside the image.
    """
    kept = points[inside(points, width, height)]
    if not len(kept):
        return np.zeros((height, width), np.float32)
    x, y = kept.astype(np.int64).T
    sigma = _adaptive_sigma(kept, kernel.sigma) if kernel.adaptive else np.array([kernel.sigma])
    if kernel.adaptive or len(kept) <= 100:
        return (_spread(y, height, sigma, kernel).T @ _spread(x, width, sigma, kernel)).toarray(order="C")
    # Many points with one sigma: filter the whole map by the weights of its rows and columns, which costs the same
    # for any number.
    counts = coo_array((np.ones(len(kept), np.float32), (y, x)), shape=(height, width)).tocsr()
    down, across = (_spread(np.arange(n), n, sigma, kernel) for n in (height, width))
    return down.T @ (counts @ across).toarray()


def _adaptive_sigma(points: Points, alone: float) -> NDArray[np.float64]:
    """Return (N,) 0.3 times the mean distance to the three nearest other points; `alone` for a single point."""
    if len(points) == 1:
        return np.array([alone])
    # A tree asked for more neighbours than it holds answers inf. The nearest is the point itself, or its double.
    distances, _ = KDTree(points).query(points, k=min(4, len(points)))
    sigma: NDArray[np.float64] = 0.3 * np.asarray(distances)[:, 1:].mean(axis=1)
    return sigma


def _spread(
    centres: NDArray[np.int64], length: int, sigma: NDArray[np.float64], kernel: Kernel
) -> "csr_array[np.float32, tuple[int, int]]":  # no type parameters in scipy 1.13
    """Return the (N, length) weights of N points along one axis of an image; each row sums to 1.

    Args:
        centres: (N,) pixels that hold the points.
        length: height or width in pixels.
        sigma: (N,) or (1,) pixels.
        kernel: window and border rule.
    """
    # At 0.1 px the nearest pixels hold everything to rounding; much below, the weights could all underflow.
    sigma = np.broadcast_to(np.maximum(sigma, 0.1), centres.shape)
    reach = np.minimum(4 * sigma + 0.5 if kernel.size is None else kernel.size // 2, length).astype(np.int64)
    if kernel.compat == "released":
        centres = np.maximum(centres - 1, 0)
    first, last = np.maximum(centres - reach, 0), np.minimum(centres + reach, length - 1)
    middle = (first + last) / 2 if kernel.compat == "released" else centres
    sides = last - first + 1
    rows = np.concatenate([[0], np.cumsum(sides)])
    columns = np.arange(rows[-1]) - np.repeat(rows[:-1] - first, sides)
    weights = np.exp(-0.5 * np.square((columns - np.repeat(middle, sides)) / np.repeat(sigma, sides)))
    weights /= np.repeat(np.add.reduceat(weights, rows[:-1]), sides)
    return csr_array((weights.astype(np.float32), columns, rows), shape=(len(centres), length))
