"""Workers of Ray that are killed amid a data set: pytest -m long tests/faults, a minute."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from crowdcount.batch import count_dataset
from crowdcount.zoo import load_model
from tests.support.counter import save_counter, write_images

pytestmark = pytest.mark.long
ray = pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def cluster():
    """Ray with two CPUs on this machine."""
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def counts(output):
    rows = pq.read_table(output).to_pylist()
    assert len({row["image"] for row in rows}) == len(rows)
    return {row["image"]: (row["count"], row["error"]) for row in rows}


def test_one_of_two_workers_is_killed_and_nothing_is_lost_or_counted_twice(tmp_path, cluster):
    """The first worker that has counted three images is killed amid its second partition; another one takes over."""
    images = write_images(tmp_path / "in", [f"{number:02}.png" for number in range(20)])
    images[7].write_bytes(b"no image")
    model = load_model(save_counter(tmp_path / "model"))
    count_dataset(tmp_path / "in", tmp_path / "local", model)
    marker, seen = str(tmp_path / "killed"), []

    def kill_once(*_):
        seen.append(1)
        if len(seen) == 4:
            with suppress(FileExistsError):  # the other worker was faster
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)

    hook, reports = model.network.register_forward_pre_hook(kill_once), []
    try:
        report = count_dataset(
            tmp_path / "in", tmp_path / "ray", model, engine="ray", workers=2, partition=2, progress=reports.append
        )
    finally:
        hook.remove()
    assert Path(marker).exists() and len({each.worker for each in reports}) >= 2
    assert sum(each.images for each in reports) == 20 and (report.images, report.errors) == (20, 1)
    assert counts(tmp_path / "ray") == counts(tmp_path / "local")
    again = count_dataset(tmp_path / "in", tmp_path / "ray", model, engine="ray", workers=2, resume=True)
    assert (again.kept, again.errors) == (19, 1)
