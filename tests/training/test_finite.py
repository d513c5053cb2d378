"""Losses and weights that are not finite: named, and never kept."""

import math

import pytest
import torch
from torch import nn

from crowdcount.errors import InputError
from crowdcount.training.finite import check_weights, first_broken, loss_error
from tests.support.tiny_fit import checkpoint, content, fit, write_config


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_broken_tensor_is_named(value):
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(2))
    network.register_buffer("limit", torch.tensor([1.0, math.inf]))  # infinite on purpose
    assert first_broken(network) is None
    check_weights(network, 1)
    with torch.no_grad():
        network[1].weight[0] = value
    assert first_broken(network) == "1.weight"
    with pytest.raises(InputError, match=r"step 7: .* such as 1\.weight; start anew with a lower model"):
        check_weights(network, 7)


def test_a_loss_that_is_not_finite_is_traced_to_its_terms():
    network = nn.Linear(2, 2)
    terms = {"count": torch.tensor(1.0), "transport": torch.tensor(math.nan), "x": torch.tensor(-math.inf)}
    message = str(loss_error(terms, network, 3))
    assert "step 3: the loss is not finite (transport is nan, x is -inf); start anew" in message
    nn.init.constant_(network.bias, math.nan)
    assert "(in another process), as the weights are no longer, such as bias" in str(loss_error({}, network, 3))


def test_a_training_that_diverges_stops_at_once_and_keeps_nothing_of_it(tmp_path, capsys):
    path = write_config(tmp_path)
    options = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=1e30", "--last.every_n_train_steps=1"]
    assert fit(path, *options) == 2
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :]
    assert "step 2: the loss is not finite (cross_entropy is nan" in error and "a lower model.optimizer.lr" in error
    assert len(error.splitlines()) == 2 and not checkpoint(tmp_path, name="best").exists()
    kept = content(checkpoint(tmp_path))  # of the first step, whose weights are huge, but numbers
    assert kept["global_step"] == 1 and all(each.isfinite().all() for each in kept["state_dict"].values())


def test_broken_weights_are_neither_validated_nor_saved(tmp_path, monkeypatch, capsys):
    """The last step of an epoch breaks them: its own loss is a number."""
    step = torch.optim.Adam.step

    def broken(optimizer, closure=None):
        loss = step(optimizer, closure)
        with torch.no_grad():
            optimizer.param_groups[0]["params"][0].fill_(math.inf)
        return loss

    monkeypatch.setattr(torch.optim.Adam, "step", broken)
    assert fit(write_config(tmp_path), "--trainer.limit_train_batches=1", "--trainer.num_sanity_val_steps=0") == 2
    assert "step 1: the weights are no longer finite, such as network." in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_value_that_is_not_finite_is_never_the_best(tmp_path, monkeypatch, capsys):
    """The first epoch gives NaN, although its weights are fine; the second is the best, then."""
    from crowdcount.metrics import CountErrors

    compute, calls = CountErrors.compute, []

    def first_is_nan(errors):
        calls.append(errors)
        values = compute(errors)
        return {**values, "mae": torch.tensor(math.nan)} if len(calls) <= 2 else values  # a trial comes before

    monkeypatch.setattr(CountErrors, "compute", first_is_nan)
    assert fit(write_config(tmp_path)) == 0
    assert content(checkpoint(tmp_path, name="best"))["epoch"] == 1
