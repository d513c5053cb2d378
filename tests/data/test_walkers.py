"""Generated walkers: known places, heads as a pinhole camera sees them, exact crossings."""

import numpy as np

from crowdcount.data.synthetic.walkers import PinholeView, Walkers
from tests.support.pinhole import project


def test_heads_are_where_a_pinhole_camera_sees_them():
    places = np.array([[0.0, 8], [-2, 15], [3, 22]])
    view = PinholeView()
    expected = project(places, view.above, view.tilt, view.focal, 1.5, (view.width, view.height))
    np.testing.assert_allclose(view.heads(places), expected, atol=1e-4)
    layout = view.layout(places)
    options = {"height": view.above, "tilt": view.tilt, "focal": view.focal, "size": (view.width, view.height)}
    sizes = np.array([layout.unit(y) for y in expected[:, 1]])
    wide = project(places + np.array([0.12, 0]), above=1.5, **options) - expected
    np.testing.assert_allclose(sizes, wide[:, 0], rtol=1e-6)  # as large as 12 cm at their distance


def test_people_walk_at_their_speed_and_stay_on_the_ground():
    walkers = Walkers(count=30, speed=1.5, seed=3)
    side, near, far = walkers.extent
    before, after = walkers.places(40), walkers.places(41)
    assert (np.abs(after[:, 0]) <= side).all() and (after[:, 1] >= near).all() and (after[:, 1] <= far).all()
    moved = np.linalg.norm(after - before, axis=1)
    usual = moved < 1
    assert usual.sum() >= 28  # the others come back at the other side
    assert moved[usual].max() <= 1.2 * 1.5 / 12.5 + 1e-9 and np.median(moved) > 0.8 * 1.5 / 12.5


def test_frames_depend_on_seed_and_number_alone():
    walkers = Walkers(count=12, seed=1)
    late, first = walkers.image(5), walkers.image(0)
    np.testing.assert_array_equal(Walkers(count=12, seed=1).image(5), late)
    assert first.shape == (240, 320, 3) and (first != late).any()
    assert (Walkers(count=12, seed=2).image(5) != late).any()


def test_crossings_are_those_of_a_plain_count():
    walkers = Walkers(count=60, speed=1.4, seed=5)
    right, left = walkers.crossings(((160.0, 239.0), (160.0, 0.0)), 60)
    plain = [0, 0]
    for frame in range(59):
        before, after = walkers.points(frame), walkers.points(frame + 1)
        for (x1, y1), (x2, _) in zip(before.tolist(), after.tolist(), strict=True):
            if 0 <= y1 < 239 and abs(x2 - x1) < 100:
                plain[0] += x1 < 160 <= x2
                plain[1] += x2 < 160 <= x1
    assert (right, left) == tuple(plain) and min(plain) > 2
    assert walkers.crossings(((160.0, 0.0), (160.0, 239.0)), 60) == (left, right)
