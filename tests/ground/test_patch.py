"""Areas, densities and the densest patch of crowds with known metres; area and count are conserved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon, box

from crowdcount.errors import InputError
from crowdcount.geometry import as_points, inside
from crowdcount.ground import Ground, Settings, camera_of_tilt
from crowdcount.ground.area import GroundBlocks, ground_blocks
from crowdcount.ground.patch import MetricGrid
from crowdcount.images.mask import IgnoreMask
from crowdcount.inference.ignore import without_ignored
from crowdcount.inference.prediction import Prediction
from crowdcount.visualize.density import true_density
from crowdcount.zones import Zone
from tests.support.pinhole import project, quadrilateral_area

WIDTH, HEIGHT = 640, 480
POSE = {"height": 8.0, "tilt": 28.0, "focal": 450.0}


def camera(**settings):
    return camera_of_tilt((WIDTH, HEIGHT), 8.0, 450.0, 28.0, settings=Settings(**settings))


def crowd(places, stride=8):
    """Return the exact prediction for people who stand at places in metres, and their pixels."""
    pixels = as_points(project(places, **POSE, above=1.5, size=(WIDTH, HEIGHT)))
    density = true_density(pixels, HEIGHT, WIDTH, stride)
    return Prediction(float(density.sum()), density, stride, HEIGHT, WIDTH), pixels


def square_crowd(per_metre, low=(-6.0, 9.0), high=(6.0, 24.0)):
    """Return places on a lattice of `per_metre` ** 2 people per square metre."""
    xs, ys = (np.arange(a, b, 1 / per_metre) + 0.5 / per_metre for a, b in zip(low, high, strict=True))
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


@given(st.floats(2, 20), st.floats(10, 90), st.floats(200, 1500), st.integers(1, 9), st.integers(1, 9))
def test_areas_of_blocks_add_up_to_the_area_of_the_image(height, tilt, focal, rows, columns):
    own = camera_of_tilt((WIDTH, HEIGHT), height, focal, tilt)
    first = max(0.0, -own.horizon @ (0, 0, 1) + 5) if tilt < 89 else 0.0
    if first >= HEIGHT - 1:
        return
    blocks = GroundBlocks(own, np.linspace(first, HEIGHT, rows + 1), np.linspace(0, WIDTH, columns + 1))
    corners = own.to_metres(np.array([[0, first], [WIDTH, first], [WIDTH, HEIGHT], [0, HEIGHT]]))
    assert blocks.seen.sum() == pytest.approx(quadrilateral_area(corners), rel=1e-9)


def test_blocks_beyond_the_horizon_have_no_area():
    prediction, _ = crowd(square_crowd(1))
    low = camera_of_tilt((WIDTH, HEIGHT), 8.0, 450.0, 10.0)
    blocks = ground_blocks(low, prediction, HEIGHT, WIDTH)
    row = 240 - 450 * np.tan(np.radians(10))
    beyond = blocks.ys[:-1] < row
    assert np.isnan(blocks.seen[beyond]).all() and np.isfinite(blocks.seen[~beyond]).all()
    assert np.isnan(blocks.areas[: beyond.sum() + 1]).all()  # nor has the row just below it, for its error


@given(st.integers(0, 10**6), st.sampled_from([4, 7, 16]), st.floats(1.0, 6.0))
def test_the_grid_conserves_counts_and_areas(seed, stride, side):
    rng = np.random.default_rng(seed)
    own = camera_of_tilt(
        (WIDTH, HEIGHT), rng.uniform(3, 15), rng.uniform(200, 900), rng.uniform(20, 80), rng.uniform(-20, 20)
    )
    shape = -(-48 // stride), -(-64 // stride)
    prediction = Prediction(1.0, rng.random(shape, np.float32), stride, 48, 64)
    grid = MetricGrid(ground_blocks(own, prediction, HEIGHT, WIDTH), side)
    measured = grid.blocks.measured
    if not measured.any():
        return
    counts = prediction.density.astype(np.float64)
    assert grid.resample(counts).sum() == pytest.approx(counts[measured].sum(), rel=1e-9)
    cells = grid.resample(np.nan_to_num(grid.blocks.areas))
    assert cells.sum() == pytest.approx(np.nansum(grid.blocks.areas), rel=1e-9)
    assert cells.max() <= grid.cell**2 * (1 + 1e-9)


@pytest.mark.parametrize("per_metre", [0.5, 1, 2])
def test_a_crowd_of_known_density(per_metre):
    prediction, _ = crowd(square_crowd(per_metre))
    corners = project([[-6, 9], [6, 9], [6, 24], [-6, 24]], **POSE, above=1.5, size=(WIDTH, HEIGHT))
    square = Zone("square", Polygon(corners))
    found = Ground(camera()).measure(prediction, HEIGHT, WIDTH, [square])
    reading = found.zones["square"]
    assert reading.area == pytest.approx(12 * 15, rel=3e-3)  # blocks at its edge give their share of pixels
    assert reading.mean == pytest.approx(per_metre**2, rel=0.06)
    # a lattice has up to a row more in a patch, and blocks of 8 pixels spread each person over up to 0.7 m
    assert reading.densest.density == pytest.approx(per_metre**2, abs=0.25 + 0.1 * per_metre**2)
    assert found.whole.excluded_count == 0 and found.whole.mean < reading.mean
    assert np.nansum(found.blocks * found.areas) == pytest.approx(len(square_crowd(per_metre)))


def test_a_dense_spot_is_found_that_the_mean_hides():
    spot = square_crowd(2.0, (-1.5, 13.0), (1.5, 16.0)) + 0.01
    prediction, _ = crowd(np.concatenate([square_crowd(0.5), spot]))
    found = Ground(camera()).measure(prediction, HEIGHT, WIDTH)
    assert found.whole.mean < 0.5 and found.whole.level == "F"
    assert found.whole.densest.density == pytest.approx((36 + 9 / 4) / 9, rel=0.12)
    np.testing.assert_allclose(found.whole.densest.centre, [0, 14.5], atol=0.6)


def test_the_densest_patch_is_that_of_a_brute_force_count():
    rng = np.random.default_rng(3)
    places = np.stack([rng.uniform(-5, 5, 300), rng.uniform(9, 18, 300)], axis=1)
    prediction, _ = crowd(places, stride=2)  # small blocks, so that spreading hardly matters
    found = Ground(camera()).measure(prediction, HEIGHT, WIDTH).whole.densest
    steps = np.arange(-10, 25, 0.5)
    best = max(
        (np.abs(places - [x, y]).max(axis=1) < 1.5).sum() / 9 for x in steps[steps < 8] for y in steps[steps > 8]
    )
    assert found.density == pytest.approx(best, rel=0.08)


def test_people_at_the_edge_of_the_image_are_not_thinned_by_what_is_not_seen():
    prediction, pixels = crowd(square_crowd(1.0, (-20.0, 6.0), (20.0, 20.0)))
    kept = inside(pixels, WIDTH, HEIGHT)
    assert kept.sum() < len(pixels)
    found = Ground(camera()).measure(prediction, HEIGHT, WIDTH)
    near = found.local
    ys = found.grid.origin[1] + np.arange(near.shape[0]) * found.grid.cell
    middle = near[(ys > 9) & (ys < 17)]
    assert np.nanmin(middle) > 0.7 and np.nanmax(middle) < 1.3


def test_far_people_have_no_density_and_are_reported():
    near, far = square_crowd(1, (-4.0, 10.0), (4.0, 15.0)), np.array([[0.0, 150], [5, 170]])
    low = camera_of_tilt((WIDTH, HEIGHT), 8.0, 450.0, 15.0)
    pixels = as_points(project(np.concatenate([near, far]), 8.0, 15.0, 450.0, 1.5, (WIDTH, HEIGHT)))
    density = true_density(pixels, HEIGHT, WIDTH, 8)
    prediction = Prediction(42.0, density, 8, HEIGHT, WIDTH)
    strips = [
        Zone("sky", box(0, 0, WIDTH, 60)),
        Zone("far", box(0, 120, WIDTH, 136)),
        Zone("near", box(200, 200, 440, 480)),
    ]
    found = Ground(low).measure(prediction, HEIGHT, WIDTH, strips)
    assert found.whole.excluded_count == pytest.approx(2 / 42) and 0.2 < found.whole.excluded_image < 0.5
    assert (found.zones["sky"].mean, found.zones["sky"].reason) == (None, "beyond the horizon")
    assert (found.zones["far"].mean, found.zones["far"].reason) == (None, "too far: the errors exceed the limits")
    assert found.zones["near"].mean > 0 and found.zones["near"].reason == ""


def test_a_zone_smaller_than_a_patch_has_a_mean_and_no_patch():
    prediction, _ = crowd(square_crowd(1))
    reading = Ground(camera()).measure(prediction, HEIGHT, WIDTH, [Zone("spot", box(300, 300, 340, 330))]).zones["spot"]
    assert reading.mean == 0 and reading.densest is None and reading.level is None
    assert reading.reason == "no patch of 9 square metres is measured"


def test_the_network_may_have_seen_another_size():
    prediction, _ = crowd(square_crowd(1))
    ground = Ground(camera())
    whole = ground.measure(prediction, HEIGHT, WIDTH).whole
    larger = ground.measure(prediction, 3 * HEIGHT, 3 * WIDTH).whole  # the image itself is larger, seen smaller
    assert larger == whole
    with pytest.raises(InputError, match="640 x 480 pixels, and this one has 480 x 640"):
        ground.measure(prediction, WIDTH, HEIGHT)


def test_nobody_is_a_density_of_nothing():
    empty = Prediction(0.0, np.zeros((60, 80), np.float32), 8, HEIGHT, WIDTH)
    whole = Ground(camera()).measure(empty, HEIGHT, WIDTH).whole
    assert (whole.mean, whole.densest.density, whole.level, whole.excluded_count) == (0, 0, "A", 0)


def test_ignored_pixels_are_no_ground():
    prediction, _ = crowd(square_crowd(1))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, 324:] = True  # half a block is ignored as well
    kept = without_ignored(prediction, IgnoreMask.make(mask), HEIGHT, WIDTH)
    ground, zones = Ground(camera()), [Zone("right", box(400, 0, WIDTH, HEIGHT))]
    half = ground.measure(kept, HEIGHT, WIDTH, zones)
    whole = ground.measure(prediction, HEIGHT, WIDTH)
    assert half.whole.area == pytest.approx(whole.whole.area * 324 / WIDTH, rel=0.03)
    assert half.whole.mean == pytest.approx(whole.whole.mean, rel=0.1)
    assert (half.zones["right"].mean, half.zones["right"].reason) == (None, "ignored")
    assert np.isnan(half.blocks[:, 50]).all()
