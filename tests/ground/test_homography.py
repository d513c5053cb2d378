"""Homographies: exact for exact points, residuals of wrong ones, degenerate configurations refused by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcount.errors import InputError
from crowdcount.ground.homography import apply_homography, fit_homography, leave_one_out, residuals
from tests.support.pinhole import project

SQUARE = np.array([[0.0, 10], [8, 10], [8, 25], [0, 25]])
MORE = np.array([[4.0, 12], [-3, 18], [6, 30], [-5, 11]])


@given(
    st.floats(3, 20), st.floats(15, 70), st.floats(400, 3000), st.floats(-8, 8), st.integers(0, 4), st.floats(0, 6.28)
)
def test_the_points_of_any_camera_are_mapped_to_their_metres(height, tilt, focal, shift, more, turn):
    places = np.concatenate([SQUARE, MORE[:more]]) * height / 8
    pixels = project(places + np.array([shift, 0]), height, tilt, focal)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    metres = places @ axes + [500, -300]  # metres in any frame, such as that of a map
    matrix = fit_homography(pixels, metres)
    others = project(np.array([[1.0, 14], [5, 21]]) * height / 8 + [shift, 0], height, tilt, focal)
    expected = np.array([[1.0, 14], [5, 21]]) * height / 8 @ axes + [500, -300]
    np.testing.assert_allclose(apply_homography(matrix, others), expected, rtol=0, atol=1e-5)
    assert residuals(pixels, metres, matrix).metres.max() < 1e-6


def test_one_side_of_the_horizon_only():
    matrix = fit_homography(project(SQUARE), SQUARE)
    row = 480 - 900 * np.tan(np.radians(28))
    mapped = apply_homography(matrix, np.array([[640, row - 1], [640, row - 0.01], [640, row + 1]]))
    assert np.isnan(mapped[:2]).all() and mapped[2, 1] > 1000


def test_a_wrong_point_is_found_when_it_is_left_out():
    places = np.concatenate([SQUARE, MORE])
    pixels = project(places)
    pixels[5] += [12, -9]
    matrix = fit_homography(pixels, places)
    fitted, left = residuals(pixels, places, matrix), leave_one_out(pixels, places)
    assert left.pixels.argmax() == 5 and left.pixels[5] == pytest.approx(15, rel=0.2)
    assert fitted.pixels[5] < left.pixels[5] and fitted.rms()[0] > 0
    exact = leave_one_out(project(places), places)
    assert exact.metres.max() < 1e-6 and exact.pixels.max() < 1e-6


def test_four_points_fit_whatever_they_are():
    pixels = project(SQUARE)
    pixels[2] += [40, 10]
    assert residuals(pixels, SQUARE, fit_homography(pixels, SQUARE)).pixels.max() < 1e-6
    assert leave_one_out(pixels, SQUARE) is None


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (SQUARE[:3], "3 determine no homography; give 4"),
        (SQUARE[[0, 1, 2, 0]], "1 and 4 are the same in the image"),
        ([[0, 10], [4, 10.01], [8, 10], [0, 25]], "1, 2, 3 are on a line in the image"),
        ([[0, 10], [2, 10], [4, 10], [8, 10], [0, 25]], "1, 2, 3, 4 are on a line"),
    ],
)
def test_degenerate_points_are_refused_by_name(points, message):
    points = np.array(points, float)
    target = np.concatenate([SQUARE, MORE])[: len(points)]
    with pytest.raises(InputError, match=message):
        fit_homography(points, target)
    if len(points) > 3:
        with pytest.raises(InputError, match=message.replace("in the image", "on the ground")):
            fit_homography(target, points)


def test_a_point_beyond_the_horizon_of_the_others_has_no_error():
    places = np.concatenate([SQUARE, MORE[:1]])
    pixels = project(places)
    pixels[4] = 640, -60  # above the horizon, at row 1
    left = leave_one_out(np.concatenate([pixels, project(MORE[1:])]), np.concatenate([places, MORE[1:]]))
    assert np.isnan(left.metres[4])


def test_swapped_points_are_refused():
    with pytest.raises(InputError, match="may be swapped"):
        fit_homography(project(SQUARE), SQUARE[[0, 2, 1, 3]])


def test_a_point_without_which_the_rest_is_a_line_has_no_error():
    places = np.array([[0.0, 10], [2, 10], [8, 10], [0, 25], [8, 25]])
    left = leave_one_out(project(places), places)
    assert np.isnan(left.metres[[3, 4]]).all() and np.isfinite(left.metres[:3]).all()
