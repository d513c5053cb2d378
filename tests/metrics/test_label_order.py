import math

import numpy as np
import pytest

from crowdcount.metrics.label_order import label_rank_correlation


def on_a_circle(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


VALUES = np.array([0.0, 1.0, 2.2, 3.5])


def test_order_and_disorder():
    labels = np.array([0, 1, 2, 3])
    assert label_rank_correlation(on_a_circle(VALUES / 2), labels, VALUES) == pytest.approx(1)
    shuffled = on_a_circle(np.array([0.0, 1.6, 0.3, 0.1]))
    assert label_rank_correlation(shuffled, labels, VALUES) < 0.5


def test_classes_are_represented_by_their_mean():
    angles = np.array([0.0, 0.2, 0.5, 0.7, 1.5, 1.9])
    labels = np.array([0, 0, 1, 1, 3, 3])
    means = np.array([0.1, 0.6, 1.7])
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    similarity = np.cos(means[first] - means[second])
    nearness = -np.abs(VALUES[[0, 1, 3]][first] - VALUES[[0, 1, 3]][second])
    ranks = [np.argsort(np.argsort(each)) for each in (similarity, nearness)]
    expected = np.corrcoef(*ranks)[0, 1]
    vectors = on_a_circle(angles) * np.arange(1, 7)[:, None]  # lengths don't matter
    assert label_rank_correlation(vectors, labels, VALUES) == pytest.approx(expected)


def test_two_classes_have_no_order():
    assert math.isnan(label_rank_correlation(on_a_circle(np.array([0.0, 1.0])), np.array([0, 1]), VALUES))
