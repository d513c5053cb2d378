"""Random degradation of images, as by bad cameras and low light."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.checks import check_number
from crowdcount.images.read import Image
from crowdcount.images.resize import decoded, encode_jpeg

_SHRINK = (1.2, 4.0)  # factor of the lost resolution
_QUALITY = (15, 90)  # JPEG quality
_GAMMA = (0.5, 2.0)
_CAST = (0.75, 1.3)  # factor of each colour
_NIGHT = (0.15, 0.5)  # remaining share of the light
_SIGMA = (0.5, 2.0)  # sigma of the blur in pixels
_NOISE = (2.0, 20.0)  # standard deviation in grey levels
_INTERPOLATION = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Degrade:
    """Degradation of training crops as by bad cameras, each kind with a probability and a random strength.

    The kinds are applied in this order, as in a camera: light, optics, sensor, storage. The strengths were chosen by
    eye for this project; they are not from a paper.

    Args:
        grey: probability of conversion to grey.
        colour: probability of a factor of 0.75 to 1.3 for each colour.
        gamma: probability of an exponent of 0.5 to 2 (log-uniform) on the brightness.
        night: probability of 15 to 50 % of the light, with sensor noise of 2 to 12 grey levels.
        blur: probability of a Gaussian blur with a sigma of 0.5 to 2 pixels.
        noise: probability of Gaussian noise with a standard deviation of 2 to 20 grey levels.
        low_resolution: probability of shrinking by 1.2 to 4 and enlarging again.
        jpeg: probability of JPEG compression with a quality of 15 to 90.

    Raises:
        InputError: if a probability is not between 0 and 1.
    """

    grey: float = 0.1
    colour: float = 0.3
    gamma: float = 0.3
    night: float = 0.07
    blur: float = 0.15
    noise: float = 0.15
    low_resolution: float = 0.2
    jpeg: float = 0.3

    def __post_init__(self) -> None:
        for name, _ in self._kinds():
            check_number(f"degrade.{name}", getattr(self, name), 0, 1)

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """Return a degraded copy of an image (H, W, 3), or the image itself if no kind is drawn.

        Args:
            image: uint8, RGB; not modified.
            rng: only source of randomness.
        """
        for name, kind in self._kinds():
            if rng.random() < getattr(self, name):
                image = kind(image, rng)
        return image

    @staticmethod
    def _kinds() -> tuple[tuple[str, Callable[[Image, np.random.Generator], Image]], ...]:
        return (
            ("grey", _grey),
            ("colour", _colour),
            ("gamma", _gamma),
            ("night", _night),
            ("blur", _blur),
            ("noise", _noise),
            ("low_resolution", _low_resolution),
            ("jpeg", _jpeg),
        )


def _grey(image: Image, _: np.random.Generator) -> Image:
    return _uint8(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _colour(image: Image, rng: np.random.Generator) -> Image:
    levels = np.arange(256)[:, None] * rng.uniform(*_CAST, 3)
    return _mapped(image, levels)


def _gamma(image: Image, rng: np.random.Generator) -> Image:
    exponent = _log_uniform(_GAMMA, rng)
    return _mapped(image, np.repeat(255 * (np.arange(256) / 255)[:, None] ** exponent, 3, axis=1))


def _night(image: Image, rng: np.random.Generator) -> Image:
    dark = _mapped(image, np.arange(256)[:, None] * _log_uniform(_NIGHT, rng) * rng.uniform(0.8, 1.0, 3))
    return _with_noise(dark, rng.uniform(2, 12), rng)


def _blur(image: Image, rng: np.random.Generator) -> Image:
    return _uint8(cv2.GaussianBlur(image, (0, 0), rng.uniform(*_SIGMA), borderType=cv2.BORDER_REFLECT_101))


def _noise(image: Image, rng: np.random.Generator) -> Image:
    return _with_noise(image, rng.uniform(*_NOISE), rng)


def _low_resolution(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    factor = _log_uniform(_SHRINK, rng)
    small = cv2.resize(
        image, (max(1, round(width / factor)), max(1, round(height / factor))), interpolation=cv2.INTER_AREA
    )
    return _uint8(cv2.resize(small, (width, height), interpolation=_INTERPOLATION[rng.integers(len(_INTERPOLATION))]))


def _jpeg(image: Image, rng: np.random.Generator) -> Image:
    return decoded(encode_jpeg(image, int(rng.integers(_QUALITY[0], _QUALITY[1] + 1))))


def _with_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(sigma)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _mapped(image: Image, levels: NDArray[np.float64]) -> Image:
    """Map each value of an image by the lookup table `levels` (256, 3) of its channel."""
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return _uint8(cv2.LUT(image, np.ascontiguousarray(table[None])))


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _uint8(image: NDArray[np.generic]) -> Image:
    return image.astype(np.uint8, copy=False)
