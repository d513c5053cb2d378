"""Count errors against hand-computed values."""

import math
import random

import numpy as np
import pytest
import torch

from crowdcount.metrics import CountErrors, count_errors


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
    (folder / f"{rank}.txt").write_text(repr(metric.compute()))
    torch.distributed.destroy_process_group()


def test_a_process_may_have_no_images(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    expected = repr(count_errors([3.25, 10], [4, 7]))
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [expected, expected]
