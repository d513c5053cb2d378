"""The pages of docs/extending.md, executed from an empty folder exactly as they are printed.

The first one has a process for each command, as a reader has it. The others run in this process, which imports
Lightning once for thirteen commands.
"""

import csv
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest

from crowdcount.cli.main import main
from tests.support.doc_pages import command_lines
from tests.support.pages import PAGES, commands, files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run_in_processes(tmp_path):
    """A function that writes the files of a page into an empty folder, runs its commands and returns what they print.

    `crowdcount` and `python` on the path are those of this environment, with the package of this tree; nothing can be
    fetched.
    """
    programs, folder = tmp_path / "bin", tmp_path / "empty"
    programs.mkdir(), folder.mkdir()
    for name, words in {"python": "", "crowdcount": "-m crowdcount"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CROWDCOUNT_OFFLINE": "1",
        "https_proxy": "http://127.0.0.1:9",
    }

    def execute(page):
        for name, code in files(page).items():
            (folder / name).write_text(code)
        bash = ["bash", "-euo", "pipefail", "-c", commands(page)]
        done = subprocess.run(bash, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder, done.stdout

    return execute


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The same in this process; modules of the folder are forgotten after each command, as at the end of a process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROWDCOUNT_OFFLINE", "1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "path", [*sys.path])

    def execute(page):
        for name, code in files(page).items():
            (tmp_path / name).write_text(code)
        variables = {}
        for words in command_lines(commands(page)):
            program, *rest = (Template(word).substitute(variables) for word in words)
            if program == "python":
                runpy.run_path(rest[0], run_name="__main__")
            elif program == "crowdcount":
                assert main(rest) in (0, None), words
            else:
                name, value = program.split("=")
                variables[name] = value
            forget_modules(tmp_path)
        return tmp_path, capsys.readouterr().out

    return execute


def forget_modules(folder):
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def rows(folder):
    """Rows of the run's metrics.csv, without empty cells."""
    with next(folder.glob("runs/*/version_0/metrics.csv")).open() as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def check_results(folder, release, image):
    """The report, the picture and the release that every page ends with."""
    summary = json.loads((folder / "results" / "summary.json").read_text())
    assert (folder / "results" / "report.html").is_file() and (folder / "results" / "images.csv").is_file()
    assert (folder / "pictures" / f"{image}_panel.png").is_file()
    assert {path.name for path in (folder / release).iterdir()} == {"model.safetensors", "config.json", "README.md"}
    return summary


def test_there_are_three_pages():
    assert list(PAGES) == ["Add a data set", "Add a model", "Add a loss"]


def test_add_a_data_set(run_in_processes):
    folder, printed = run_in_processes("Add a data set")
    summary = check_results(folder, "station_counter", "train_00000")
    trained = float(rows(folder)[-1]["test/mae"])
    assert summary["mae"] == pytest.approx(trained, rel=1e-5)
    assert re.search(r"^station/frames/train_00000\.png: count -?\d+\.\d$", printed, re.MULTILINE)
    written = files("Add a data set")
    assert sum(len(written[name].splitlines()) for name in ("station.py", "station.yaml")) <= 60
    assert "images" in printed[: printed.index("station/frames")]  # the doctor's report


def test_add_a_model(run):
    folder, printed = run("Add a model")
    check_results(folder, "mcnn_counter", "scene")
    counts = re.findall(r"^scene\.png: count (-?\d+\.\d)$", printed, re.MULTILINE)
    assert len(counts) == 3 and len(set(counts)) == 1  # predicted, drawn, and predicted by the converted file
    assert {"train/density", "val/mae"} <= set().union(*rows(folder))
    card = (folder / "mcnn_counter" / "README.md").read_text()
    assert "`mcnn.Mcnn`" in card and "\nimport mcnn\n" in card


def test_add_a_loss(run):
    folder, printed = run("Add a loss")
    check_results(folder, "region_counter", "scene")
    assert re.search(r"^scene\.png: count -?\d+\.\d$", printed, re.MULTILINE)
    assert {"train/region", "train/loss", "val/mae"} <= set().union(*rows(folder))
