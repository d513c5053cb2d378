"""Count and localisation errors against recorded and hand-computed values."""

import itertools
import math
import random

import numpy as np
import pytest
import torch

from crowdcount.metrics import (
    CountErrors,
    Localisation,
    count_errors,
    localisation_scores,
    match_points,
    predicted_radius,
)


def test_errors_by_hand(golden):
    errors = count_errors([12.0, 5.0, 0.5], [10, 5, 0])
    assert errors == pytest.approx({"mae": 2.5 / 3, "rmse": math.sqrt(4.25 / 3), "nae": 0.1})
    recorded = np.load(golden / "clip_ebc_sliding.npz")["errors"]  # the published MAE and RMSE of errors -2, 3, 0
    errors = count_errors([8, 23, 5], [10, 20, 5])
    assert [errors["mae"], errors["rmse"]] == pytest.approx(recorded.tolist(), rel=1e-7)


def test_the_order_of_the_images_makes_no_difference():
    rng = random.Random(0)
    pairs = [(rng.lognormvariate(4, 2), rng.randrange(5000)) for _ in range(500)]
    first = count_errors(*zip(*pairs, strict=True))
    rng.shuffle(pairs)
    assert count_errors(*zip(*pairs, strict=True)) == first


def test_images_without_people_have_no_relative_error():
    assert math.isnan(count_errors([1.0], [0])["nae"])
    with pytest.raises(ValueError, match="at least one image"):
        count_errors([], [])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        count_errors([1.0], [])


def test_the_metric_collects_an_epoch():
    metric = CountErrors()
    for predicted, true in ((3.25, 4), (10, 7)):
        metric.update(predicted, true)
    assert metric.compute() == count_errors([3.25, 10], [4, 7])
    metric.reset()
    metric.update(1e8 + 0.25, 1e8)  # beyond float32
    assert metric.compute()["mae"] == 0.25


def one_of_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metric = CountErrors()
    if rank == 0:
        metric.update(3.25, 4)
        metric.update(10, 7)
    found = Localisation()
    if rank == 0:
        found.update(np.zeros((3, 2)), np.zeros((2, 2)), 0.1)
    (folder / f"{rank}.txt").write_text(repr((metric.compute(), found.compute())))
    torch.distributed.destroy_process_group()


def test_a_process_may_have_no_images(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    expected = repr((count_errors([3.25, 10], [4, 7]), localisation_scores(2, 1, 0)))
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [expected, expected]


def test_localisation_is_the_recorded_one(golden):
    recorded = np.load(golden / "rec_locmetric.npz")
    whole = Localisation()
    for case in range(int(recorded["n"])):
        boxes, true, out = (recorded[f"c{case}_{name}"] for name in ("boxes", "gt", "out"))
        radius = predicted_radius(boxes[:, 2:])
        counts = match_points(boxes[:, :2], true, radius)
        assert counts == tuple(out[:3])
        assert list(localisation_scores(*counts).values()) == pytest.approx(out[3:6], rel=1e-6)
        assert radius == pytest.approx(out[6], rel=1e-6)
        whole.update(boxes[:, :2], true, radius)
    sums = sum(recorded[f"c{case}_out"][:3] for case in range(int(recorded["n"])))
    assert whole.compute() == localisation_scores(*sums)  # not the mean of the cases' scores
    whole.reset()
    assert whole.compute() == {"precision": 0, "recall": 0, "f1": 0}


def test_points_are_paired_at_least_total_distance():
    random = np.random.default_rng(0)
    for predicted, true in itertools.product(range(5), range(5)):
        a, b = random.uniform(0, 100, (predicted, 2)), random.uniform(0, 100, (true, 2))
        small, large = sorted((a, b), key=len)
        ways = [
            [math.dist(small[i], large[j]) for i, j in enumerate(order)]
            for order in itertools.permutations(range(len(large)), len(small))
        ]
        hits = sum(distance < 40 for distance in min(ways, key=sum))
        assert match_points(a, b, 40) == (hits, predicted - hits, true - hits)


def test_a_pair_at_the_radius_is_no_hit():
    assert match_points(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), 5.0) == (0, 1, 1)
    assert match_points(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), 5.001) == (1, 0, 0)


def test_the_radius_is_half_the_diagonal_of_the_box_of_upper_median_area():
    sizes = np.array([[1.0, 9.0], [3.0, 4.0], [2.0, 2.0], [8.0, 6.0]])  # areas 9, 12, 4, 48
    assert predicted_radius(sizes) == 2.5
    assert predicted_radius(sizes[:3]) == pytest.approx(math.hypot(1, 9) / 2)
    assert predicted_radius(sizes[:0]) == 0


def test_scores_by_hand():
    assert localisation_scores(3, 1, 2) == {"precision": 3 / 4, "recall": 3 / 5, "f1": 6 / 9}
    assert localisation_scores(0, 0, 4) == {"precision": 0, "recall": 0, "f1": 0}
