"""Cameras with known poses: found from points, horizon or tilt; heads at 1.5 m; errors as in a simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcount.errors import InputError
from crowdcount.ground import GroundPoints, Settings, camera_of_horizon, camera_of_points, camera_of_tilt
from crowdcount.ground.homography import apply_homography, homogeneous
from crowdcount.ground.pose import focal_of_points, pose_of_ground
from tests.support.pinhole import SIZE, project

PLACES = np.array([[-5.0, 8], [6, 9], [7, 30], [-8, 28]])
HEADS = np.array([[0.0, 10], [3, 15], [-6, 25]])


def of_points(places=PLACES, noise=0.0, seed=0, **options):
    pixels = project(places) + noise * np.random.default_rng(seed).normal(size=places.shape)
    return camera_of_points(SIZE, GroundPoints(pixels, places), **options)


@settings(max_examples=20)
@given(st.floats(3, 25), st.floats(12, 70), st.floats(500, 3000))
def test_points_give_the_pose_and_with_it_the_plane_of_heads(height, tilt, focal):
    middle = height / np.tan(np.radians(tilt))
    places = np.array([[-0.3, 0.8], [0.35, 0.85], [0.4, 1.4], [-0.3, 1.3]]) * [height, middle]
    pixels = project(places, height, tilt, focal)
    camera = camera_of_points(SIZE, GroundPoints(pixels, places), settings=Settings(pixel_error=1e-3))
    assert camera.pose.focal == pytest.approx(focal, rel=1e-6)
    assert camera.pose.height == pytest.approx(height, rel=1e-6)
    assert camera.pose.tilt == pytest.approx(tilt, abs=1e-5)
    heads = project(places, height, tilt, focal, above=1.5)
    np.testing.assert_allclose(camera.to_metres(heads), places, atol=1e-5 * middle)
    np.testing.assert_allclose(camera.to_pixels(places), heads, atol=1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
def test_heads_are_nearer_than_their_pixels_on_the_ground(mirrored):
    flip = np.array([1.0, -1.0 if mirrored else 1.0])  # y of a map may run either way
    camera = camera_of_points(SIZE, GroundPoints(project(PLACES), PLACES * flip))
    heads = project(HEADS, above=1.5)
    np.testing.assert_allclose(camera.to_metres(heads) * flip, HEADS, atol=1e-6)
    on_ground = camera.to_metres(heads, above=0) * flip
    assert (on_ground[:, 1] > HEADS[:, 1] + 1).all()
    np.testing.assert_allclose(on_ground, HEADS * 8 / 6.5, atol=1e-6)  # the beam theorem


def test_tilt_horizon_and_points_are_one_camera():
    row = 480 - 900 * np.tan(np.radians(28))
    cameras = [
        of_points(),
        of_points(focal=900),
        of_points(height=8),
        camera_of_tilt(SIZE, 8, 900, 28),
        camera_of_horizon(SIZE, 8, ((0, row), (1280, row)), focal=900),
        camera_of_horizon(SIZE, 8, ((300, row), (20, row)), tilt=28),
    ]
    pixels = project(HEADS, above=1.5)
    for camera in cameras:
        np.testing.assert_allclose(camera.to_metres(pixels), HEADS, atol=1e-6)
        np.testing.assert_allclose(camera.horizon, [0, 1, -row], atol=1e-6)


def test_roll_turns_the_horizon():
    straight, rolled = (camera_of_tilt(SIZE, 8, 900, 28, roll) for roll in (0, 10))
    centre, turn = np.array([640, 480]), np.radians(-10)  # the image of a camera turned clockwise turns the other way
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    turned = (project(HEADS, above=1.5) - centre) @ axes + centre
    np.testing.assert_allclose(rolled.to_metres(turned), HEADS, atol=1e-6)
    left, right = -rolled.horizon @ (0, 0, 1), -rolled.horizon @ (1280, 0, 1)
    assert right < left
    a, b, c = rolled.horizon
    again = camera_of_horizon(SIZE, 8, ((0, -c / b), (1280, -(c + 1280 * a) / b)), focal=900)
    np.testing.assert_allclose(again.pose.up, rolled.pose.up, atol=1e-9)
    assert straight.pose.tilt == pytest.approx(rolled.pose.tilt)


def test_straight_down_the_lens_must_be_known():
    places = np.array([[0.0, 0], [4, 0], [4, 3], [0, 3]])
    points = GroundPoints(places * 100 + 300, places)
    with pytest.raises(InputError, match=r"do not tell the focal length.*add focal_length"):
        camera_of_points(SIZE, points)
    camera = camera_of_points(SIZE, points, height=10)
    assert camera.pose.focal == pytest.approx(1000) and camera.pose.tilt == pytest.approx(90)
    heads = camera.to_metres(np.array([[640.0, 480], [640 + 1000 / 8.5, 480]]))
    assert heads[1, 0] - heads[0, 0] == pytest.approx(1)  # 8.5 m below the camera


def test_a_camera_below_heads_is_refused():
    with pytest.raises(InputError, match=r"1\.40 m above the ground, not above heads at 1\.5 m"):
        camera_of_tilt(SIZE, 1.4, 900, 10)


def test_tilt_and_horizon_may_not_contradict_each_other():
    with pytest.raises(InputError, match="tilt: 20 degrees do not go with a horizon -120 pixels above"):
        camera_of_horizon(SIZE, 8, ((0, 600), (1280, 600)), tilt=20)


@pytest.mark.parametrize("number", [4, 8])
def test_errors_are_those_of_a_simulation(number):
    extra = np.array([[0.0, 15], [-2, 22], [3, 12], [0, 26]])
    places = np.concatenate([PLACES, extra])[:number]
    pixels = np.array([[640.0, 300], [300, 500], [900, 800]])
    heads = of_points(places).to_metres(pixels)
    areas, positions = [], []
    rng = np.random.default_rng(0)
    for _ in range(150):
        points = GroundPoints(project(places) + 2.0 * rng.normal(size=places.shape), places)
        to_image = np.linalg.inv(points.to_ground)
        to_heads = pose_of_ground(to_image, SIZE, focal_of_points(to_image, SIZE)).to_plane(1.5)
        moved = pixels + 2.0 * rng.normal(size=pixels.shape)
        positions.append(np.square(apply_homography(to_heads, moved) - heads).sum(axis=1))
        areas.append(np.log(abs(np.linalg.det(to_heads)) / (homogeneous(moved) @ to_heads[2]) ** 3))
    area, position = of_points(places).errors(pixels)
    np.testing.assert_allclose(area, np.std(areas, axis=0), rtol=0.25)
    np.testing.assert_allclose(position, np.sqrt(np.mean(positions, axis=0)), rtol=0.45)


def test_points_with_large_residuals_have_larger_errors():
    places = np.concatenate([PLACES, [[0.0, 15], [-2, 22], [3, 12], [0, 26]]])
    pixels = np.array([[640.0, 300]])
    exact, wrong = (of_points(places, noise).errors(pixels)[0] for noise in (0, 10))
    assert wrong > 2 * exact


def test_errors_grow_towards_the_horizon_and_end_there():
    camera = camera_of_tilt(SIZE, 8, 900, 28)
    rows = np.array([[640.0, row] for row in (900, 500, 200, 60, 10, 0)])
    area, position = camera.errors(rows)
    assert (np.diff(area[:5]) > 0).all() and (np.diff(position[:5]) > 0).all()
    assert np.isnan(area[5]) and np.isnan(position[5])
    assert camera.measurable(rows).tolist() == [True, True, True, False, False, False]
