"""Faults of cameras: what each does to an image, against plain formulas where there is one."""

import numpy as np
import pytest

from crowdcount.data import Augment
from crowdcount.data.augment import padded
from crowdcount.data.degrade import Degrade
from crowdcount.errors import InputError
from crowdcount.geometry import as_points

KINDS = ("grey", "colour", "gamma", "night", "blur", "noise", "low_resolution", "jpeg")
NONE = dict.fromkeys(KINDS, 0.0)


def image(seed=0, height=48, width=64):
    """Return smooth colours with a little texture, as a camera gives."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (6, 8, 3)).repeat(height // 6, axis=0).repeat(width // 8, axis=1)
    return (coarse + rng.integers(-8, 9, (height, width, 3))).astype(np.uint8)


def alone(kind):
    return Degrade(**{**NONE, kind: 1.0})


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_changes_the_image_and_nothing_else(kind):
    given = image()
    before = given.copy()
    spoilt = alone(kind)(given, rng())
    np.testing.assert_array_equal(given, before)
    assert spoilt.shape == given.shape and spoilt.dtype == np.uint8 and not np.array_equal(spoilt, given)
    np.testing.assert_array_equal(spoilt, alone(kind)(given, rng()))
    assert not np.array_equal(alone(kind)(given, rng(2)), spoilt) or kind == "grey"


def test_without_faults_the_image_is_itself():
    given = image()
    assert Degrade(**NONE)(given, rng()) is given


def test_faults_are_as_likely_as_asked():
    given = image(height=12, width=16)
    changed = [not np.array_equal(Degrade(**{**NONE, "grey": 0.3})(given, rng(seed)), given) for seed in range(600)]
    assert 0.24 < np.mean(changed) < 0.36


def test_grey_is_the_luma():
    given = image()
    luma = given @ np.array([0.299, 0.587, 0.114])
    grey = alone("grey")(given, rng())
    assert (np.abs(grey - luma[..., None]) <= 1).all() and (grey.max(axis=2) == grey.min(axis=2)).all()


def test_colour_is_a_factor_for_each_channel():
    given = np.full((4, 4, 3), 100, np.uint8)
    factors = np.array([alone("colour")(given, rng(seed))[0, 0] / 100 for seed in range(200)])
    assert factors.min() >= 0.745 and factors.max() <= 1.305 and factors.min() < 0.8 and factors.max() > 1.25
    assert (factors.max(axis=1) > factors.min(axis=1)).mean() > 0.9


def test_gamma_is_a_power_of_the_brightness():
    given = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    for seed in range(20):
        curve = alone("gamma")(given, rng(seed))[:, 0, 0].astype(float)
        exponent = np.log(curve[128] / 255) / np.log(128 / 255)
        assert 0.48 < exponent < 2.05
        np.testing.assert_allclose(curve, 255 * (np.arange(256) / 255) ** exponent, atol=1.5)


def test_night_is_dark_and_noisy():
    given = np.full((60, 60, 3), 200, np.uint8)
    nights = [alone("night")(given, rng(seed)).astype(float) for seed in range(50)]
    means = [night.mean() for night in nights]
    assert max(means) < 105 and min(means) > 20 and all(night.std() > 1.5 for night in nights)


def test_low_resolution_and_blur_lose_detail():
    fine = rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for kind in ("low_resolution", "blur"):
        left = [alone(kind)(fine, rng(seed)).std() / fine.std() for seed in range(30)]
        assert max(left) < 0.98 and min(left) < 0.4


def test_jpeg_errs_the_more_the_lower_its_quality():
    errors = [np.abs(alone("jpeg")(image(), rng(seed)).astype(float) - image()).mean() for seed in range(40)]
    assert 0 < min(errors) < max(errors) / 1.5 and max(errors) < 20


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_impossible_probabilities_are_refused(value):
    with pytest.raises(InputError, match=r"degrade\.jpeg"):
        Degrade(jpeg=value)


def test_faults_come_after_the_crop_and_leave_the_points():
    given, points = image(height=96, width=96), as_points([[40, 40], [60, 50]])
    plain = Augment(crop=32, flip=0, jitter=0, blur=0, noise=0)
    spoilt = Augment(crop=32, flip=0, jitter=0, blur=0, noise=0, degrade=alone("grey"))
    crop, inside = plain(given, points, rng(4))
    other, same = spoilt(given, points, rng(4))
    np.testing.assert_array_equal(inside, same)
    assert (other.max(axis=2) == other.min(axis=2)).all() and not np.array_equal(crop, other)


def test_the_scale_is_log_uniform_where_asked():
    """Half of the squares are smaller than a crop where the range is the same both ways, against a sixth evenly."""
    white = np.zeros((400, 400, 3), np.uint8)
    grid = as_points([[x + 0.5, y + 0.5] for x in range(400) for y in range(400)])
    shares = {}
    for scale in ("uniform", "log_uniform"):
        augment = Augment(crop=60, min_scale=0.2, max_scale=5, scale=scale, flip=0, jitter=0, blur=0, noise=0)
        sides = np.sqrt([len(augment(white, grid, rng(seed))[1]) for seed in range(150)])
        assert sides.min() >= 12 and sides.max() <= 300
        shares[scale] = np.mean(sides < 60)
    assert shares["uniform"] < 0.27 and 0.38 < shares["log_uniform"] < 0.62


def test_a_square_beyond_the_image_is_filled_with_black_and_keeps_the_points():
    given, points = np.full((30, 50, 3), 255, np.uint8), as_points([[0, 0], [49.9, 29.9], [25, 10], [-3, 5]])
    for seed in range(20):
        canvas, moved = padded(given, points, 64, rng(seed))
        assert canvas.shape == (64, 64, 3) and (canvas == 255).sum() == given.size
        assert len(moved) == 3  # the one outside the image is left out
        assert all(canvas[int(y), int(x)].all() for x, y in moved)
        np.testing.assert_allclose(moved - moved[0], points[:3] - points[0])
    assert padded(given, points, 30, rng())[0] is given


def test_a_padded_crop_shows_the_whole_small_image():
    given = np.full((20, 30, 3), 255, np.uint8)
    augment = Augment(crop=32, min_scale=2, max_scale=2, pad=True, flip=0, jitter=0, blur=0, noise=0)
    crop, points = augment(given, as_points([[15, 10]]), rng(1))
    assert crop.shape == (32, 32, 3) and len(points) == 1
    assert crop.astype(float).sum() / 255 / 3 == pytest.approx(20 * 30 / 4, rel=0.1)
    x, y = points[0].astype(int)
    assert crop[y, x].min() > 200


def test_impossible_scale_rule_is_refused():
    with pytest.raises(InputError, match="scale: 'log' is not one of uniform, log_uniform"):
        Augment(scale="log")
