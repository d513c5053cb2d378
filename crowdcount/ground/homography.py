"""Homographies between planes: normalised direct linear transform, degenerate configurations, residuals.

A homography H (3, 3) maps (x, y) to (a / c, b / c) with (a, b, c) = H (x, y, 1). Straight lines stay straight, so that
the image of a quadrilateral is the quadrilateral of the images of its corners, as long as c has one sign on it.
"""

from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError

Floats = NDArray[np.float64]

LEAST_POINTS: Final = 4
_ON_LINE: Final = 0.01
"""Distance from a line, relative to the extent of the points, up to which a point is on it."""
_SAME: Final = 1e-3
"""Distance, relative to the extent of the points, up to which two points are one."""


class Residual(NamedTuple):
    """Errors of a homography at its own points.

    Attributes:
        metres: (N,) distances on the ground.
        pixels: (N,) distances in the image.
    """

    metres: Floats
    pixels: Floats

    def rms(self) -> tuple[float, float]:
        """Return the root mean square in metres and in pixels."""
        return _rms(self.metres), _rms(self.pixels)


def fit_homography(source: Floats, target: Floats) -> Floats:
    """Fit the homography that maps points of one plane to those of another.

    The direct linear transform: every pair gives two equations that are linear in the entries of H, and the solution is
    the right singular vector of the smallest singular value. Both sets are first moved to their centre and scaled to a
    mean distance of sqrt(2), without which the equations are badly conditioned (Hartley, In defense of the eight-point
    algorithm, 1997).

    Args:
        source: (N, 2), N >= 4.
        target: (N, 2).

    Returns:
        (3, 3) with norm 1, positive where it maps the points: c > 0.

    Raises:
        InputError: the configuration is degenerate, see `check_points`; or the points are seen from no single side of
            their plane.
    """
    check_points(source, "in the image")
    check_points(target, "on the ground")
    from_source, from_target = _normalisation(source), _normalisation(target)
    x, y = apply_homography(from_source, source).T
    u, v = apply_homography(from_target, target).T
    none, one = np.zeros_like(x), np.ones_like(x)
    first = np.stack([x, y, one, none, none, none, -u * x, -u * y, -u], axis=1)
    second = np.stack([none, none, none, x, y, one, -v * x, -v * y, -v], axis=1)
    normal = np.linalg.svd(np.concatenate([first, second]))[2][-1].reshape(3, 3)
    found = np.linalg.solve(from_target, normal @ from_source)
    depth = homogeneous(source) @ found[2]
    if not (depth.min() > 0 or depth.max() < 0):
        raise InputError(
            "points: no camera sees them so, the horizon would pass between them; two of them may be swapped, in the "
            "image or on the ground"
        )
    scaled: Floats = found * np.sign(depth[0]) / np.linalg.norm(found)
    return scaled


def apply_homography(matrix: Floats, points: Floats) -> Floats:
    """Map points (..., 2); NaN where they are beyond the horizon, which is where c is not positive."""
    mapped = homogeneous(points) @ matrix.T
    depth = np.where(mapped[..., 2:] > 0, mapped[..., 2:], np.nan)
    result: Floats = mapped[..., :2] / depth
    return result


def invert(matrix: Floats) -> Floats:
    """Return the inverse of a homography, which is positive where that is: c (x, y, 1) is mapped to (u, v, 1) / c."""
    return np.asarray(np.linalg.inv(matrix), np.float64)


def homogeneous(points: Floats) -> Floats:
    """Append a 1 to points: (..., 2) to (..., 3)."""
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)


def residuals(pixels: Floats, metres: Floats, to_ground: Floats) -> Residual:
    """Return the errors of a homography from the image to the ground at points that are known in both."""
    on_ground = np.linalg.norm(apply_homography(to_ground, pixels) - metres, axis=1)
    in_image = np.linalg.norm(apply_homography(invert(to_ground), metres) - pixels, axis=1)
    return Residual(on_ground, in_image)


def leave_one_out(pixels: Floats, metres: Floats) -> Residual | None:
    """Return the error at each point of the homography of the others.

    Four points determine a homography, so that theirs has a residual of 0 whatever they are. None for four points; NaN
    for a point without which the others are degenerate, or that is beyond their horizon.
    """
    if len(pixels) <= LEAST_POINTS:
        return None
    found = [_left_out(pixels, metres, index) for index in range(len(pixels))]
    on_ground, in_image = np.array(found, np.float64).T
    return Residual(on_ground, in_image)


def _left_out(pixels: Floats, metres: Floats, index: int) -> tuple[float, float]:
    others = np.arange(len(pixels)) != index
    try:
        to_ground = fit_homography(pixels[others], metres[others])
    except InputError:  # this point alone keeps the configuration from being degenerate
        return np.nan, np.nan
    error = residuals(pixels[[index]], metres[[index]], to_ground)
    return float(error.metres[0]), float(error.pixels[0])


def check_points(points: Floats, where: str) -> None:
    """Check that points determine a homography.

    Raises:
        InputError: there are fewer than four, two are the same, or all but one are on a line.
    """
    if len(points) < LEAST_POINTS:
        raise InputError(f"points: {len(points)} determine no homography; give {LEAST_POINTS} or more")
    extent = float(np.ptp(points, axis=0).max())
    for first, second in combinations(range(len(points)), 2):
        if np.linalg.norm(points[first] - points[second]) <= _SAME * extent:
            raise InputError(f"points: {first + 1} and {second + 1} are the same {where}; take one of them out")
    for first, second in combinations(range(len(points)), 2):
        along = points[second] - points[first]
        offset = points - points[first]
        apart = np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0]) / np.linalg.norm(along)
        on_line = np.flatnonzero(apart <= _ON_LINE * extent) + 1
        if len(on_line) >= len(points) - 1:
            raise InputError(
                f"points: {', '.join(map(str, on_line))} are on a line {where}, which determines no homography; give "
                "points at the corners of a wide quadrilateral"
            )


def _normalisation(points: Floats) -> Floats:
    centre = points.mean(axis=0)
    scale = np.sqrt(2) / np.linalg.norm(points - centre, axis=1).mean()
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.nanmean(np.square(values)))) if np.isfinite(values).any() else float("nan")
