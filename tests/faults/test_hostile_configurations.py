"""Configurations of somebody else's: whatever a key names, nothing is imported, called or written."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from crowdcount.class_paths import closed_set
from crowdcount.cli import main as cli
from crowdcount.cli import train

QUICKSTART = Path(__file__).resolve().parents[2] / "zoo_configs/quickstart.yaml"
KEYS = {
    "model": ("model",),
    "network": ("model", "init_args", "network"),
    "loss": ("model", "init_args", "loss"),
    "contrastive": ("model", "init_args", "contrastive", []),
    "optimizer": ("model", "init_args", "optimizer"),
    "schedule": ("model", "init_args", "schedule"),
    "inference": ("model", "init_args", "inference"),
    "source": ("data", "source"),
    "augment": ("data", "augment"),
    "resize": ("data", "resize"),
    "bins": ("model", "init_args", "network", "init_args", "bins"),
    "strategy": ("trainer", "strategy"),
    "accelerator": ("trainer", "accelerator"),
    "profiler": ("trainer", "profiler"),
    "logger": ("trainer", "logger"),
    "loggers": ("trainer", "logger", []),
    "callbacks": ("trainer", "callbacks", []),
    "callback": ("trainer", "callbacks"),
    "plugins": ("trainer", "plugins", []),
    "best": ("best",),
    "pictures": ("pictures",),
}
"""Every key that takes a class or settings; [] puts the value into a list."""

NESTED = {
    "callback of a callback": (
        "callbacks",
        lambda value: {
            "class_path": "lightning.pytorch.callbacks.LambdaCallback",
            "init_args": {"on_fit_start": value},
        },
    ),
    "rate of a schedule": (
        "schedule",
        lambda value: {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": value}},
    ),
    "mean of weights": (
        "callbacks",
        lambda value: {
            "class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging",
            "init_args": {"swa_lrs": 0.1, "avg_fn": value},
        },
    ),
    "source of sources": (
        "source",
        lambda value: {"class_path": "crowdcount.data.Concat", "init_args": {"sources": [value]}},
    ),
    "free arguments": (
        "strategy",
        lambda value: {
            "class_path": "lightning.pytorch.strategies.DDPStrategy",
            "init_args": {"ddp_comm_hook": value},
            "dict_kwargs": {"device_ids": value},
        },
    ),
}
VALUES = {
    "call": {"class_path": "os.system", "init_args": {"command": "touch exploded"}},
    "class": {"class_path": "hostile_module.Thing", "init_args": {}},
    "text": "hostile_module.Thing",
    "write": {"class_path": "crowdcount.files.atomic_write", "init_args": {"path": "exploded", "content": "x"}},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with a module that leaves a trace when it is imported."""
    (tmp_path / "hostile_module.py").write_text(
        "from pathlib import Path\nfrom torch.optim import Adam\nPath('exploded').touch()\n"
        "class Thing(Adam):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("hostile_module", None)


def placed(value, keys):
    """Return the quickstart with a value at a key."""
    config = yaml.safe_load(QUICKSTART.read_text())
    config["trainer"] |= {"accelerator": "cpu", "fast_dev_run": True}
    *outer, last = [key for key in keys if key != []]
    section = config
    for key in outer:
        section = section.setdefault(key, {})
    section[last] = [value] if keys[-1] == [] else value
    return config


def refusal(capsys, *words):
    """Run the training and return its message; it may leave nothing behind."""
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", *words])
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :]
    assert stopped.value.code == 2 and len(error.splitlines()) == 1, error
    assert not Path("exploded").exists() and "hostile_module" not in sys.modules and not Path("runs").exists()
    return error


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", KEYS)
def test_no_key_imports_or_calls(folder, capsys, key, value):
    Path("c.yaml").write_text(yaml.safe_dump(placed(VALUES[value], KEYS[key])))
    refusal(capsys, "--config", "c.yaml")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", NESTED)
def test_no_nested_key_imports_or_calls(folder, capsys, place, value):
    key, wrapped = NESTED[place]
    Path("c.yaml").write_text(yaml.safe_dump(placed(wrapped(VALUES[value]), KEYS[key])))
    refusal(capsys, "--config", "c.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--model.optimizer", "os.system"],
            "model.optimizer: os.system is not among the classes that a configuration",
        ),
        (["--model.optimizer=hostile_module.Thing", "--model.optimizer.lr=1"], "give --import hostile_module if you"),
        (["--model.optimizer.class_path=os.system"], "model.optimizer: os.system is not among"),
        (["--model.schedule", '{"class_path": "os.system", "init_args": {"command": "touch exploded"}}'], "os.system"),
        (["--model.help=hostile_module.Thing"], "hostile_module.Thing is not among"),
        (["--trainer.callbacks+=hostile_module.Thing"], "trainer.callbacks: hostile_module.Thing is not among"),
        (["--trainer.logger", "hostile_module.Thing"], "trainer.logger: hostile_module.Thing is not among"),
        (["--data.batch_size=class_path='hostile_module.Thing'"], "data.batch_size: expected int"),
        (["--model.optimizer", "crowdcount.files.os.system"], "crowdcount.files.os.system is not among"),
        (["--model.optimizer", "torch.optim.lr_scheduler.partial"], "functools.partial is not among"),
        (["--model.optimizer", "crowdcount.training.WarmupRestarts"], "subclass of Optimizer"),
        (["--model.schedule", "torch.optim.Adam"], "torch.optim.Adam"),
        (["--model.optimizer=crowdcount.data.read_image", "--model.optimizer.path=exploded"], "read_image"),
        (["--import", "os", "--model.optimizer=os.system"], "--import os: is a part of Python"),
        (["--data.source", "sub.yaml"], "data.source: "),
    ],
)
def test_overrides_import_and_call_nothing(folder, capsys, words, message):
    Path("sub.yaml").write_text(yaml.safe_dump(VALUES["class"]))
    assert message in refusal(capsys, "--config", str(QUICKSTART), *words)


def test_an_evaluation_imports_nothing(folder, capsys):
    for value in (VALUES["class"], VALUES["call"], VALUES["text"]):
        Path("c.yaml").write_text(yaml.safe_dump({"data": {"source": value}}))
        assert cli.main(["evaluate", "x", "--data", "c.yaml"]) == 2
        error = capsys.readouterr().err
        assert "is not among the classes that a configuration may name" in error and error.count("\n") == 1
    assert not Path("exploded").exists() and "hostile_module" not in sys.modules


def test_a_function_of_a_trusted_package_is_no_optimizer(folder, capsys):
    Path("trusted_optim.py").write_text(
        "from pathlib import Path\nfrom torch.optim import Optimizer\n"
        "def make(params, name: str = 'exploded') -> Optimizer:\n    Path(name).touch()\n"
    )
    for value in ("trusted_optim.make", {"class_path": "trusted_optim.make", "init_args": {}}):
        config = {"import": "trusted_optim", **placed(value, KEYS["optimizer"])}
        Path("c.yaml").write_text(yaml.safe_dump(config))
        assert "model.optimizer: " in refusal(capsys, "--config", "c.yaml")
    sys.modules.pop("trusted_optim")


def test_the_settings_of_the_process_are_put_back():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--layer", type=torch.nn.Module)
    with closed_set(), pytest.raises(Exception, match="is not allowed"):
        parser.parse_args(["--layer=torch.nn.ReLU"])
    assert parser.parse_args(["--layer=torch.nn.ReLU"]).layer.class_path == "torch.nn.ReLU"
