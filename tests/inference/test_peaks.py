"""Points of a density against a slow search for its maxima."""

import numpy as np
import pytest

from crowdcount.inference.peaks import density_peaks
from crowdcount.inference.prediction import Prediction


def prediction(density, stride=8, count=None, size=None):
    density = np.asarray(density, np.float32)
    height, width = size or (density.shape[0] * stride, density.shape[1] * stride)
    return Prediction(float(density.sum()) if count is None else count, density, stride, height, width)


def plain_peaks(density, threshold):
    """Blocks above the threshold and all neighbours, of equal ones the first in reading order."""
    found = []
    for (row, column), value in np.ndenumerate(density):
        around = [
            (density[r, c], (r, c))
            for r in range(max(0, row - 1), min(density.shape[0], row + 2))
            for c in range(max(0, column - 1), min(density.shape[1], column + 2))
            if (r, c) != (row, column)
        ]
        if value > threshold and all(value > other or (value == other and (row, column) < at) for other, at in around):
            found.append((row, column))
    return found


@pytest.mark.parametrize("case", range(12))
def test_maxima_against_a_loop(case):
    rng = np.random.default_rng(case)
    density = rng.integers(0, 5 if case % 2 else 1000, rng.integers(1, 13, 2)).astype(np.float32)  # with ties
    threshold = (0.0, 2.0)[case % 2]
    points = density_peaks(prediction(density, count=1e9), threshold)
    blocks = sorted((int(y // 8), int(x // 8)) for x, y in points)
    assert blocks == plain_peaks(density, threshold)


def test_no_more_points_than_people_and_the_strongest_first():
    density = np.zeros((9, 9))
    density[1, 1], density[1, 5], density[5, 1], density[6, 6] = 0.3, 1.4, 0.6, 0.2
    points = density_peaks(prediction(density))  # 2.5 people, rounded to 2
    assert np.floor(points / 8).tolist() == [[5, 1], [1, 5]]
    assert len(density_peaks(prediction(density, count=3.4))) == 3
    assert density_peaks(prediction(density, count=-2.0)).shape == (0, 2)
    assert density_peaks(prediction(np.zeros((4, 4)))).shape == (0, 2)


def test_a_point_lies_where_the_parabola_is_highest():
    """Samples of a parabola whose top is 0.3 blocks right of and 0.2 above the middle of block (2, 2)."""
    rows, columns = np.mgrid[:5, :5]
    density = 9 - (columns - 2.3) ** 2 - (rows - 1.8) ** 2
    [point] = density_peaks(prediction(density * (density > 6), count=1.0))
    assert point == pytest.approx([8 * 2.8, 8 * 2.3], abs=1e-4)


def test_points_lie_inside_the_image():
    density = np.zeros((3, 3))
    density[2, 2] = 4
    [point] = density_peaks(prediction(density, size=(18, 17)))  # the middle of the last block is outside
    assert point[0] < 17 and point[1] < 18 and point.min() > 15.9
