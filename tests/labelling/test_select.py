"""Farthest-first choice with weights of uncertainty, against plain formulas and random choice."""

import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.labelling.select import select


def slow(features, uncertainty, number):
    """Choose by the formula, one candidate after the other."""
    total = len(features)
    ranks = [sum(other < own for other in uncertainty) / max(1, total - 1) for own in uncertainty]
    chosen = [max(range(total), key=lambda i: (uncertainty[i], -i))]
    while len(chosen) < min(number, total):
        scores = {}
        for i in set(range(total)) - set(chosen):
            scores[i] = min(np.linalg.norm(features[i] - features[j]) for j in chosen) * (1 + ranks[i]) / 2
        chosen.append(max(sorted(scores), key=lambda i: scores[i]))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_the_formula(seed):
    rng = np.random.default_rng(seed)
    features, uncertainty = rng.normal(size=(30, 4)), rng.gamma(2, size=30).round(1)
    found = select(features, uncertainty, 8)
    assert [pick.index for pick in found.picks] == slow(features, uncertainty, 8)
    assert len(found.nearest) == 22 and not found.duplicates
    for index, (near, distance) in found.nearest.items():
        all_distances = {pick.index: np.linalg.norm(features[index] - features[pick.index]) for pick in found.picks}
        assert near == min(all_distances, key=all_distances.get)
        spread = np.linalg.norm(features - features.mean(axis=0), axis=1).max()
        assert distance == pytest.approx(all_distances[near] / spread)


def test_a_larger_number_begins_with_the_same_and_stops_at_all():
    features = np.random.default_rng(0).normal(size=(12, 3))
    uncertainty = np.arange(12.0)
    all_of_them = [pick.index for pick in select(features, uncertainty, 99).picks]
    assert sorted(all_of_them) == list(range(12)) and all_of_them[0] == 11
    assert [pick.index for pick in select(features, uncertainty, 5).picks] == all_of_them[:5]


def test_of_near_duplicates_one_is_chosen():
    """The first of two alike is the least sure; the others follow, though nothing else is left."""
    features = np.array([[0.0], [0.1], [5.0], [5.1]])
    found = select(features, [2, 9, 1, 3], 4, alike=lambda one, other: abs(features[one] - features[other]) < 1)
    assert [pick.index for pick in found.picks] == [1, 3] and found.duplicates == {0: 1, 2: 3}
    assert not found.nearest


def test_equal_frames_are_taken_in_order_and_none_is_an_empty_choice():
    found = select(np.zeros((3, 2)), [1, 1, 1], 2)
    assert [pick.index for pick in found.picks] == [0, 1] and found.nearest == {2: (0, 0.0)}
    assert select(np.zeros((0, 2)), [], 2).picks == []
    with pytest.raises(InputError, match="number: 0 must be at least 1"):
        select(np.zeros((3, 2)), [1, 1, 1], 0)


def test_rare_modes_are_covered_where_chance_misses_them():
    """Of a camera's hours most look alike: six modes have 200, 40, 8, 4, 2 and 1 frames."""
    rng = np.random.default_rng(0)
    modes = np.repeat(np.arange(6), [200, 40, 8, 4, 2, 1])
    centres = rng.normal(size=(6, 16)) * 5
    chosen, by_chance = [], []
    for _ in range(20):
        features = centres[modes] + rng.normal(size=(len(modes), 16))
        found = select(features, rng.random(len(modes)), 8)
        chosen.append(len({modes[pick.index] for pick in found.picks}))
        by_chance.append(len(set(modes[rng.permutation(len(modes))[:8]])))
    assert np.mean(chosen) > 5.5 > np.mean(by_chance) + 2
