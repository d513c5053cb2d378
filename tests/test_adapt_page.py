"""The measured part of docs/adapt.md is what its generator writes; the benchmark behind it keeps its runs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import __main__ as benchmark
from benchmarks import adapt, adapt_page
from crowdcount.errors import InputError
from tests.support.counter import save_counter


def test_the_page_is_up_to_date():
    runs = json.loads(adapt_page.MEASURED.read_text())
    text = adapt_page.PAGE.read_text()
    assert adapt_page.page(text, runs) == text, "run python -m benchmarks.adapt_page"
    assert adapt_page.CURVE.read_text() == adapt_page.curve(adapt.summary(runs))
    with pytest.raises(InputError, match="has no part between"):
        adapt_page.page("# Adapting", runs)


RUN = {"site": "camera 0", "labels": "points", "draw": "random", "frames": 5, "covered": 0.8, "seconds": 2.0}


def test_rows_are_means_over_runs():
    runs = [
        {**RUN, "seed": 0, "start": 10.0, "mae": 4.0, "level": "head"},
        {**RUN, "seed": 1, "start": 10.0, "mae": 12.0, "level": "factor", "site": "camera 1"},
    ]
    [row] = adapt.summary(runs)
    assert (row["site"], row["runs"], row["MAE"], row["lowest"], row["highest"]) == ("cameras", 2, 8.0, 4.0, 12.0)
    assert row["worse than the start"] == 1 and row["levels"] == "1 x factor, 1 x head"
    assert "| cameras | points | random | 5 | 2 | 10.0 | 8.0 (4.0 to 12.0) | 1 |" in adapt_page.table([row])
    assert "cameras, points, random" in adapt_page.curve([row])


def test_a_camera_has_one_view_and_other_people():
    first, second = (adapt.camera_frame(0, number) for number in range(2))
    images = [record.read() for record in (first, second)]
    assert images[0].shape == (384, 512, 3) and not np.array_equal(*images)
    assert np.array_equal(images[0], adapt.camera_frame(0, 0).read())
    assert first.count != second.count and (first.points >= 0).all() and (first.points < [512, 384]).all()


def test_a_run_is_made_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("crowdcount.training.adapting.fit.CROP", 32)
    monkeypatch.setattr(adapt, "_POOL", 4)
    monkeypatch.setattr(adapt, "Plan", lambda seed: adapt_plan(("factor",), folds=2, seed=seed))
    start = save_counter(tmp_path / "model")
    words = ["adapt", "--start", start, "--frames", "2", "--seeds", "1", "--images", "2", "--runs", str(tmp_path / "r")]
    assert benchmark.main(words) == 0
    first = capsys.readouterr().out
    assert "cameras" in first and "1 x " in first
    chosen = adapt.draw(start, next(adapt.sites(None, 2, 0)), 0, chosen=True)
    assert sorted(record.name for record in chosen) == ["000", "001", "002", "003"]
    monkeypatch.setattr(adapt, "adapt", None)  # would fail
    assert benchmark.main(words) == 0 and capsys.readouterr().out == first


adapt_plan = adapt.Plan
