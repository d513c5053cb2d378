"""What the benchmark of localisation compares: the same scenes, the same hits."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from benchmarks import localisation

from crowdcount.errors import InputError


@pytest.mark.parametrize("count", [0, 1, 4, 150, 400])
def test_all_sides_find_the_same(count):
    scene = localisation._scene(count, seed=count)
    hits = {
        function(*scene) for function in (localisation._our_hits, localisation._list_hits, localisation._matrix_hits)
    }
    assert len(hits) == 1 and (count < 100 or 0.6 * count < hits.pop() < count)


def test_the_scenes_are_as_many_and_as_crowded_as_they_say():
    counts = localisation._counts(196_238)
    assert len(counts) == 500 and sum(counts) == 196_238
    assert counts.count(0) == 35 and sum(count > 10_000 for count in counts) == 3 and max(counts) == 12_924
    levels = np.searchsorted([0, 100, 500, 5000], counts)
    assert np.bincount(levels).tolist() == [35, 146, 229, 85, 5]  # of the validation split of NWPU-Crowd
    with pytest.raises(InputError, match="too few"):
        localisation._counts(1000)
