import numpy as np
import pytest

from crowdcount.geometry import (
    as_points,
    block_counts,
    crop_points,
    flip_points,
    inside,
    resize_points,
)


def just_below(value):
    return np.nextafter(np.float32(value), np.float32(0))


def slow_counts(points, height, width, stride):
    counts = np.zeros((height // stride, width // stride), np.float32)
    for row in range(height // stride):
        for column in range(width // stride):
            for x, y in points:
                across = column * stride <= x < (column + 1) * stride
                counts[row, column] += across and row * stride <= y < (row + 1) * stride
    return counts


def test_as_points_takes_lists_arrays_and_nothing():
    assert as_points([]).shape == as_points(np.zeros((0, 0))).shape == (0, 2)
    assert as_points([[1, 2], [3, 4.5]]).dtype == np.float32


def test_inside_is_half_open():
    points = as_points([[0, 0], [just_below(8), just_below(6)], [8, 3], [3, 6], [-1e-6, 3], [np.nan, 3]])
    assert inside(points, 8, 6).tolist() == [True, True, False, False, False, False]


def test_crop_keeps_what_is_inside_in_its_own_frame():
    points = as_points([[10, 20], [19.5, 29.5], [20, 25], [9.5, 25]])
    np.testing.assert_array_equal(crop_points(points, 10, 20, 10, 10), [[0, 0], [9.5, 9.5]])


def test_crop_golden(golden):
    data = np.load(golden / "clip_ebc_transforms.npz")
    cropped = crop_points(data["lab"], left=20, top=10, width=64, height=64)
    np.testing.assert_array_equal(cropped, data["crop_t10_l20_h64_w64/lab"])


@pytest.mark.parametrize(("width", "height"), [(96, 64), (160, 120)])
def test_scale_golden(golden, width, height):
    data = np.load(golden / "clip_ebc_transforms.npz")
    expected = data[f"resize_{height}x{width}/lab"]  # the published code clamps to the last pixel's left edge
    np.testing.assert_allclose(
        np.minimum(resize_points(data["lab"], (128, 96), (width, height)), [width - 1, height - 1]), expected, atol=1e-4
    )


def test_resizing_moves_no_point_across_the_border():
    rng = np.random.default_rng(0)
    near_powers = [1, 2, 3, 15, 16, 17, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65537]  # where floats are coarsest
    pairs = [((a, b), (b, a)) for a in near_powers for b in near_powers]
    for old, new in pairs + [(tuple(p[:2]), tuple(p[2:])) for p in rng.integers(1, 5000, (200, 4)).tolist()]:
        edge = [[just_below(old[0]), just_below(old[1])], [0, 0], [old[0], 0], [0, old[1]], [-1e-3, 0]]
        points = as_points(np.concatenate([edge, rng.uniform([0, 0], old, (20, 2))]))
        resized = resize_points(points, old, new)
        assert resized.dtype == np.float32
        np.testing.assert_array_equal(inside(resized, *new), inside(points, *old))
        np.testing.assert_allclose(resized, points * np.float64(new) / old, rtol=1e-6, atol=1e-6)


def test_flip_keeps_points_inside_and_returns_on_the_second_flip():
    rng = np.random.default_rng(0)
    points = as_points(np.concatenate([rng.uniform(0, 100, (500, 2)), [[0, 0], [just_below(100), 0], [1e-9, 5]]]))
    flipped = flip_points(points, 100)
    assert inside(flipped, 100, 100).all()
    np.testing.assert_allclose(flipped[:, 0] + points[:, 0], 100, atol=1e-4)
    np.testing.assert_allclose(flip_points(flipped, 100), points, atol=1e-4)


def test_flip_pulls_no_point_in_from_outside():
    assert not inside(flip_points(as_points([[-3, 5], [104, 5]]), 100), 100, 100).any()


@pytest.mark.parametrize(("height", "width", "stride"), [(24, 32, 8), (25, 39, 8), (7, 9, 1), (5, 5, 8)])
def test_block_counts_against_loops(height, width, stride):
    rng = np.random.default_rng(height)
    points = as_points(rng.uniform(-4, 44, (60, 2)))
    points = np.concatenate([points, points[:5], np.floor(points[:10])])
    counts = block_counts(points, height, width, stride)
    np.testing.assert_array_equal(counts, slow_counts(points, height, width, stride))
    covered = inside(points, width // stride * stride, height // stride * stride)
    assert counts.sum() == covered.sum()


def test_once_per_pixel_counts_a_pixel_once():
    points = as_points([[1.2, 1.2], [1.9, 1.9], [2, 1], [-0.5, 1]])
    assert block_counts(points, 8, 8, 8).item() == 3
    assert block_counts(points, 8, 8, 8, once_per_pixel=True).item() == 2


def test_density_map_golden(golden):
    data = np.load(golden / "clip_ebc_transforms.npz")
    ours = block_counts(data["lab"], 96, 128, 1, once_per_pixel=True)
    np.testing.assert_array_equal(ours[None], data["density_map"])
