"""Trainings that are killed at random moments, or run out of disk: pytest -m long tests/faults, some minutes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.tiny_fit import checkpoint, content, log_rows, same_weights, write_config

pytestmark = pytest.mark.long
STEPS = ("--last.every_n_train_steps=1", "--trainer.max_epochs=6")


def start(path, *options, temporary=None, limit=None, workers=0):
    """Start a training as a process, and a process group, of its own."""
    resource = pytest.importorskip("resource")
    command = [sys.executable, "-m", "crowdcount", "train", "fit", "--config", path, f"--data.num_workers={workers}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"TMPDIR": str(temporary)} if temporary else {})}
    limits = None if limit is None else (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    return subprocess.Popen(
        [*command, *options],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=limits,
    )


def other_disk(folder):
    """Return a folder on another file system, where there is one."""
    for path in (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp")):
        if path.is_dir() and path.stat().st_dev != folder.stat().st_dev and os.access(path, os.W_OK):
            return path
    pytest.skip("there is one file system alone")


def wait_for(file, process):
    while not file.exists() and process.poll() is None:
        time.sleep(0.02)


def test_killed_trainings_leave_a_checkpoint_and_go_on_bit_for_bit(tmp_path):
    """The folder for temporary files is on another disk, where Lightning's own writer leaves half files behind."""
    path, temporary = write_config(tmp_path), other_disk(tmp_path)
    whole = start(path, *STEPS, temporary=temporary)
    assert whole.wait() == 0, whole.stderr.read()
    moments, resume = random.Random(0), []
    for version in range(1, 6):
        process = start(path, *STEPS, *resume, temporary=temporary)
        last = checkpoint(tmp_path, version)
        wait_for(last, process)
        time.sleep(moments.random() * 0.3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        content(last)  # complete, whatever was being written
        resume = ["--ckpt_path", str(last)]
    end = start(path, *STEPS, *resume, temporary=temporary)
    assert end.wait() == 0, end.stderr.read()
    assert same_weights(checkpoint(tmp_path), checkpoint(tmp_path, 6))
    rows = log_rows(tmp_path, 6)
    assert rows == log_rows(tmp_path)[-len(rows) :]


@pytest.mark.parametrize("group", [False, True])
def test_sigterm_with_workers_ends_with_143(tmp_path, group):
    """A scheduler signals the process, `timeout` its whole group with the workers."""
    process = start(write_config(tmp_path), "--trainer.max_epochs=500", workers=2)
    last = checkpoint(tmp_path)
    wait_for(last, process)
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 143, error
    assert error.endswith(f"crowdcount train: ended by SIGTERM\ngo on with --ckpt_path {last}\n")
    assert content(last)["global_step"] > 0


def test_a_limit_of_file_sizes_is_a_line(tmp_path):
    process = start(write_config(tmp_path), limit=200_000)
    error = process.communicate()[1]
    assert process.returncode == 2 and "(ulimit -f)" in error and "Traceback" not in error


def test_a_full_disk_is_a_line_and_spares_the_last_checkpoint(tmp_path):
    """On a small disk of its own, which a file of somebody else's fills during the training."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a disk is not allowed here")
    try:
        process = start(write_config(disk), "--trainer.max_epochs=500", "--last.every_n_train_steps=1")
        last = checkpoint(disk)
        wait_for(last, process)
        subprocess.run(["dd", "if=/dev/zero", f"of={disk / 'filler'}", "bs=64k"], capture_output=True, check=False)
        error = process.communicate(timeout=120)[1]
        assert process.returncode == 2 and "Traceback" not in error, error
        assert "(No space left on device); free space there" in error and f"go on with --ckpt_path {last}" in error
        assert content(last)["global_step"] > 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
