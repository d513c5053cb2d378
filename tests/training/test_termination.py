"""SIGTERM to one or all of the two processes of a training, and going on after it."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
import torch

import crowdcount
from tests.support.tiny_fit import checkpoint, content, log_rows, same_weights, write_config

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")

# sends SIGTERM to its own process, or to its whole group, during the first of the two steps of an epoch
STOPPER = """
import os, signal
from lightning.pytorch import Callback

class Stopper(Callback):
    def __init__(self, rank: int | None, group: bool) -> None:
        self.rank, self.group = rank, group

    def on_before_backward(self, trainer, *_) -> None:
        if trainer.global_rank == self.rank and trainer.global_step == 0:
            os.killpg(0, signal.SIGTERM) if self.group else os.kill(os.getpid(), signal.SIGTERM)
"""

# several trainings one after the other: starting a process takes longer than a training
TRAININGS = """
import json, sys
from crowdcount.cli.train import main

for words in map(json.loads, sys.argv[1:]):
    main(["fit", "--config", *words])
"""


@pytest.fixture
def config(tmp_path):
    """Writer of a configuration with the average of the weights, and a callback that sends the signal in a process."""
    (tmp_path / "stopper.py").write_text(STOPPER)

    def write(rank, group):
        stopper = {"class_path": "stopper.Stopper", "init_args": {"rank": rank, "group": group}}
        average = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.5}}
        trainer = {"devices": 2, "strategy": "ddp", "callbacks": [stopper, average], "num_sanity_val_steps": 0}
        return write_config(tmp_path, trainer, **{"import": ["stopper"]})

    return write


def start(folder, *words, **environment):
    return subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(processes):
    """Return what the processes wrote to stderr; none of them outlives the test."""
    try:
        return [each.communicate(timeout=900)[1] for each in processes]
    finally:
        for each in processes:
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def run_two(folder, *words):
    """Return the exit statuses and the errors of two processes started from outside, as by srun or torchrun."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "NODE_RANK": "0"}
    processes = [start(folder, *words, **group, LOCAL_RANK=str(rank)) for rank in range(2)]
    errors = finish(processes)
    return [each.returncode for each in processes], errors


def test_a_signal_to_one_process_ends_both_after_the_same_step_and_nothing_is_lost(tmp_path, config):
    """The rest is that of an uninterrupted run, bit for bit: weights, their average, optimizer, logs, best epoch."""
    status, errors = run_two(tmp_path, "-m", "crowdcount", "train", "fit", "--config", config(rank=1, group=False))
    assert status == [143, 143], errors
    last = checkpoint(tmp_path)
    assert f"ended by SIGTERM\ngo on with --ckpt_path {last}" in errors[0]
    assert content(last)["global_step"] == 1

    path = config(rank=None, group=False)
    status, errors = run_two(
        tmp_path, "-c", TRAININGS, json.dumps([path, "--ckpt_path", str(last)]), json.dumps([path])
    )
    assert status == [0, 0], errors
    resumed, whole = (content(checkpoint(tmp_path, version)) for version in (1, 2))
    assert resumed["global_step"] == whole["global_step"] == 4
    for key in ("current_model_state", "averaging_state", "optimizer_states", "random_streams", "epoch_so_far"):
        torch.testing.assert_close(resumed[key], whole[key], rtol=0, atol=0)
    for name in ("last", "best"):
        assert same_weights(checkpoint(tmp_path, 1, name), checkpoint(tmp_path, 2, name))
    assert not same_weights(last, checkpoint(tmp_path, 2))
    assert log_rows(tmp_path, 1) == log_rows(tmp_path, 2)
    assert crowdcount.load_model(checkpoint(tmp_path, 1, "best")).name


def test_a_signal_to_all_processes_ends_them_after_the_same_step(tmp_path, config):
    """Started by the first one, as Lightning does."""
    process = start(tmp_path, "-m", "crowdcount", "train", "fit", "--config", config(rank=1, group=True))
    (error,) = finish([process])  # waits for both: they share the stream
    assert process.returncode == 143, error
    assert error.count("crowdcount train: ended by SIGTERM") == 2
    assert content(checkpoint(tmp_path))["global_step"] == 1
