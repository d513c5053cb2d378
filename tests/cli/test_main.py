"""The command `crowdcount`: its table, its help, its exit statuses; and the scripts that were there before it."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import crowdcount
from crowdcount.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
SHIMS = {
    "predict": "predict",
    "train": "train",
    "evaluate": "evaluate",
    "visualize_density": "visualize",
    "check_dataset": "dataset",
    "download_weights": "weights",
    "convert_weights": "convert",
    "benchmark": "benchmark",
}


def test_every_command_is_in_the_help(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0
    for command in cli.commands():
        assert re.search(rf"^  {command.name} +{re.escape(command.help)}$", shown, re.MULTILINE)
        assert len(command.help) < 66
    assert {each.name for each in cli.commands()} >= set(SHIMS.values())
    assert max(map(len, shown.splitlines())) <= 100


def test_no_command_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: crowdcount ")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("pedict", "did you mean predict?"), ("eval", "did you mean evaluate?"), ("x", "there are predict, ")],
)
def test_an_unknown_command_names_the_nearest(capsys, word, hint):
    with pytest.raises(SystemExit) as end:
        cli.main([word])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"crowdcount: there is no command {word}; {hint}")


def test_the_version_is_said_without_torch():
    code = (
        "import sys; from crowdcount.cli.main import main; assert main(['--version']) == 0\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'cv2', 'numpy', 'jsonargparse'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line = done.stdout.splitlines()[0]
    assert re.fullmatch(rf"crowdcount {crowdcount.__version__}, torch [\d.]+\S*, Python 3\.\d+\.\d+\S*", line)


def test_the_entry_point_is_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["crowdcount"].partition(":")
    assert getattr(import_module(module), function) is cli.main
    assert "version" in project["dynamic"]


def test_the_benchmark_is_for_clones_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "CLONE", tmp_path)
    assert "benchmark" not in {each.name for each in cli.commands()}
    (tmp_path / "benchmarks").mkdir()  # of another package
    assert "benchmark" not in {each.name for each in cli.commands()}


def interrupted(raised):
    def main(_words):
        raise raised

    return main


def test_ctrl_c_is_130(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_load", lambda _: interrupted(KeyboardInterrupt()))
    assert cli.main(["convert", "x"]) == 130
    assert capsys.readouterr().err == "crowdcount convert: interrupted\n"
    end = SystemExit(1)  # as Lightning ends a training
    end.__context__ = KeyboardInterrupt()
    monkeypatch.setattr(cli, "_load", lambda _: interrupted(end))
    assert cli.main(["train", "fit"]) == 130
    monkeypatch.setattr(cli, "_load", lambda _: interrupted(SystemExit(2)))
    with pytest.raises(SystemExit):
        cli.main(["train", "fit"])


def test_sigterm_is_143_also_while_a_command_is_loaded(monkeypatch, capsys):
    def load(_command):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal was not noticed")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "_load", load)
    assert cli.main(["watch", "0"]) == 143
    assert capsys.readouterr().err == "crowdcount watch: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_every_command_is_in_the_table():
    known = {each.module for each in cli.commands()}
    named = {f"crowdcount.cli.{path.stem}": path.read_text() for path in (ROOT / "crowdcount" / "cli").glob("*.py")}
    assert {name for name, text in named.items() if "\ndef main(argv" in text} - {"crowdcount.cli.main"} <= known


@pytest.mark.parametrize("shim", SHIMS)
def test_earlier_scripts_are_the_commands(shim, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"tools/{shim}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / f"{shim}.py"), run_name="__main__")
    assert not end.value.code
    assert capsys.readouterr().out.startswith(f"usage: crowdcount {SHIMS[shim]} ")
    assert len((ROOT / "tools" / f"{shim}.py").read_text().splitlines()) < 13


def test_an_earlier_script_counts(tmp_path):
    shutil.copy(ROOT / "docs" / "quickstart.jpg", tmp_path / "photo.jpg")
    words = ["predict", "photo.jpg"]
    outputs = [
        subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for command in (["-m", "crowdcount", *words], [str(ROOT / "tools" / "predict.py"), "photo.jpg"])
    ]
    assert re.fullmatch(r"photo\.jpg: count \d+\.\d\n", outputs[0]) and outputs[0] == outputs[1]


def test_errors_take_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", "photo.jpg", "--every", "x"])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1
    assert error.startswith("crowdcount predict: argument --every: invalid int value: 'x'; crowdcount predict --help ")
