"""Calls of `predict` that are killed at random moments: every finished file is in the tables, the next call goes on."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support.counter import save_counter, write_images

pytestmark = pytest.mark.long
NAMES = [f"{number:02d}.png" for number in range(40)]


def start(images, out, release, *options):
    command = [sys.executable, "-m", "crowdcount", "predict", str(images), "--output", str(out), "--model", release]
    return subprocess.Popen(
        [*command, "--device", "cpu", "--save", "csv", "json", "overlay", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def rows(out):
    return list(csv.DictReader(io.StringIO((out / "counts.csv").read_text(), newline="")))


def test_a_call_that_is_killed_goes_on(tmp_path):
    write_images(tmp_path / "images", NAMES)
    release = save_counter(tmp_path / "release")
    whole = start(tmp_path / "images", tmp_path / "whole", release)
    whole.communicate()
    assert whole.returncode == 0
    moments, out, options = random.Random(0), tmp_path / "out", []
    for _ in range(3):
        process = start(tmp_path / "images", out, release, *options)
        printed = [process.stdout.readline() for _ in range(moments.randint(1, 5))]
        time.sleep(moments.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        printed += process.communicate()[0].splitlines()
        assert process.returncode in (-signal.SIGKILL, 0)
        found = rows(out)
        assert all(row["count"] for row in found) and len(found) >= len(list(filter(None, printed))) - 1
        assert len((out / "counts.jsonl").read_text().splitlines()) in (len(found) + 1, len(found) + 2)
        options = ["--resume"]
    last = start(tmp_path / "images", out, release, "--resume")
    last.communicate()
    assert last.returncode == 0
    assert sorted(map(str, rows(out))) == sorted(map(str, rows(tmp_path / "whole")))
    entries = json.loads((out / "counts.json").read_text())["images"]
    assert len(entries) == len(NAMES) and all((out / name).is_file() for each in entries for name in each["outputs"])


def test_a_full_disk_loses_no_count(tmp_path):
    """A limit of the size of files, which the table reaches: what is in it is whole, and the counts are printed."""
    resource = pytest.importorskip("resource")
    write_images(tmp_path / "images", NAMES)
    release = save_counter(tmp_path / "release")
    command = [sys.executable, "-m", "crowdcount", "predict", str(tmp_path / "images"), "--device", "cpu"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out"), "--model", release, "--save", "csv", "overlay"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stdout.count(": count ") == len(NAMES)
    assert "File too large" in done.stderr and "_overlay.png: not written" in done.stderr
    text = (tmp_path / "out" / "counts.csv").read_text()
    assert text.endswith("\n") and 0 < len(rows(tmp_path / "out")) < len(NAMES)
