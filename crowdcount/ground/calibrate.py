"""Calibration of a camera: from points of the ground, or from its height with tilt, horizon and lens.

Each measured number is also moved by its standard deviation, which gives the variants of the camera that its errors are
computed with. The height of the camera is taken as exact: one that is off by 1 % changes all areas by about 2 %.
"""

import math

import numpy as np

from crowdcount.errors import InputError
from crowdcount.ground.camera import Camera, GroundPoints, Settings
from crowdcount.ground.homography import Floats, invert
from crowdcount.ground.pose import (
    Pose,
    Size,
    focal_of_height,
    focal_of_points,
    horizon_line,
    pose_above,
    pose_of_ground,
    up_of_horizon,
    up_of_tilt,
)

Pixel = tuple[float, float]


def camera_of_points(
    size: Size,
    points: GroundPoints,
    focal: float | None = None,
    height: float | None = None,
    settings: Settings | None = None,
) -> Camera:
    """Return the camera that sees points of the ground.

    Args:
        size: width and height of the image in pixels.
        points: four or more.
        focal: focal length in pixels, or
        height: of the camera in metres; without both, the focal length is found from the points.
        settings: see `Settings`.

    Raises:
        InputError: the points are degenerate or do not tell the focal length, also not when one of them is moved by its
            error; or the camera is not above heads.
    """
    settings = settings or Settings()

    def pose(each: GroundPoints) -> Pose:
        to_image = invert(each.to_ground)
        found = focal
        if found is None:
            found = focal_of_points(to_image, size) if height is None else focal_of_height(to_image, size, height)
        return pose_of_ground(to_image, size, found)

    error = max(settings.pixel_error, _pixel_error(points))
    steps = error * np.eye(points.pixels.size).reshape(-1, *points.pixels.shape)
    moved = [GroundPoints(points.pixels + step, points.metres) for step in steps]
    own = pose(points)
    return Camera(own, settings, points, _planes([pose(each) for each in moved], settings))


def camera_of_tilt(
    size: Size, height: float, focal: float, tilt: float, roll: float = 0.0, settings: Settings | None = None
) -> Camera:
    """Return the camera that looks down by an angle.

    Args:
        size: width and height of the image in pixels.
        height: of the camera in metres.
        focal: focal length in pixels.
        tilt: degrees below level.
        roll: degrees by which it is turned clockwise.
        settings: see `Settings`.

    Raises:
        InputError: the camera is not above heads.

    Example:
        >>> camera = camera_of_tilt((1920, 1080), height=6, focal=1500, tilt=20)
        >>> round(float(camera.to_metres(np.array([960.0, 540]), above=0)[1]), 2)  # 6 m / tan 20 degrees ahead
        16.48
    """
    settings = settings or Settings()

    def pose(off: float) -> Pose:
        return pose_above(size, focal, up_of_tilt(tilt + off, roll), height)

    return Camera(pose(0), settings, None, _planes([pose(math.degrees(settings.pixel_error / focal))], settings))


def camera_of_horizon(
    size: Size,
    height: float,
    horizon: tuple[Pixel, Pixel],
    focal: float | None = None,
    tilt: float | None = None,
    settings: Settings | None = None,
) -> Camera:
    """Return the camera that sees the horizon, or where it would be, through two pixels.

    Args:
        size: width and height of the image in pixels.
        height: of the camera in metres.
        horizon: two pixels of it, which may be outside the image.
        focal: focal length in pixels, or
        tilt: degrees below level, of which the focal length follows.
        settings: see `Settings`.

    Raises:
        InputError: tilt and horizon contradict each other, or the camera is not above heads.
    """
    settings = settings or Settings()
    (left, top), (right, bottom) = horizon

    def pose(start: float, end: float) -> Pose:
        line = horizon_line((left, top + start), (right, bottom + end))
        length = _focal_of_tilt(line, size, tilt or 0.0) if focal is None else focal
        return pose_above(size, length, up_of_horizon(line, size, length), height)

    off = settings.pixel_error
    return Camera(pose(0, 0), settings, None, _planes([pose(off, off)], settings))


def _planes(poses: list[Pose], settings: Settings) -> tuple[Floats, ...]:
    return tuple(pose.to_plane(settings.head_height) for pose in poses)


def _pixel_error(points: GroundPoints) -> float:
    """Return the standard deviation of a pixel coordinate that the residual tells of; 0 for four points."""
    free = 2 * len(points.pixels) - 8
    return math.sqrt(float(np.square(points.residual().pixels).sum()) / free) if free else 0.0


def _focal_of_tilt(line: Floats, size: Size, tilt: float) -> float:
    """Return the focal length of a camera whose optical axis is `tilt` degrees below the horizon."""
    below = float(line @ (size[0] / 2, size[1] / 2, 1))
    focal = below / math.tan(math.radians(tilt)) if tilt else 0.0
    if focal <= 0:
        raise InputError(
            f"tilt: {tilt:g} degrees do not go with a horizon {below:.0f} pixels above the centre of the image; leave "
            "one of them out and give field_of_view"
        )
    return focal
