"""Hits within a radius against plain matching, and NWPU-Crowd's rule by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcount.metrics import boxes_to_heads, hits, largest_matching, level_hits, localisation_scores, pairs_within


def plain_matching(within):
    """Kuhn's algorithm on a dense (N, P) matrix; returns the head of each point, -1 for none."""
    owner = [-1] * within.shape[1]

    def place(head, seen):
        for point in range(within.shape[1]):
            if within[head, point] and point not in seen:
                seen.add(point)
                if owner[point] < 0 or place(owner[point], seen):
                    owner[point] = head
                    return True
        return False

    for head in range(within.shape[0]):
        place(head, set())
    return owner


def dense(predicted, true, radius):
    distances = np.array([[math.dist(p, t) for p in predicted] for t in true]).reshape(len(true), len(predicted))
    return distances <= np.broadcast_to(radius, len(true))[:, None]


@pytest.mark.parametrize("case", range(40))
def test_as_many_hits_as_by_a_dense_matching(case):
    rng = np.random.default_rng(case)
    heads, points = rng.integers(0, 60, 2)
    side = (10, 25, 60)[case % 3]  # crowded: many points compete for a head, and lie exactly at its radius
    true, predicted = rng.integers(0, side, (heads, 2)), rng.integers(0, side, (points, 2))
    radius = rng.integers(0, 9, heads) if case % 2 else 5
    within = dense(predicted, true, radius)
    pairs = pairs_within(predicted, true, radius)
    assert np.array_equal(pairs.toarray().astype(bool), within)
    expected = sum(owner >= 0 for owner in plain_matching(within))
    assert hits(pairs) == (expected, points - expected, heads - expected)


def test_a_point_at_the_radius_is_a_hit():
    assert hits(pairs_within(np.array([[3, 4]]), np.array([[0, 0]]), 5)) == (1, 0, 0)
    assert hits(pairs_within(np.array([[3, 4]]), np.array([[0, 0]]), 4.999)) == (0, 1, 1)


def test_more_hits_than_by_taking_the_nearest():
    true, predicted = np.array([[0, 0], [3, 0]]), np.array([[2, 0], [6, 0]])
    assert hits(pairs_within(predicted, true, 3)) == (2, 0, 0)  # (2, 0) is nearest to (3, 0), which (6, 0) also hits


@pytest.mark.parametrize(("heads", "points"), [(0, 3), (3, 0), (0, 0)])
def test_empty_scenes_and_empty_predictions(heads, points):
    pairs = pairs_within(np.zeros((points, 2)), np.zeros((heads, 2)), np.full(heads, 4))
    assert hits(pairs) == (0, points, heads)
    assert localisation_scores(*hits(pairs)) == {"precision": 0, "recall": 0, "f1": 0}


def test_one_radius_for_each_head():
    predicted, true = np.array([[10, 0], [110, 0]]), np.array([[0, 0], [100, 0]])
    assert hits(pairs_within(predicted, true, np.array([10, 9]))) == (1, 1, 1)


def test_boxes_by_hand():
    boxes = np.array(
        [
            [10, 20, 15, 27],  # 5 x 7: centre (12.5, 23.5), half diagonal 4.30, area 35
            [0, 0, 10, 10],  # area 100: on an edge of the levels
            [0, 0, 4, 0],  # no area
            [3, 3, 6, 6],  # 9
            [0, 0, 31, 40],  # 1240
            [0, 0, 400, 300],  # 120 000; half the diagonal is 250 exactly
            [-7, 0, 0, 3],  # centre -3.5 is cut towards zero
        ],
        np.float32,
    )
    heads = boxes_to_heads(boxes)
    assert heads.points.tolist() == [[12, 23], [5, 5], [4, 4], [15, 20], [200, 150], [-3, 1]]
    assert heads.sigma_s.tolist() == [2, 5, 1, 15, 150, 1]
    assert heads.sigma_l.tolist() == [4, 7, 2, 25, 250, 3]
    assert heads.levels.tolist() == [1, 0, 0, 3, 5, 1]


@pytest.mark.parametrize(
    ("area", "level"),
    [(1, 0), (9, 0), (10, 0), (11, 1), (99, 1), (100, 0), (101, 2), (1000, 0), (1001, 3), (10_000, 0), (10_001, 4),
     (99_999, 4), (100_000, 0), (100_001, 5)],
)  # fmt: skip
def test_levels_have_strict_limits(area, level):
    assert boxes_to_heads(np.array([[5, 5, 6, 5 + area]], np.float32)).levels.tolist() == [level]


def test_no_boxes():
    heads = boxes_to_heads(np.zeros((0, 4), np.float32))
    assert heads.points.shape == (0, 2) and not len(heads.levels)


@pytest.mark.parametrize("case", range(20))
def test_level_limits_over_every_largest_matching(case):
    """Against all largest matchings of a small scene."""
    rng = np.random.default_rng(case)
    heads, points = rng.integers(1, 6, 2)
    true, predicted = rng.integers(0, 8, (heads, 2)), rng.integers(0, 8, (points, 2))
    levels = rng.integers(0, 3, heads)
    pairs = pairs_within(predicted, true, 3)
    within = pairs.toarray()
    best, ways = 0, []
    for choice in itertools.product(range(-1, points), repeat=heads):
        used = [point for point in choice if point >= 0]
        valid = len(set(used)) == len(used) and all(within[h, p] for h, p in enumerate(choice) if p >= 0)
        if valid and len(used) >= best:
            ways = (ways if len(used) == best else []) + [choice]
            best = len(used)
    assert largest_matching(pairs) == best
    table = level_hits(pairs, levels)
    for level in range(6):
        found = [sum(p >= 0 and levels[h] == level for h, p in enumerate(way)) for way in ways]
        assert table[level].tolist() == [np.count_nonzero(levels == level), min(found), max(found)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=15), st.integers(0, 8))
def test_a_perfect_prediction_hits_everybody(points, radius):
    places = np.array(points, np.int64).reshape(-1, 2)
    assert hits(pairs_within(places, places, radius)) == (len(points), 0, 0)
