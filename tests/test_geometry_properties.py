"""Properties that must hold for any points and any image: Hypothesis looks for the counterexample."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crowdcount.geometry import (
    Kernel,
    block_counts,
    crop_points,
    flip_points,
    inside,
    render_density,
    resize_points,
)

sides = st.integers(1, 90)
numbers = st.floats(-30, 120, width=32) | st.integers(-3, 93).map(float)  # whole numbers meet every border
points = st.integers(0, 25).flatmap(lambda count: arrays(np.float32, (count, 2), elements=numbers))
KERNELS = [
    Kernel(),
    Kernel(sigma=0.3, size=3),
    Kernel(sigma=7.5, size=None),
    Kernel(size=None, adaptive=True),
    Kernel(compat="released"),
]


def count_inside(heads, width, height):
    return sum(0 <= x < width and 0 <= y < height for x, y in heads.tolist())


@given(points, sides, sides)
def test_inside_is_the_plain_rule(heads, width, height):
    assert inside(heads, width, height).sum() == count_inside(heads, width, height)


@given(points, sides, sides)
def test_the_whole_image_as_a_crop_keeps_the_points_inside_untouched(heads, width, height):
    np.testing.assert_array_equal(crop_points(heads, 0, 0, width, height), heads[inside(heads, width, height)])


@given(points, sides, sides, st.data())
def test_tiles_share_the_points_of_an_image_without_loss_or_repeat(heads, width, height, data):
    columns = [0, *sorted(data.draw(st.sets(st.integers(1, width))) | {width})]
    rows = [0, *sorted(data.draw(st.sets(st.integers(1, height), max_size=4)) | {height})]
    tiles = [
        len(crop_points(heads, left, top, right - left, bottom - top))
        for left, right in pairwise(columns)
        for top, bottom in pairwise(rows)
    ]
    assert sum(tiles) == count_inside(heads, width, height)


@given(points, st.integers(-20, 60), st.integers(-20, 60), sides, sides)
def test_a_crop_is_in_its_own_frame(heads, left, top, width, height):
    kept = crop_points(heads, left, top, width, height)
    assert inside(kept, width, height).all()
    moved = heads - np.float32([left, top])
    assert len(kept) == count_inside(moved, width, height)


@given(points, sides, sides)
def test_a_flip_keeps_who_is_inside_and_undoes_itself(heads, width, height):
    flipped = flip_points(heads, width)
    within = inside(heads, width, height)
    assert (inside(flipped, width, height) >= within).all()
    assert inside(flipped, width, height).sum() == within.sum() + sum(
        x == width and 0 <= y < height for x, y in heads.tolist()
    )
    np.testing.assert_allclose(flip_points(flipped, width), heads, atol=2e-5)


@given(points, sides, sides, st.integers(1, 9000), st.integers(1, 9000))
def test_resizing_moves_no_one_across_the_border_and_back_again(heads, width, height, columns, rows):
    resized = resize_points(heads, (width, height), (columns, rows))
    np.testing.assert_array_equal(inside(resized, columns, rows), inside(heads, width, height))
    back = resize_points(resized, (columns, rows), (width, height))
    np.testing.assert_allclose(back, heads, rtol=3e-7, atol=1e-30)


@given(points, sides, sides, st.integers(1, 12))
def test_blocks_hold_every_point_of_the_area_they_cover(heads, width, height, stride):
    blocks = block_counts(heads, height, width, stride)
    assert blocks.shape == (height // stride, width // stride)
    assert blocks.sum() == count_inside(heads, width // stride * stride, height // stride * stride)
    once = block_counts(heads, height, width, stride, once_per_pixel=True)
    assert (once <= blocks).all() and ((once > 0) == (blocks > 0)).all() and once.max(initial=0) <= stride**2


@given(points, sides, sides)
def test_coarse_blocks_are_sums_of_fine_ones(heads, width, height):
    fine, coarse = block_counts(heads, height, width, 3), block_counts(heads, height, width, 6)
    rows, columns = coarse.shape
    summed = fine[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).sum((1, 3))
    np.testing.assert_array_equal(summed, coarse)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
@given(heads=points, width=sides, height=sides)
def test_a_density_map_is_never_negative_and_sums_to_the_points_inside(kernel, heads, width, height):
    density = render_density(heads, height, width, kernel)
    assert density.shape == (height, width) and density.dtype == np.float32
    assert (density >= 0).all()
    np.testing.assert_allclose(density.sum(dtype=np.float64), count_inside(heads, width, height), rtol=1e-5, atol=1e-6)


@given(points, sides, sides)
def test_density_maps_add_up(heads, width, height):
    half = len(heads) // 2
    parts = render_density(heads[:half], height, width) + render_density(heads[half:], height, width)
    np.testing.assert_allclose(parts, render_density(heads, height, width), atol=1e-5)
