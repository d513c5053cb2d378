"""Points and the one pixel convention.

Continuous frame: pixel *i* covers [i, i + 1). A point (x, y) is inside an image of width W and height H when
0 <= x < W and 0 <= y < H; scaling an image by s maps x to s * x; a horizontal flip maps x to W - x.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""(N, 2) array of x, y in pixels."""


def as_points(values: object) -> Points:
    """Return `values` (anything array-like with 2N numbers, or empty) as (N, 2) float32."""
    return np.asarray(values, dtype=np.float32).reshape(-1, 2)


def inside(points: Points, width: float, height: float) -> NDArray[np.bool_]:
    """Return the (N,) mask of the points with 0 <= x < width and 0 <= y < height."""
    x, y = points[:, 0], points[:, 1]
    mask: NDArray[np.bool_] = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return mask


def crop_points(points: Points, left: float, top: float, width: float, height: float) -> Points:
    """Return the points inside the crop, in its own frame."""
    moved = points - np.array([left, top], np.float32)
    return moved[inside(moved, width, height)]


def resize_points(points: Points, old: tuple[int, int], new: tuple[int, int]) -> Points:
    """Return the points of an image resized to whole pixels; rounding moves none across its border.

    Args:
        points: (N, 2) in the frame of the old size.
        old: width and height before.
        new: width and height after.
    """
    # In double precision no float32 below `old` comes so near to `new` that it is rounded up to it.
    return (points.astype(np.float64) * new / old).astype(np.float32)


def flip_points(points: Points, width: float) -> Points:
    """Return the points of a horizontally flipped image; those inside stay inside.

    x = 0 would land on `width`, which is outside: it goes to the largest number below.
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
        points: (N, 2); those outside the map are left out.
        height: image height in pixels.
        width: image width in pixels.
        stride: block side in pixels. A remainder at the right or bottom belongs to no block.
        once_per_pixel: count a pixel once however many points it holds, as the label maps of the published
            CLIP-EBC code do.

    Returns:
        (height // stride, width // stride) float32; without `once_per_pixel` its sum is the number of points
        inside the covered area.
    """
    rows, columns = height // stride, width // stride
    pixels = points[inside(points, columns * stride, rows * stride)].astype(np.int64)
    if once_per_pixel:
        pixels = np.unique(pixels, axis=0)
    cells = pixels // stride
    flat = np.bincount(cells[:, 1] * columns + cells[:, 0], minlength=rows * columns)
    return flat.astype(np.float32).reshape(rows, columns)
