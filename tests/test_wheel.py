"""The wheel: all that a user without a clone needs is in it, and it counts."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import crowdcount
from crowdcount.images.read import read_image
from tests.support.block_mean import expected_density, write_onnx

pytest.importorskip("hatchling", reason="builds the wheel; it comes with the extra `test`")

ROOT = Path(__file__).resolve().parents[1]
USE = """
import socket, sys

def refuse(*_):
    raise AssertionError("a connection was asked for")

socket.socket.connect = refuse

import crowdcount
from crowdcount.cli.main import commands, main
from crowdcount.zoo.config import find_config

assert crowdcount.__file__.startswith(sys.argv[1]), crowdcount.__file__
assert "benchmark" not in {each.name for each in commands()}
for word in ("quickstart", "zoo_configs/quickstart.yaml"):
    assert str(find_config(word)).startswith(sys.argv[1])
crowdcount.create_model("ebc/resnet18_sha_scratch")
print(len(crowdcount.list_models()), len(crowdcount.list_weights()))
sys.exit(main(["predict", "image.jpg"]))
"""
EXPORTED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())

from crowdcount.cli.main import main

sys.exit(main(["predict", "image.jpg", "--model", "model.onnx", "--output", "out"]))
"""
ABSENT = (  # what is needed for training, for models in torch and for exporting
    *("torch", "torchvision", "timm", "open_clip", "lightning", "torchmetrics", "transformers", "albumentations"),
    *("jsonargparse", "safetensors", "onnx", "onnxscript", "openvino", "nncf"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this tree, as a ZIP file."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    assert path.name == f"crowdcount_zoo-{crowdcount.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as file:
        yield file


def files_below(folder, *patterns):
    return {path.relative_to(ROOT).as_posix() for pattern in patterns for path in (ROOT / folder).rglob(pattern)}


def test_the_wheel_has_what_belongs_to_it(wheel):
    names = {name for name in wheel.namelist() if not name.endswith("/")}
    assert {name.split("/")[0] for name in names} == {
        "crowdcount",
        f"crowdcount_zoo-{crowdcount.__version__}.dist-info",
    }
    assert {f"crowdcount/{name}" for name in files_below("zoo_configs", "*.yaml")} <= names
    assert files_below("crowdcount", "*.py", "*.safetensors", "*.ttf", "py.typed") <= names
    assert files_below("crowdcount/service/page", "*.html", "*.js", "*.css", "*.svg") <= names
    assert wheel.read("crowdcount/weights_index.json") == (ROOT / "weights_index.json").read_bytes()
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert wheel.read(entry).decode().split() == ["[console_scripts]", "crowdcount", "=", "crowdcount.cli.main:main"]
    assert sum(each.file_size for each in wheel.infolist()) < 10e6


def test_the_wheel_counts_without_a_network(wheel, tmp_path):
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    wheel.extractall(installed)
    elsewhere.mkdir()
    shutil.copy(ROOT / "docs" / "quickstart.jpg", elsewhere / "image.jpg")
    environment = {**os.environ, "PYTHONPATH": str(installed), "CROWDCOUNT_CACHE": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-c", USE, str(installed)], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    numbers, counted = done.stdout.splitlines()
    assert numbers == f"{len(crowdcount.list_models())} {len(crowdcount.list_weights())}"
    assert counted == f"image.jpg: count {crowdcount.count(elsewhere / 'image.jpg'):.1f}"
    assert not (tmp_path / "none").exists()


def test_an_exported_model_counts_where_torch_is_not_installed(wheel, tmp_path):
    pytest.importorskip("onnx", reason="comes with the extra `export`")
    pytest.importorskip("onnxruntime", reason="comes with the extra `onnx`")
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    wheel.extractall(installed)
    write_onnx(elsewhere / "model.onnx")
    shutil.copy(ROOT / "docs" / "quickstart.jpg", elsewhere / "image.jpg")
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", EXPORTED, ",".join(ABSENT)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    people = expected_density(read_image(elsewhere / "image.jpg")).sum()
    assert done.stdout == f"image.jpg: count {people:.1f}\n"
    assert (elsewhere / "out" / "image_overlay.png").is_file()
