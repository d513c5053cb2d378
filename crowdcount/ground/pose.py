r"""Pose of a pinhole camera over a ground plane: from ground points, or from its tilt, horizon and lens.

The frame of the camera has x to the right, y down and z along the optical axis. Pixels are square and the optical axis
meets the image in its centre, so that the camera matrix is K = [[f, 0, cx], [0, f, cy], [0, 0, 1]] with the focal
length f in pixels. The ground has axes X and Y in metres and Z up; `up` is the unit vector of Z in the frame of the
camera.

A point (X, Y, Z) is seen at K (X r1 + Y r2 + Z up + t), with r1 and r2 the axes of the ground and t its origin in the
frame of the camera. A plane at height h is therefore mapped to the image by

    P(h) = K [r1  r2  t + h up] = P(0) + h [0  0  K up]        (1)

so that the plane of the heads follows from the plane of the ground, `up` and the scale of P(0). The camera is at
height -up . t, from t = -R C.

**From points.** A homography G from the ground to the image is P(0) up to a factor: G = P(0) / s. With M = K^-1 G, the
first two columns are r1 / s and r2 / s: equally long and at right angles (Zhang, A flexible new technique for camera
calibration, 2000). With w = 1 / f^2, g1 and g2 the columns of G after the centre of the image was moved to 0, a their
first two components and b the third one, that is

    (a1 . a2) w + b1 b2 = 0        (|a1|^2 - |a2|^2) w + b1^2 - b2^2 = 0        (2)

two equations for one unknown. Where the camera looks straight down, both vanish and f cannot be told from points; a
known height Hc of the camera then gives it: |det M| s^3 = Hc and s^2 = 2 / (|m1|^2 + |m2|^2) are together

    Hc^2 (alpha w + beta)^3 = 8 det(G)^2 w^2,  alpha = |a1|^2 + |a2|^2,  beta = b1^2 + b2^2        (3)

a cubic equation, of whose positive roots the one is taken that fits (2) best.

**From the horizon.** Points at infinity of the ground are seen on the line l = K^-T up (l . (u, v, 1) = 0), so that
up is K^T l but for its length and sign. Without roll the horizon is the row cy - f tan(tilt).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from crowdcount.errors import InputError
from crowdcount.ground.homography import Floats, invert

Size = tuple[int, int]
"""Width and height in pixels."""

_LENS: Final = "add focal_length, field_of_view, or the height of the camera"


@dataclass(frozen=True, eq=False)
class Pose:
    """A camera over the ground.

    Attributes:
        size: width and height in pixels of its images.
        focal: focal length in pixels.
        ground: P(0) of (1), (3, 3); the third component of a mapped point is its depth in metres.
        up: (3,) direction up in the frame of the camera.
        height: above the ground in metres.
    """

    size: Size
    focal: float
    ground: Floats
    up: Floats
    height: float

    @property
    def tilt(self) -> float:
        """Angle in degrees by which the camera looks down."""
        return math.degrees(math.asin(min(1.0, max(-1.0, -float(self.up[2])))))

    @property
    def foot(self) -> Floats:
        """(2,) X, Y in metres of the ground below the camera."""
        axes = np.linalg.solve(camera_matrix(self.size, self.focal), self.ground)
        found: Floats = np.linalg.lstsq(axes[:, :2], -self.height * self.up - axes[:, 2], rcond=None)[0]
        return found

    def to_plane(self, above: float) -> Floats:
        """Return the homography (3, 3) from the image to the plane at a height in metres, the inverse of P(h)."""
        raised = self.ground.copy()
        raised[:, 2] += above * camera_matrix(self.size, self.focal) @ self.up
        return invert(raised)


def camera_matrix(size: Size, focal: float) -> Floats:
    """Return K (3, 3) of square pixels, with the principal point in the centre of the image."""
    return np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])


def focal_of_view(size: Size, degrees: float) -> float:
    """Return the focal length in pixels of a horizontal field of view.

    Example:
        >>> round(focal_of_view((1920, 1080), 90), 6)
        960.0
    """
    return size[0] / 2 / math.tan(math.radians(degrees) / 2)


def focal_of_points(to_image: Floats, size: Size) -> float:
    """Return the focal length in pixels that makes the axes of the ground orthonormal, by least squares of (2).

    Args:
        to_image: (3, 3) homography from the ground to the image.
        size: of the image.

    Raises:
        InputError: there is none: the camera looks (almost) straight down, or the points are too inaccurate.
    """
    scale, offset = _orthonormality(to_image, size)
    inverse_square = -float(scale @ offset) / float(scale @ scale)
    if not inverse_square > 0 or not math.isfinite(inverse_square):
        raise InputError(f"points: do not tell the focal length, as when a camera looks straight down; {_LENS}")
    return 1 / math.sqrt(inverse_square)


def focal_of_height(to_image: Floats, size: Size, height: float) -> float:
    """Return the focal length in pixels with which the camera is at a height in metres, by (3).

    Raises:
        InputError: there is none.
    """
    centred = _centred(to_image, size)
    alpha, beta = float(np.square(centred[:2, :2]).sum()), float(np.square(centred[2, :2]).sum())
    cube = np.poly1d([alpha, beta]) ** 3 * height**2
    roots = (cube - np.poly1d([8 * np.linalg.det(centred) ** 2, 0, 0])).roots
    real = roots.real[(np.abs(roots.imag) < 1e-6 * np.abs(roots)) & (roots.real > 0)]
    if not len(real):
        raise InputError(f"height: {height} m does not go with the points at any focal length; correct one of them")
    scale, offset = _orthonormality(to_image, size)
    misfit = [float(np.linalg.norm(scale * root + offset)) / (alpha * root + beta) for root in real]
    return 1 / math.sqrt(real[int(np.argmin(misfit))])


def pose_of_ground(to_image: Floats, size: Size, focal: float) -> Pose:
    """Return the pose of a camera of which the homography of the ground is known.

    Args:
        to_image: (3, 3) homography from the ground to the image, with positive depths for what is seen.
        size: of the image.
        focal: in pixels.
    """
    matrix = np.linalg.solve(camera_matrix(size, focal), to_image)
    scale = math.sqrt(2 / float(np.square(matrix[:, :2]).sum()))
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    height = -float(normal @ matrix[:, 2]) / float(np.linalg.norm(normal)) * scale
    up = normal / np.linalg.norm(normal) * math.copysign(1, height)  # Y may be to the left or to the right of X
    return Pose(size, focal, to_image * scale, up, abs(height))


def axes_disagreement(to_image: Floats, size: Size, focal: float) -> tuple[float, float]:
    """Return how far the axes of the ground are from orthonormal: degrees beside 90, and ratio of their scales.

    Large values tell of pixels that are not square, of a cropped image, or of wrong metres.
    """
    first, second = np.linalg.solve(camera_matrix(size, focal), to_image)[:, :2].T
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    return math.degrees(math.asin(float(first @ second) / lengths[0] / lengths[1])), lengths[1] / lengths[0]


def up_of_tilt(tilt: float, roll: float = 0.0) -> Floats:
    """Return `up` of a camera that looks down by `tilt` degrees and is turned clockwise by `roll` degrees."""
    down, turn = math.radians(tilt), math.radians(roll)
    return np.array([-math.sin(turn) * math.cos(down), -math.cos(turn) * math.cos(down), -math.sin(down)])


def up_of_horizon(line: Floats, size: Size, focal: float) -> Floats:
    """Return `up` of a camera that sees the horizon on a line (3,), positive below it."""
    up: Floats = -camera_matrix(size, focal).T @ line
    return up / np.linalg.norm(up)


def horizon_line(start: tuple[float, float], end: tuple[float, float]) -> Floats:
    """Return the line (3,) through two pixels, of unit normal: its product with (u, v, 1) is the distance below it.

    Raises:
        InputError: the pixels are the same, or one above the other.
    """
    (left, top), (right, bottom) = sorted((start, end))
    if left == right:
        raise InputError(
            f"horizon: [{left:g}, {top:g}] and [{right:g}, {bottom:g}] make no horizon; give it from left to right"
        )
    normal = np.array([top - bottom, right - left]) / math.hypot(right - left, bottom - top)
    return np.array([*normal, -normal @ (left, top)])


def pose_above(size: Size, focal: float, up: Floats, height: float) -> Pose:
    """Return the pose of a camera at a height: the origin of the ground is below it, Y is ahead, X to the right.

    Where it looks straight down, the top of the image is ahead.
    """
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    if np.linalg.norm(ahead) < 1e-6:
        ahead = np.array([0.0, -1.0, 0.0]) + up[1] * up
    ahead /= np.linalg.norm(ahead)
    ground = camera_matrix(size, focal) @ np.stack([np.cross(ahead, up), ahead, -height * up], axis=1)
    return Pose(size, focal, ground, up, height)


def _centred(to_image: Floats, size: Size) -> Floats:
    return np.asarray(np.linalg.solve(camera_matrix(size, 1.0), to_image), np.float64)


def _orthonormality(to_image: Floats, size: Size) -> tuple[Floats, Floats]:
    """Return the coefficients of w and the constants of (2), the second equation halved.

    So scaled, the two are turned into each other by a rotation of the axes of the ground, and least squares does not
    depend on it.
    """
    centred = _centred(to_image, size)
    (first, second), (b1, b2) = centred[:2, :2].T, centred[2, :2]
    scale = np.array([first @ second, (first @ first - second @ second) / 2])
    return scale, np.array([b1 * b2, (b1 * b1 - b2 * b2) / 2])
