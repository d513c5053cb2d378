"""Parts of a data set, GAME and bootstrap intervals against plain formulas and hand-computed cases."""

import math

import numpy as np
import pytest

from crowdcount.geometry import as_points
from crowdcount.metrics import (
    NWPU_EDGES,
    bootstrap,
    count_errors,
    count_intervals,
    crowd_level,
    crowd_levels,
    density_cells,
    errors_by,
    game,
    nwpu_mean_mae,
    point_cells,
    score_intervals,
)


def test_levels_of_the_crowd():
    names = [crowd_level(count, NWPU_EDGES) for count in (0, 1, 100, 101, 500, 501, 5000, 5001)]
    assert names == ["0", "1-100", "1-100", "101-500", "101-500", "501-5000", "501-5000", ">5000"]
    assert crowd_levels(NWPU_EDGES) == ["0", "1-100", "101-500", "501-5000", ">5000"]
    assert crowd_levels((50, 500)) == ["0-50", "51-500", ">500"]
    assert crowd_levels(()) == ["all"] and crowd_level(7, ()) == "all"


def test_errors_of_groups():
    table = errors_by(["fog", "none", "fog"], [12, 5, 20], [10, 6, 24])
    assert list(table) == ["fog", "none"]
    assert table["fog"] == {"images": 2, **count_errors([12, 20], [10, 24]), "bias": -1}
    assert table["none"]["mae"] == 1 and table["none"]["images"] == 1


def test_nwpu_means_weigh_categories_and_keep_minus_one():
    found = nwpu_mean_mae("level", ["0", "1", "1", "3"], [2, 10, 20, 600], [0, 11, 25, 700])
    assert found == {"0": 2, "1": 3, "2": -1, "3": 100, "4": -1, "mean": (2 + 3 - 1 + 100 - 1) / 5}
    found = nwpu_mean_mae("luminance", ["1", "1"], [4, 6], [5, 5])
    assert found == {"0": -1, "1": 1, "2": -1, "3": -1, "mean": (1 - 3) / 4}


@pytest.mark.parametrize(("width", "height"), [(64, 64), (61, 47), (8, 5), (3, 200)])
@pytest.mark.parametrize("level", range(4))
def test_cells_of_points_against_a_loop(width, height, level):
    rng = np.random.default_rng(width)
    points = as_points(np.concatenate([rng.uniform(-9, [width + 9, height + 9], (200, 2)), [[0, 0], [width, height]]]))
    n = 2**level
    expected = np.zeros((n, n), int)
    for x, y in points.tolist():
        column = next((i for i in range(n) if x < (i + 1) * width / n), n - 1)  # outside: the nearest cell
        row = next((i for i in range(n) if y < (i + 1) * height / n), n - 1)
        expected[row, column] += 1
    cells = point_cells(points, width, height, level)
    assert np.array_equal(cells, expected) and cells.sum() == len(points)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (61, 47), (8, 5), (17, 200)])
@pytest.mark.parametrize("level", range(4))
def test_cells_of_a_density_against_fine_pixels(width, height, level):
    """Every block cut into pixels of 1/8, which all borders of cells are made of."""
    stride = 8
    density = np.random.default_rng(0).random((-(-height // stride), -(-width // stride)), np.float32)
    n = 2**level
    expected = np.zeros((n, n))
    for (row, column), people in np.ndenumerate(density):
        ys, xs = (
            [k for k in range(8 * index * stride, 8 * min((index + 1) * stride, side))]
            for index, side in ((row, height), (column, width))
        )
        part = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                inside_y = sum(i * height * 8 <= k * n < (i + 1) * height * 8 for k in ys)
                inside_x = sum(j * width * 8 <= k * n < (j + 1) * width * 8 for k in xs)
                part[i, j] = inside_y * inside_x / (len(ys) * len(xs))
        expected += people * part
    cells = density_cells(density, stride, width, height, level)
    assert cells == pytest.approx(expected, rel=1e-6)
    assert cells.sum() == pytest.approx(density.sum(dtype=np.float64))


def test_game_by_hand():
    true = point_cells(as_points([[1, 1], [1, 2], [7, 7]]), 8, 8, 1)
    assert true.tolist() == [[2, 0], [0, 1]]
    assert game(true, np.array([[1.5, 0.25], [0.0, 2.0]])) == 0.5 + 0.25 + 1
    assert game([[3]], [[3.75]]) == 0.75  # GAME(0) is the absolute error of the count


def test_game_never_falls_from_level_to_level():
    rng = np.random.default_rng(3)
    points, density = as_points(rng.uniform(-3, 90, (80, 2))), rng.random((11, 12))
    errors = [game(point_cells(points, 93, 85, k), density_cells(density, 8, 93, 85, k)) for k in range(4)]
    assert errors == sorted(errors) and errors[0] == pytest.approx(abs(density.sum() - 80))


def test_intervals_against_drawing_images_one_by_one():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 300, 60).astype(float)
    predicted = true + rng.normal(0, 40, 60)
    intervals = count_intervals(predicted.tolist(), true.tolist(), resamples=4000)
    plain = []
    for _ in range(4000):
        drawn = rng.integers(0, 60, 60)
        plain.append(count_errors(predicted[drawn], true[drawn]))
    for name, ends in intervals.items():
        expected = np.quantile([errors[name] for errors in plain], [0.025, 0.975])
        assert ends == pytest.approx(expected, rel=0.06)
        assert ends[0] < count_errors(predicted, true)[name] < ends[1]


def test_intervals_are_seeded_and_survive_what_has_no_value():
    counts = [1.0, 5.0, 7.5, 30.0], [2.0, 9.0, 7.0, 41.0]
    assert count_intervals(*counts, 50) == count_intervals(*counts, 50)
    assert count_intervals(*counts, 50) != count_intervals(*counts, 50, seed=1)
    nobody = count_intervals([1.0, 3.0], [0, 0], 50)
    assert nobody["mae"] == (1, 3) and all(map(math.isnan, nobody["nae"]))
    assert score_intervals([(3, 1, 0)] * 4, 20) == {"precision": (0.75, 0.75), "recall": (1, 1), "f1": (6 / 7, 6 / 7)}


def test_the_mean_of_equal_images_has_no_spread():
    assert bootstrap(np.full((9, 1), 4.0), lambda means: means[:, 0], 30) == (4, 4)
