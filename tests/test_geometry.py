import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from crowdcount.errors import InputError
from crowdcount.geometry import (
    Kernel,
    as_points,
    block_counts,
    crop_points,
    flip_points,
    inside,
    render_density,
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


def slow_released(points, height, width, sigma=4, size=15):
    """Render as the published script does: 1-based pixels, points outside clipped in, cut windows centred anew."""

    def window(value, length):
        pixel = np.clip(abs(np.floor(value)), 1, length) - 1
        covered = np.arange(max(pixel - size // 2, 0), min(pixel + size // 2, length - 1) + 1).astype(int)
        return covered, covered - covered.mean()

    density = np.zeros((height, width))
    for x, y in points:
        (columns, u), (rows, v) = window(x, width), window(y, height)
        gaussian = np.exp(-(u**2 + v[:, None] ** 2) / (2 * sigma**2))
        density[np.ix_(rows, columns)] += gaussian / gaussian.sum()
    return density


def slow_density(points, height, width, sigmas, reach=None):
    """Render point by point over the whole image: a Gaussian around the pixel, cut to the window, scaled to 1."""
    density = np.zeros((height, width))
    for (x, y), sigma in zip(points, sigmas, strict=True):
        u, v = np.arange(width) - np.floor(x), np.arange(height)[:, None] - np.floor(y)
        far = int(4 * sigma + 0.5) if reach is None else reach
        gaussian = np.exp(-(u**2 + v**2) / (2 * max(sigma, 1e-3) ** 2)) * (abs(u) <= far) * (abs(v) <= far)
        density += gaussian / gaussian.sum()
    return density


def slow_sigmas(points, alone):
    distances = np.sqrt(np.square(points[:, None].astype(float) - points).sum(axis=-1))
    nearest = [np.sort(np.delete(row, i))[:3] for i, row in enumerate(distances)]
    return [0.3 * row.mean() if len(row) else alone for row in nearest]


def corners(width, height):
    x, y = just_below(width), just_below(height)
    return as_points([[0, 0], [x, 0], [0, y], [x, y]])


def test_released_rule_golden(golden):
    data = np.load(golden / "hmode_density.npz")
    points, (height, width) = data["points"], data["density"].shape
    assert len(points) == 46
    np.testing.assert_allclose(slow_released(points, height, width), data["density"], rtol=0, atol=1e-12)
    kept = points[inside(points, width, height)]
    assert 0 < len(kept) < len(points)
    density = render_density(as_points(points), height, width, Kernel(compat="released"))
    np.testing.assert_allclose(density, slow_released(kept, height, width), rtol=0, atol=1e-8)
    assert density.sum(dtype=float) == pytest.approx(len(kept), rel=1e-6)


@pytest.mark.parametrize("count", [20, 150])  # few and many points are rendered in two ways
@pytest.mark.parametrize(("height", "width"), [(40, 50), (15, 14), (5, 33), (1, 1)])
def test_released_rule_against_the_plain_formula(height, width, count):
    rng = np.random.default_rng(height)
    points = np.concatenate([as_points(rng.uniform(0, [width, height], (count, 2))), corners(width, height)])
    density = render_density(points, height, width, Kernel(compat="released"))
    np.testing.assert_allclose(density, slow_released(points, height, width), rtol=1e-6, atol=1e-8)
    sharp = render_density(points, height, width, Kernel(sigma=1e-3, compat="released"))
    assert sharp.sum(dtype=float) == pytest.approx(len(points), rel=1e-6)


@pytest.mark.parametrize("count", [20, 200])
@pytest.mark.parametrize("sigma", [1, 2.6, 4])
def test_fixed_sigma_is_scipys_filter_away_from_the_border(sigma, count):
    rng = np.random.default_rng(0)
    points = as_points(rng.uniform(17, [83, 73], (count, 2)))
    dots = block_counts(points, 90, 100, 1).astype(float)
    expected = gaussian_filter(dots, sigma, mode="constant", truncate=4)
    density = render_density(points, 90, 100, Kernel(sigma=sigma, size=None))
    assert density.dtype == np.float32 and density.flags.c_contiguous
    np.testing.assert_allclose(density, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("count", [20, 150])
@pytest.mark.parametrize(("height", "width"), [(40, 50), (9, 33), (1, 1), (1, 20)])
@pytest.mark.parametrize(
    ("sigma", "size"), [(4, 15), (4, None), (2, 1), (0.2, 3), (1e-9, 5), (1000, 2001), (1e300, None)]
)
def test_fixed_sigma_against_the_plain_formula(height, width, count, sigma, size):
    rng = np.random.default_rng(width)
    points = np.concatenate([as_points(rng.uniform(0, [width, height], (count, 2))), corners(width, height)])
    density = render_density(points, height, width, Kernel(sigma=sigma, size=size))
    expected = slow_density(points, height, width, [min(sigma, 1e6)] * len(points), size and size // 2)
    np.testing.assert_allclose(density, expected, rtol=1e-6, atol=1e-8)
    assert density.sum(dtype=float) == pytest.approx(len(points), rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 50])
def test_adaptive_against_the_plain_formula(count):
    points = as_points(np.random.default_rng(count).uniform(0, [60, 48], (count, 2)))
    sigmas = slow_sigmas(points, alone=5)
    density = render_density(points, 48, 60, Kernel(sigma=5, size=None, adaptive=True))
    assert density.dtype == np.float32 and density.flags.c_contiguous
    np.testing.assert_allclose(density, slow_density(points, 48, 60, sigmas), rtol=1e-5, atol=1e-8)
    assert density.sum(dtype=float) == pytest.approx(count, rel=1e-6)


def test_adaptive_takes_coincident_and_isolated_points():
    adaptive = Kernel(size=None, adaptive=True)
    points = as_points([[3.5, 2.5]] * 5)
    density = render_density(points, 48, 60, adaptive)
    assert density[2, 3] == density.sum() == 5
    points = np.concatenate([points, as_points([[10, 40], [58, 47]])])
    density = render_density(points, 48, 60, adaptive)
    expected = slow_density(points, 48, 60, slow_sigmas(points, alone=4))
    np.testing.assert_allclose(density, expected, rtol=1e-5, atol=1e-8)
    assert density[2, 3] >= 5 and density.sum(dtype=float) == pytest.approx(7, rel=1e-6)
    assert render_density(corners(4000, 3), 3, 4000, adaptive).sum(dtype=float) == pytest.approx(4, rel=1e-6)


def test_adaptive_ignores_neighbours_outside():
    adaptive = Kernel(size=None, adaptive=True)
    points = as_points([[10, 10], [20, 10], [-1, 10], [30, 60]])
    np.testing.assert_array_equal(
        render_density(points, 30, 40, adaptive), render_density(points[:2], 30, 40, adaptive)
    )


KERNELS = [Kernel(), Kernel(compat="released"), Kernel(size=None), Kernel(size=None, adaptive=True)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_density_sums_to_the_points_inside(kernel):
    rng = np.random.default_rng(1)
    points = as_points(rng.uniform(-30, 130, (300, 2)))
    points = np.concatenate([points, corners(100, 80), corners(100, 80), as_points([[100, 5], [5, 80], [np.nan, 5]])])
    density = render_density(points, 80, 100, kernel)
    assert density.shape == (80, 100) and (density >= 0).all()
    assert density.sum(dtype=float) == pytest.approx(inside(points, 100, 80).sum(), rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_density_without_points_and_of_one_pixel(kernel):
    for nobody in (as_points([]), as_points([[-1, 5], [20, 5]])):
        density = render_density(nobody, 10, 20, kernel)
        assert density.shape == (10, 20) and density.dtype == np.float32 and not density.any()
    np.testing.assert_array_equal(render_density(as_points([[0.5, 0.5], [0.1, 0.9]]), 1, 1, kernel), [[2]])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"sigma": 0}, "kernel.sigma: 0"),
        ({"sigma": -1.5}, "kernel.sigma: -1.5"),
        ({"sigma": np.inf}, "kernel.sigma: inf"),
        ({"sigma": np.nan}, "kernel.sigma: nan"),
        ({"size": 14}, "kernel.size: 14"),
        ({"size": 0}, "kernel.size: 0"),
        ({"size": -3}, "kernel.size: -3"),
        ({"compat": "published"}, "'published'"),
        ({"adaptive": True}, "kernel.size: 15.*adaptive"),
        ({"compat": "released", "size": None}, "kernel.compat: released"),
        ({"compat": "released", "size": None, "adaptive": True}, "kernel.compat: released"),
    ],
)
def test_kernels_that_make_no_sense_are_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        Kernel(**arguments)
