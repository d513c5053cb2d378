"""The end of a training by signals, full disks and settings, and going on after it."""

import errno
import os
import shutil
import signal

import pytest
import torch

from crowdcount.training import BlockwiseModule
from tests.support.tiny_fit import checkpoint, content, fit, log_rows, same_weights, write_config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert fit(write_config(folder)) == 0
    return folder


def terminate(monkeypatch, step, number):
    """Send SIGTERM to this process in a step of the module, at its call of a number."""
    original, calls = getattr(BlockwiseModule, step), []

    def call(module, *args):
        calls.append(step)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(module, *args)

    monkeypatch.setattr(BlockwiseModule, step, call)


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_ends_with_143_after_the_step_and_nothing_is_lost(tmp_path, monkeypatch, capsys, whole, workers):
    """The rest, with its logs, is that of the uninterrupted run: the rate, and averages over whole epochs."""
    path, before = write_config(tmp_path), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        terminate(patch, "training_step", 6)
        assert fit(path, f"--data.num_workers={workers}") == 143
    last = checkpoint(tmp_path)
    error = capsys.readouterr().err
    assert f"crowdcount train: ended by SIGTERM\ngo on with --ckpt_path {last}\n" in error
    assert signal.getsignal(signal.SIGTERM) == before and content(last)["global_step"] == 6
    assert fit(path, "--ckpt_path", str(last)) == 0
    assert same_weights(checkpoint(whole), checkpoint(tmp_path, 1))
    rows = log_rows(whole)
    assert rows[-2:] == log_rows(tmp_path, 1) and {"lr", "train/loss", "train/mae"} <= rows[-1].keys()


@pytest.mark.parametrize(("step", "number"), [("validation_step", 1), ("validation_step", 3), ("test_step", 1)])
def test_sigterm_outside_of_steps_ends_at_once(tmp_path, monkeypatch, capsys, step, number):
    terminate(monkeypatch, step, number)
    assert fit(write_config(tmp_path, test_after_fit=True)) == 143
    error = capsys.readouterr().err
    assert "ended by SIGTERM" in error and ("go on with --ckpt_path " in error) == (step == "test_step")


def test_a_full_disk_ends_a_training_with_a_line(tmp_path, monkeypatch, capsys):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 10:  # the trial of the folder, and a file and its folder at each step
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert fit(write_config(tmp_path), "--last.every_n_train_steps=1") == 2
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :].splitlines()
    assert "cannot be written (No space left on device); free space there" in error[0]
    assert error[1:] == [f"go on with --ckpt_path {checkpoint(tmp_path)}"]
    assert 0 < content(checkpoint(tmp_path))["global_step"] < 8


@pytest.mark.parametrize("free", [2**10, None])
def test_too_little_room_is_refused_after_the_first_step(tmp_path, monkeypatch, capsys, free):
    resource = pytest.importorskip("resource")
    before, seen = resource.getrlimit(resource.RLIMIT_FSIZE), []
    if free:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 0, free))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    original = BlockwiseModule.training_step
    monkeypatch.setattr(BlockwiseModule, "training_step", lambda *args: (seen.append(1), original(*args))[1])
    try:
        assert fit(write_config(tmp_path)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = capsys.readouterr().err
    assert "run/version_0/checkpoints: " in error and ("are free, but" if free else "(ulimit -f)") in error
    assert len(seen) == 1 and not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda best, last: best.write_bytes(best.read_bytes()[:2000]), "best.ckpt: cannot be read as a checkpoint"),
        (lambda best, last: torch.save({"state_dict": {}, "pytorch-lightning_version": "2"}, best), "best.ckpt is of"),
        (lambda best, last: last.write_bytes(last.read_bytes()[:2000]), "last.ckpt: cannot be read as a checkpoint"),
        (
            lambda best, last: torch.save(
                {key: value for key, value in content(last).items() if key != "optimizer_states"}, last
            ),
            "last.ckpt holds no state of a training (optimizer_states)",
        ),
    ],
)
def test_damaged_checkpoints_are_refused_before_the_training(tmp_path, monkeypatch, capsys, whole, damage, message):
    shutil.copytree(whole / "run", tmp_path / "run")
    best, last = (checkpoint(tmp_path, name=name) for name in ("best", "last"))
    damage(best, last)
    monkeypatch.setattr(BlockwiseModule, "losses", None)  # no step can be made
    state = content(last) if "last" not in message else None
    if state is not None:  # the run was moved: its best epoch is searched beside the last
        key = next(key for key in state["callbacks"] if key.startswith("BestCheckpoint"))
        state["callbacks"][key]["best_model_path"] = str(best)
        torch.save(state, last)
    options = ["--ckpt_path", str(last), "--trainer.max_epochs=3"]
    assert fit(write_config(tmp_path), *options) == 2
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :]
    assert message in error and (state is None or "restore it, or remove it to compare anew" in error)


def test_the_same_batches_are_overfitted(tmp_path, monkeypatch):
    seen, original = [], BlockwiseModule.training_step
    monkeypatch.setattr(
        BlockwiseModule,
        "training_step",
        lambda module, batch, index: (seen.append((batch.names, batch.images.clone())), original(module, batch, index))[
            1
        ],
    )
    assert fit(write_config(tmp_path), "--trainer.overfit_batches=1", "--trainer.max_epochs=3") == 0
    assert len(seen) == 3 and len({tuple(names) for names, _ in seen}) == 1
    assert all(torch.equal(images, seen[0][1]) for _, images in seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--best.monitor=val/maee"], "best.monitor: val/maee is not measured; there are "),
        (["--best.monitor=val_mae"], "best.monitor: val_mae is not measured; there are "),
        (["--best.monitor=loss"], "best.monitor: loss is not measured; there are "),
        (["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/x"], "val/x"),
        (["--trainer.logger=CometLogger"], "trainer: Requirement 'comet-ml"),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/mae", "--trainer.callbacks.mode=x"],
            "mode",
        ),
        (["--trainer.devices=0"], "trainer: "),
        (["--trainer.devices=-3"], "trainer: "),
        (["--trainer.devices=many"], "trainer"),
        (["--trainer.precision=transformer-engine"], "trainer: "),
        (["--trainer.max_epochs=-2"], "trainer: "),
        (["--trainer.val_check_interval=9"], "trainer: "),
        (["--trainer.limit_train_batches=2.5"], "trainer: "),
        (["--seed_everything=-1"], "seed_everything: -1 is not in bounds"),
        (["--trainer.logger.save_dir=FILE/runs"], "FILE"),
        (["--trainer.logger.save_dir=/proc/none"], "/proc/none: cannot be written"),
        (["--trainer.strategy=nothing"], "trainer"),
        (["--trainer.profiler=nothing"], "trainer"),
    ],
)
def test_what_lightning_refuses_is_one_line(tmp_path, monkeypatch, capsys, options, message):
    (tmp_path / "FILE").touch()
    monkeypatch.chdir(tmp_path)
    assert fit(write_config(tmp_path, {"max_epochs": 1}), *options) == 2
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :].splitlines()
    assert message in error[0] and len(error) <= 2
    assert len(error) == 1 or "go on with --ckpt_path" in error[1]
