"""The published learning-rate schedule."""

import numpy as np
import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.training.schedule import WarmupRestarts


def rates(epochs, **arguments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = WarmupRestarts(optimizer, **arguments)
    result = []
    for _ in range(epochs):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(result), schedule


@pytest.mark.parametrize(("name", "warmup"), [("lr_default", 1e-6), ("lr_vit_warmup1e3", 1e-3)])
def test_all_epochs_equal_the_recorded_ones(golden, name, warmup):
    recorded = np.load(golden / "clip_ebc_schedule.npz")[name]
    np.testing.assert_allclose(rates(len(recorded), warmup_lr=warmup)[0], recorded, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("default", {}),
        ("vit_warmup1e-3", {"warmup_lr": 1e-3}),
        ("restarts_mult1", {"period_factor": 1}),
        ("no_warmup", {"warmup_epochs": 0}),
    ],
)
def test_rates_of_zip_equal_the_recorded_ones(golden, name, options):
    recorded = np.load(golden / "zip" / "zip_schedule.npz")[f"{name}/lr"]
    published = {"warmup_epochs": 25, "warmup_lr": 1e-5, "min_lr": 1e-6, "warmup": "log"}
    np.testing.assert_allclose(rates(len(recorded), **{**published, **options})[0], recorded, rtol=1e-12)


def test_restarts_fall_where_the_periods_end():
    values, _ = rates(30, warmup_epochs=0, first_period=3, period_factor=2)
    assert [epoch for epoch, rate in enumerate(values) if rate == 1e-4] == [0, 3, 9, 21]
    values, _ = rates(10, warmup_epochs=1, first_period=4, period_factor=1)
    assert [epoch for epoch, rate in enumerate(values) if rate == 1e-4] == [1, 5, 9]


def test_a_saved_schedule_continues():
    expected, _ = rates(12, warmup_epochs=4)
    _, schedule = rates(6, warmup_epochs=4)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    resumed = WarmupRestarts(optimizer, warmup_epochs=4)
    resumed.load_state_dict(schedule.state_dict())
    optimizer.step()
    resumed.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(expected[7], rel=1e-12)


def test_impossible_periods_are_refused():
    with pytest.raises(InputError, match="first_period"):
        rates(1, first_period=0)
    with pytest.raises(InputError, match=r"schedule\.warmup: 'log' from 0"):
        rates(1, warmup="log", warmup_lr=0)
