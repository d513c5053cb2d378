"""The command `export`."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

from crowdcount.cli.export import main
from crowdcount.inference.release import save_release
from crowdcount.runtimes import RuntimePredictor
from crowdcount.zoo.models import load_model
from tests.support.counter import noise_image, write_images
from tests.support.exported import tiny_model

pytest.importorskip("onnxscript", reason="comes with the extra `export`")
pytest.importorskip("openvino", reason="comes with the extra `export`")
QUANTISES = pytest.mark.skipif(find_spec("nncf") is None, reason="comes with the extra `export`")  # not imported here
CONFIG = {"model": {"init_args": {"network": {"class_path": "tests.support.exported.TinyCounter", "init_args": {}}}}}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return str(save_release(replace(tiny_model(), config=CONFIG), tmp_path_factory.mktemp("release") / "tiny", "tiny"))


def test_a_release_becomes_a_file_that_counts_the_same(release, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([release]) == 0
    out = capsys.readouterr().out
    assert "largest difference" in out and "crowdcount predict photo.jpg --model tiny.onnx" in out
    image = noise_image(75, 121)
    expected = load_model(release).density_model().predict(image).count
    assert RuntimePredictor("tiny.onnx").predict(image).count == pytest.approx(expected, rel=1e-5)


@QUANTISES
def test_int8_says_what_it_changes(release, tmp_path, capsys):
    write_images(tmp_path / "photos", [f"{number}.png" for number in range(4)])
    words = [release, "--format", "openvino", "--int8", "--images", "3", "--output", tmp_path / "small.xml"]
    assert main([*map(str, words), "--data", str(tmp_path / "photos")]) == 0
    out = capsys.readouterr().out
    assert "quantised with 3 images" in out and "counts of 1 images: mean float32" in out and "times" in out
    config = tmp_path / "data.yaml"
    source = "{class_path: crowdcount.data.Synthetic, init_args: {width: 64, height: 48, train: 6, val: 2, test: 3}}"
    config.write_text(f"data: {{source: {source}}}\n")
    assert main([*map(str, words), "--data", str(config), "--split", "test"]) == 0
    assert "MAE on 3 images: float32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--int8", "--data", "x"], "--int8: is for --format openvino"),
        (["--format", "openvino", "--int8"], "--int8: needs images like those to be counted"),
        (["--data", "x"], "--data: is for --int8"),
        (["--format", "torch", "--output", "x.onnx"], "ends in .pt2"),
    ],
)
def test_options_that_do_not_suit_are_refused(release, capsys, words, message):
    assert main([release, *words]) == 2
    assert message in capsys.readouterr().err
