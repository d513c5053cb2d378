"""Random training crops: our own geometry, colours by albumentations.

Only this module imports albumentations, and only for pixel operations: its flips and its resizes follow different pixel
conventions, so no convention of the points fits both.
"""

import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from crowdcount.checks import check_choice, check_number
from crowdcount.data.degrade import Degrade
from crowdcount.errors import InputError
from crowdcount.geometry import Points, crop_points, flip_points, resize_points
from crowdcount.images.read import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import asks the package index
import albumentations

Pixel = TypeVar("Pixel", np.uint8, np.float32)
Blur = Literal["isotropic", "vertical"]
Mirror = Literal["exact", "pixel"]
Scale = Literal["uniform", "log_uniform"]

_NOISE = 1e-3  # share of the values turned white, and share turned black


@dataclass(frozen=True)
class Augment:
    """Random square crops of training images with random augmentation.

    A square of `crop` times a random scale, limited by the shorter side of the image, is cropped and shrunk to `crop`
    pixels (anti-aliased bicubic), then flipped, colour-jittered, blurred and given salt-and-pepper noise, each with its
    own probability. This is the augmentation of the CLIP-EBC code (commit b52a594) on uint8 pixels, with two of its
    errors fixed by default (`blur_kind`, `mirror`). Where the published code enlarges an image that is too small for
    the scale and then shrinks the crop, a single resize is used here.

    Args:
        crop: side of the crop in pixels.
        min_scale: smallest side of the cropped square, relative to `crop`.
        max_scale: largest side of the cropped square, relative to `crop`; values above 1 add smaller people and denser
            blocks.
        scale: distribution of the side: "uniform" as published, or "log_uniform", where halves are as likely as
            doubles.
        pad: whether to pad images that are smaller than the square with black; otherwise the shorter side of the image
            limits the square.
        flip: probability of a horizontal flip.
        jitter: probability of a change of brightness, contrast and saturation.
        jitter_range: maximum relative change of each of these.
        blur: probability of a Gaussian blur over 5 x 5 pixels.
        blur_range: lowest and highest sigma in pixels.
        blur_kind: "isotropic" draws sigma from the range; "vertical" reproduces the published code, whose sigma is
            always the lowest horizontally and the highest vertically.
        noise: probability of salt-and-pepper noise: 0.1 % of the channel values become 255 and 0.1 % become 0.
        mirror: "exact" maps x to W - x, the position of the flipped head; "pixel" reproduces the published code, which
            maps x to W - 1 - x, clipped at 0.
        degrade: degradation by bad cameras and low light, applied last; null for none.
    """

    crop: int = 448
    min_scale: float = 1.0
    max_scale: float = 2.0
    scale: Scale = "uniform"
    pad: bool = False
    flip: float = 0.5
    jitter: float = 0.2
    jitter_range: tuple[float, float, float] = (0.1, 0.1, 0.1)
    blur: float = 0.2
    blur_range: tuple[float, float] = (0.1, 5.0)
    blur_kind: Blur = "isotropic"
    noise: float = 0.5
    mirror: Mirror = "exact"
    degrade: Degrade | None = None

    def __post_init__(self) -> None:
        check_number("crop", self.crop, 1)
        if not 0 < self.min_scale <= self.max_scale < float("inf"):
            raise InputError(f"min_scale, max_scale: {self.min_scale}, {self.max_scale} is not a range above 0")
        for name in ("flip", "jitter", "blur", "noise"):
            check_number(name, getattr(self, name), 0, 1)
        if not all(0 <= part < 1 for part in self.jitter_range):
            raise InputError(f"jitter_range: {self.jitter_range} are parts of 1; use 0 to below 1")
        if not 0 < self.blur_range[0] <= self.blur_range[1] < float("inf"):
            raise InputError(f"blur_range: {self.blur_range} is not a range above 0")
        for name, choices in (("blur_kind", get_args(Blur)), ("mirror", get_args(Mirror)), ("scale", get_args(Scale))):
            check_choice(name, getattr(self, name), choices)

    def __call__(self, image: Image, points: Points, rng: np.random.Generator) -> tuple[Image, Points]:
        """Return one random crop.

        Args:
            image: (H, W, 3) uint8, RGB; not modified.
            points: (N, 2) in pixels of `image`; points outside the square are dropped.
            rng: only source of randomness: equal generators give equal crops.

        Returns:
            The (crop, crop, 3) uint8 image and the (M, 2) points inside it.
        """
        side = max(1, int(self.crop * self._drawn_scale(rng)))
        if self.pad:
            image, points = padded(image, points, side, rng)
        height, width = image.shape[:2]
        side = min(side, height, width)
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        image, points = zoom_crop(image, points, top, left, side, self.crop)
        if rng.random() < self.flip:
            image, points = cv2.flip(image, 1).astype(np.uint8, copy=False), mirrored(points, self.crop, self.mirror)
        if rng.random() < self.jitter:
            image = self._recoloured(image, rng)
        if rng.random() < self.blur:
            image = blurred(image, *self._sigmas(rng))
        if rng.random() < self.noise:
            image = salted(image, rng)
        return (image if self.degrade is None else self.degrade(image, rng)), points

    def _drawn_scale(self, rng: np.random.Generator) -> float:
        if self.scale == "log_uniform":
            return math.exp(rng.uniform(math.log(self.min_scale), math.log(self.max_scale)))
        return rng.uniform(self.min_scale, self.max_scale)

    @cached_property
    def _colours(self) -> Any:  # albumentations has no types
        brightness, contrast, saturation = ((1 - part, 1 + part) for part in self.jitter_range)
        jitter = albumentations.ColorJitter(brightness, contrast, saturation, hue=(0, 0), p=1)
        return albumentations.Compose([jitter])

    def _recoloured(self, image: Image, rng: np.random.Generator) -> Image:
        # Its generator is made once and copied into every worker, which would then all draw the same numbers.
        self._colours.set_random_seed(int(rng.integers(2**31)))
        result: Image = self._colours(image=image)["image"]
        return result

    def _sigmas(self, rng: np.random.Generator) -> tuple[float, float]:
        if self.blur_kind == "vertical":
            return self.blur_range
        sigma = rng.uniform(*self.blur_range)
        return sigma, sigma


