"""SIGTERM to one or all of the two processes of a training."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.tiny_fit import checkpoint, content, write_config

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")

# sends SIGTERM to its own process, or to its whole group, during the first of the two steps of an epoch
STOPPER = """
import os, signal
from lightning.pytorch import Callback

class Stopper(Callback):
    def __init__(self, rank: int, group: bool) -> None:
        self.rank, self.group = rank, group

    def on_before_backward(self, trainer, *_) -> None:
        if trainer.global_rank == self.rank and trainer.global_step == 0:
            os.killpg(0, signal.SIGTERM) if self.group else os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.fixture
def config(tmp_path):
    """Writer of a configuration with a callback that sends the signal in one of the processes."""
    (tmp_path / "stopper.py").write_text(STOPPER)

    def write(rank, group):
        callback = {"class_path": "stopper.Stopper", "init_args": {"rank": rank, "group": group}}
        trainer = {"devices": 2, "strategy": "ddp", "callbacks": [callback], "num_sanity_val_steps": 0}
        return write_config(tmp_path, trainer, **{"import": ["stopper"]})

    return write


def start(folder, path, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "crowdcount", "train", "fit", "--config", path],
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


def test_a_signal_to_one_process_ends_both_after_the_same_step(tmp_path, config):
    """Started from outside, as by srun or torchrun."""
    path = config(rank=1, group=False)
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "NODE_RANK": "0"}
    processes = [start(tmp_path, path, **group, LOCAL_RANK=str(rank)) for rank in range(2)]
    errors = finish(processes)
    assert [each.returncode for each in processes] == [143, 143], errors
    assert f"ended by SIGTERM\ngo on with --ckpt_path {checkpoint(tmp_path)}" in errors[0]
    assert content(checkpoint(tmp_path))["global_step"] == 1


def test_a_signal_to_all_processes_ends_them_after_the_same_step(tmp_path, config):
    """Started by the first one, as Lightning does."""
    process = start(tmp_path, config(rank=1, group=True))
    (error,) = finish([process])  # waits for both: they share the stream
    assert process.returncode == 143, error
    assert error.count("crowdcount train: ended by SIGTERM") == 2
    assert content(checkpoint(tmp_path))["global_step"] == 1
