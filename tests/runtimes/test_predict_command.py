"""`crowdcount predict --model model.onnx`: all outputs, in a process that never imports torch."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from crowdcount.cli.predict import main
from tests.support.block_mean import expected_density, write_onnx
from tests.support.counter import noise_image, write_images

pytest.importorskip("onnx", reason="comes with the extra `export`")
pytest.importorskip("onnxruntime", reason="comes with the extra `onnx`")

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TORCH = """
import sys
from crowdcount.cli.main import main
status = main(sys.argv[1:])
found = [name for name in ("torch", "lightning", "timm") if name in sys.modules]
sys.exit(f"imported {found}" if found else status)
"""


def predict(*words):
    """Run the command in a fresh process that fails if it has imported torch."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_TORCH, "predict", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("exported") / "model.onnx")


def test_images_zones_and_tables_without_torch(model, tmp_path):
    photos = write_images(tmp_path / "photos", ["a.png", "b.png"])
    zones = tmp_path / "zones.json"
    zones.write_text(json.dumps({"left": [[0, 0], [48, 0], [48, 60], [0, 60]]}))
    out = tmp_path / "out"
    words = ["--model", model, "--zones", zones, "--output", out, "--save", "csv", "json", "npz", "overlay"]
    done = predict(tmp_path / "photos", *words, "--max-memory", 0.01)
    assert done.returncode == 0, done.stderr
    with (out / "counts.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, photo in zip(rows, photos, strict=True):
        density = expected_density(np.asarray(PIL.Image.open(photo)))
        assert float(row["count"]) == pytest.approx(density.sum(), rel=1e-5)
        assert float(row["left"]) == pytest.approx(density[:, :6].sum(), rel=1e-5) and row["exact"] == "true"
        with np.load(out / f"{photo.stem}.npz") as stored:
            np.testing.assert_allclose(stored["density"], density, rtol=1e-4, atol=1e-6)
        assert (out / f"{photo.stem}_overlay.png").stat().st_size > 1000
    assert json.loads((out / "counts.json").read_text())["model"] == "block mean"
    again = predict(tmp_path / "photos", *words, "--max-memory", 0.01, "--resume")
    assert again.returncode == 0 and "2 files were counted before, 0 are to be counted" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "best.ckpt"], "--weights: .* holds its own"),
        (["--precision", "bfloat16"], "--precision: .* has the precision it was exported with"),
        (["--expression", "red"], "block mean reads no text"),
        (["--interval", "0.9"], "block mean is not calibrated"),
        (["--device", "cuda"], "device: cuda is not available in this onnxruntime"),
    ],
)
def test_options_that_do_not_suit_are_refused(model, tmp_path, capsys, words, message):
    [photo] = write_images(tmp_path, ["a.png"])
    assert main([str(photo), "--model", str(model), *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_images_are_counted_in_batches(model, tmp_path, capsys):
    photos = write_images(tmp_path / "photos", ["a.png", "b.png", "c.png"])
    assert main([str(tmp_path / "photos"), "--model", str(model), "--batch", "3"]) == 0
    counts = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()]
    assert counts == [
        pytest.approx(expected_density(noise_image(seed=seed)).sum(), abs=0.06) for seed in range(len(photos))
    ]