def padded(image: Image, points: Points, side: int, rng: np.random.Generator) -> tuple[Image, Points]:
    """Pad an image that is smaller than a square with black, at a random position.

    Args:
        image: (H, W, 3).
        points: (N, 2) in pixels of `image`; points outside are dropped.
        side: side of the square in pixels.
        rng: source of randomness.

    Returns:
        The (max(H, side), max(W, side), 3) image and its points; both unchanged if the image is large enough.
    """
    height, width = image.shape[:2]
    if min(height, width) >= side:
        return image, points
    canvas = np.zeros((max(height, side), max(width, side), 3), np.uint8)
    top, left = int(rng.integers(canvas.shape[0] - height + 1)), int(rng.integers(canvas.shape[1] - width + 1))
    canvas[top : top + height, left : left + width] = image
    return canvas, crop_points(points, 0, 0, width, height) + np.array([left, top], np.float32)


def zoom_crop(
    image: NDArray[Pixel], points: Points, top: int, left: int, side: int, size: int
) -> tuple[NDArray[Pixel], Points]:
    """Crop a square that lies within an image and resize it.

    Args:
        image: (H, W, 3) uint8, or float32.
        points: (N, 2) in pixels of `image`.
        top: first row of the square.
        left: first column of the square.
        side: side of the square in pixels.
        size: side of the result in pixels.

    Returns:
        The (size, size, 3) crop, a copy, and the points inside it, in the frame of the crop.
    """
    square = image[top : top + side, left : left + side].copy()
    inner = crop_points(points, left, top, side, side)
    return resized(square, size, size), resize_points(inner, (side, side), (size, size))


def resized(image: NDArray[Pixel], height: int, width: int) -> NDArray[Pixel]:
    """Resize by bicubic interpolation, anti-aliased when shrinking.

    uint8 stays uint8, in a third of the time of floats. It is rounded and clipped after each axis, so it is within
    about one grey level of the float result, except where a hard edge overshoots 0..255 (0.2 % of the values of
    ShanghaiTech part A differ by more than one).

    Args:
        image: (H, W, 3), contiguous.
        height: rows of the result.
        width: columns of the result.
    """
    if image.shape[:2] == (height, width):
        return image
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    scaled = functional.interpolate(planes, size=(height, width), mode="bicubic", antialias=True)
    result: NDArray[Pixel] = scaled[0].permute(1, 2, 0).contiguous().numpy()
    return result


def mirrored(points: Points, width: int, rule: Mirror) -> Points:
    """Return the points (N, 2) of a horizontally flipped crop.

    Args:
        points: points, all inside the crop.
        width: width of the crop in pixels.
        rule: see `Augment.mirror`.
    """
    if rule == "exact":
        return flip_points(points, width)
    return np.stack([np.maximum(np.float32(width - 1) - points[:, 0], 0), points[:, 1]], axis=1)


def blurred(image: NDArray[Pixel], sigma_x: float, sigma_y: float) -> NDArray[Pixel]:
    """Return an image (H, W, 3) blurred by a 5 x 5 Gaussian.

    Args:
        image: uint8 or float32; the border is reflected about the outermost pixel.
        sigma_x: horizontal standard deviation in pixels, above 0.
        sigma_y: vertical standard deviation in pixels, above 0.
    """
    smooth = cv2.GaussianBlur(image, (5, 5), sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REFLECT_101)
    return smooth.astype(image.dtype, copy=False)


def salted(image: Image, rng: np.random.Generator) -> Image:
    """Return a copy with salt-and-pepper noise: each channel value becomes 255 or 0 with a probability of 0.1 % each.

    Drawing the number of affected values and then their positions is 20 times as fast as one draw per value.

    Args:
        image: (H, W, 3).
        rng: source of the noise.
    """
    noisy = image.copy()
    hits = rng.binomial(noisy.size, 2 * _NOISE)
    where = rng.choice(noisy.size, hits, replace=False, shuffle=False)
    noisy.reshape(-1)[where] = rng.integers(0, 2, hits, np.uint8) * np.uint8(255)
    return noisy
