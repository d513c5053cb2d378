"""The first commands of the README run exactly as they are printed there."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import crowdcount
from crowdcount.data import Synthetic
from crowdcount.predictor import DEFAULT_MODEL
from crowdcount.weights.cache import state
from crowdcount.weights.index import find_entry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COUNT = README[README.index("## Count") : README.index("## Train")]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", COUNT, re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a photo.jpg, without a network or a cache."""
    scene = Synthetic(train=0, val=0, test=1).records("test")[0].read()
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))
    monkeypatch.chdir(tmp_path)
    for name, value in {"CROWDCOUNT_CACHE": str(tmp_path / "none"), "CROWDCOUNT_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # whoever asks for something outside fails
    return tmp_path


def test_the_first_example_runs_as_printed(place):
    install, command = blocks("bash")[0].splitlines()
    assert install == "pip install -e ."
    words = command.split()
    assert words[0] == "crowdcount"
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    printed = re.fullmatch(r"photo\.jpg: count (\d+\.\d)\n", done.stdout)
    assert printed
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(blocks("python")[0], names)
    assert f"{crowdcount.count('photo.jpg'):.1f}" == printed[1]
    assert crowdcount.predict("photo.jpg").density.sum() == pytest.approx(crowdcount.count("photo.jpg"), rel=1e-5)
    assert not (place / "none").exists()


def test_the_model_is_in_the_package_and_small():
    entry = find_entry(DEFAULT_MODEL)
    assert state(entry) == "right" and entry.packaged.parent.parent == Path(crowdcount.__file__).parent
    assert entry.packaged.stat().st_size == entry.bytes <= 5e6
    network = crowdcount.create_model(DEFAULT_MODEL)
    assert sum(parameter.numel() for parameter in network.parameters()) <= 2e6
    assert f"blocks of {network.stride} px" in README or f"block of {network.stride} px" in README
