"""Scale and long side of a camera's images: size rules around that of the model."""

import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.geometry import as_points
from crowdcount.images.resize import Resize, ShortSide
from crowdcount.images.view import ImageScale, LongSide


def test_a_scale_multiplies_what_the_model_takes():
    image, points = np.zeros((60, 90, 3), np.uint8), as_points([(30, 15), (89.5, 59.5)])
    assert ImageScale(0.5).target(90, 60) == (45, 30) and ImageScale(2).target(90, 60) == (180, 120)
    small, moved = ImageScale(0.5)(image, points)
    assert small.shape == (30, 45, 3) and moved.tolist() == [[15, 7.5], [44.75, 29.75]]
    assert ImageScale(1.0).scaled(image) is image and ImageScale(0.001).target(90, 60) == (1, 1)
    # the smallest side of a rule would undo a scale before it
    assert Resize(448, 2048).target(90, 60) == (672, 448)
    assert ImageScale(0.5, Resize(448, 2048)).target(90, 60) == (336, 224)
    assert ImageScale(0.5, ShortSide()).target(90, 60) == (600, 400)
    assert (
        ImageScale(0.5, Resize(448, 2048, jpeg_quality=95)).jpeg_quality == 95 and ImageScale(0.5).jpeg_quality is None
    )


def test_a_limit_comes_before_the_rule_of_the_model():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    assert LongSide(45).target(90, 60) == (45, 30) and LongSide(45).target(1, 500) == (1, 45)
    assert LongSide(90).scaled(image) is image
    rule = Resize(32, 64)
    assert LongSide(45, rule).target(90, 60) == rule.target(45, 30) == (64, 32)
    np.testing.assert_array_equal(LongSide(45, rule).scaled(image), rule.scaled(LongSide(45).scaled(image)))
    assert LongSide(9, Resize(32, 64, jpeg_quality=95)).jpeg_quality == 95


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), 17])
def test_factors_that_are_none(factor):
    with pytest.raises(InputError, match=r"image_scale: .* must be"):
        ImageScale(factor)


def test_enlarged_images_that_do_not_fit():
    with pytest.raises(InputError, match="image_scale: 16 makes 65536 x 65536 of 4096 x 4096 pixels"):
        ImageScale(16).target(4096, 4096)
    assert ImageScale(1).target(2**15, 2**15) == (2**15, 2**15)


def test_a_limit_of_no_pixel():
    with pytest.raises(InputError, match="long_side: 0 must be"):
        LongSide(0)
