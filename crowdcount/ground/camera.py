"""A calibrated camera over a plane ground: pixels to metres at the height of heads, and the errors of both.

Heads are counted where they are seen, at 1.5 m, not on the ground. The image is therefore mapped through the plane of
heads; a head's place there is, straight down, its place on the ground.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.ground.homography import (
    Floats,
    Residual,
    apply_homography,
    fit_homography,
    homogeneous,
    invert,
    leave_one_out,
    residuals,
)
from crowdcount.ground.levels import WALKING, Levels
from crowdcount.ground.pose import Pose


@dataclass(frozen=True)
class Settings:
    """The plane of the heads, the errors above which no density is given, and the names of densities.

    Attributes:
        head_height: height in metres of the plane through which the image is mapped.
        pixel_error: standard deviation in pixels of a clicked point, of the horizon, and of where a head is.
        area_error: largest standard deviation of the area of a block, relative to it.
        position_error: largest standard deviation in metres of a position; by default half the side of a patch.
        levels: bands of people per square metre.

    Raises:
        InputError: a number is out of its range.
    """

    head_height: float = 1.5
    pixel_error: float = 2.0
    area_error: float = 0.25
    position_error: float = 1.5
    levels: Levels = WALKING

    def __post_init__(self) -> None:
        check_number("head_height", self.head_height, 0, hint="in metres")
        for name in ("pixel_error", "area_error", "position_error"):
            check_number(name, getattr(self, name), 0, above=True)


@dataclass(frozen=True, eq=False)
class GroundPoints:
    """Points of the ground that are known in the image.

    Attributes:
        pixels: (N, 2).
        metres: (N, 2).
    """

    pixels: Floats
    metres: Floats

    @cached_property
    def to_ground(self) -> Floats:
        """Homography from the image to the ground."""
        return fit_homography(self.pixels, self.metres)

    def residual(self) -> Residual:
        """Return the errors of the homography at its points."""
        return residuals(self.pixels, self.metres, self.to_ground)

    def left_out(self) -> Residual | None:
        """Return the errors at points that the homography was not fitted to; None for four points."""
        return leave_one_out(self.pixels, self.metres)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera over a plane ground; see `crowdcount.ground.pose` for the formulas.

    Attributes:
        pose: where it is and looks.
        settings: heights, limits and bands.
        points: that it was calibrated with; None for a camera given by its pose.
        variants: homographies (3, 3) from the image to the plane of heads, each with one of the measured numbers off by
            its standard deviation.

    Raises:
        InputError: the camera is not above the heads.
    """

    pose: Pose
    settings: Settings = field(default_factory=Settings)
    points: GroundPoints | None = None
    variants: tuple[Floats, ...] = ()

    def __post_init__(self) -> None:
        if self.pose.height <= self.settings.head_height:
            raise InputError(
                f"height: the camera is {self.pose.height:.2f} m above the ground, not above heads at "
                f"{self.settings.head_height:g} m; correct the metres, or give a smaller head_height"
            )

    @cached_property
    def to_heads(self) -> Floats:
        """Homography (3, 3) from the image to the plane of heads."""
        return self.pose.to_plane(self.settings.head_height)

    @cached_property
    def horizon(self) -> Floats:
        """Line (3,) of the horizon: its product with (u, v, 1) is the distance below it in pixels.

        Infinite for a camera that looks straight down, and sees no horizon.
        """
        line: Floats = self.to_heads[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(line == 0, 0, line / np.linalg.norm(line[:2]))

    def to_metres(self, pixels: Floats, above: float | None = None) -> Floats:
        """Map pixels (..., 2) to metres on the plane of heads, or at another height; NaN beyond the horizon."""
        return apply_homography(self.to_heads if above is None else self.pose.to_plane(above), pixels)

    def to_pixels(self, metres: Floats, above: float | None = None) -> Floats:
        """Map metres (..., 2) on the plane of heads, or at another height, to pixels; NaN behind the camera."""
        to_plane = self.to_heads if above is None else self.pose.to_plane(above)
        return apply_homography(invert(to_plane), metres)

    def errors(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Return standard deviations at pixels (..., 2): of an area, relative to it, and of a position in metres.

        The area of a pixel is |det H| / c^3, c being the third component of the mapped pixel and proportional to its
        distance d below the horizon: an error of e pixels changes it by 3 e / d. A position changes by e times the
        largest singular value of the Jacobian. To these are added, in quadrature, the changes that an error of each of
        the measured numbers of the calibration makes (`variants`).

        Returns:
            two (...) arrays, NaN beyond the horizon.
        """
        place, error = self.to_metres(pixels), self.settings.pixel_error
        with np.errstate(divide="ignore"):
            area = np.square(3 * error / (homogeneous(pixels) @ self.horizon))
        position = np.square(error * _stretch(self.to_heads, pixels))
        size = _pixel_area(self.to_heads, pixels)
        for variant in self.variants:
            area = area + np.square(np.log(_pixel_area(variant, pixels) / size))
            position = position + np.square(apply_homography(variant, pixels) - place).sum(axis=-1)
        seen = np.isfinite(place[..., 0])
        return np.where(seen, np.sqrt(area), np.nan), np.where(seen, np.sqrt(position), np.nan)

    def measurable(self, pixels: Floats) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
        """Return whether the errors at pixels (..., 2) are within the limits; false beyond the horizon."""
        area, position = self.errors(pixels)
        return (area <= self.settings.area_error) & (position <= self.settings.position_error)


def _pixel_area(matrix: Floats, pixels: Floats) -> Floats:
    """Return the square metres of a pixel at pixels (..., 2); NaN beyond the horizon."""
    depth = homogeneous(pixels) @ matrix[2]
    area: Floats = abs(float(np.linalg.det(matrix))) / np.where(depth > 0, depth, np.nan) ** 3
    return area


def _stretch(matrix: Floats, pixels: Floats) -> Floats:
    """Return the largest singular value of the Jacobian of a homography at pixels (..., 2); NaN beyond the horizon."""
    depth = (homogeneous(pixels) @ matrix[2])[..., None, None]
    place = apply_homography(matrix, pixels)
    jacobian = (matrix[:2, :2] - place[..., :, None] * matrix[2, :2]) / np.where(depth > 0, depth, np.nan)
    (a, b), (c, d) = np.moveaxis(jacobian, (-2, -1), (0, 1))
    total, det = a * a + b * b + c * c + d * d, a * d - b * c
    found: Floats = np.sqrt((total + np.sqrt(np.maximum(total * total - 4 * det * det, 0))) / 2)
    return found
