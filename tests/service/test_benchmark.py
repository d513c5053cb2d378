"""The figures of the service's benchmark are there, with a small counter and few clients."""

import argparse
import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from benchmarks import service
from benchmarks.damaged import damaged_files
from crowdcount.service.app import create_app
from crowdcount.service.settings import Settings
from tests.support.service import image_bytes, listening, tiny_predictor


def test_the_rows_are_those_of_a_running_service(tmp_path, monkeypatch):
    @contextmanager
    def running(_model):
        with listening(create_app(tiny_predictor(tmp_path / "release"), Settings(rate=0))) as address:
            yield address, SimpleNamespace(pid=os.getpid(), poll=lambda: None)

    monkeypatch.setattr(service, "running", running)
    image = tmp_path / "a.png"
    image.write_bytes(image_bytes())
    rows = service.service_benchmark(argparse.Namespace(image=image, clients=4, damaged=9, model=None))
    found = {row["measure"]: row["value"] for row in rows}
    assert 0 < found["4 uploads: p50 (s)"] <= found["4 uploads: p95 (s)"]
    assert found["memory at most (MiB)"] >= found["memory before (MiB)"] > 0
    statuses = {name: value for name, value in found.items() if name.startswith("damaged files")}
    assert sum(statuses.values()) == 9 and "damaged files with status 500" not in statuses


def test_damaged_files_are_the_same_each_time_and_differ_from_the_whole():
    whole = [image_bytes(), image_bytes("JPEG")]
    files = damaged_files(whole, 60)
    assert files == damaged_files(whole, 60) != damaged_files(whole, 60, seed=1)
    assert sum(file not in whole for file in files) > 55
