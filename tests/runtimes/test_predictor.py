"""Exported models count as their description says, in windows and tiles too, and without torch."""

import logging
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import crowdcount
from crowdcount.errors import InputError
from crowdcount.images.resize import Resize
from crowdcount.inference.base_predictor import DEFAULT_MEMORY
from crowdcount.inference.parts import GIB
from crowdcount.intervals import Calibration, Intervals
from crowdcount.intervals.file import intervals_file
from crowdcount.intervals.scale import SCALES
from crowdcount.runtimes import RuntimePredictor
from crowdcount.weights.download import file_sha256
from tests.support.block_mean import describe, expected_density, write_onnx, write_openvino
from tests.support.counter import noise_image

pytest.importorskip("onnx", reason="comes with the extra `export`")
pytest.importorskip("onnxruntime", reason="comes with the extra `onnx`")


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    if request.param == "onnx":
        return write_onnx(folder / "model.onnx")
    pytest.importorskip("openvino", reason="comes with the extra `openvino`")
    return write_openvino(folder / "model.xml")


@pytest.mark.parametrize(("height", "width"), [(64, 96), (60, 90), (1, 1), (16, 100)])
def test_any_size_is_counted_to_the_edge(model, height, width):
    image = noise_image(height, width)
    found = RuntimePredictor(model).predict(image)
    expected = expected_density(image)
    np.testing.assert_allclose(found.density, expected, rtol=1e-4, atol=1e-6)
    assert found.count == pytest.approx(expected.sum(), rel=1e-5) and found.exact
    assert (found.height, found.width, found.stride) == (height, width, 8)
    np.testing.assert_allclose(found.variance, 2 * expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, rtol=1e-5)
    assert found.probabilities.shape == (2, *expected.shape) and found.intervals is None


def test_tiles_count_as_the_whole(model):
    image = noise_image(205, 307)
    memory = (2 * image.nbytes + 2 * 112 * 64 * 64) / GIB  # 64 x 64 pixels beside the image
    found = RuntimePredictor(model, max_memory=memory).predict(image)
    assert found.exact
    np.testing.assert_allclose(found.density, expected_density(image), rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="max_memory"):
        RuntimePredictor(model, max_memory=1e-9).predict(image)


def test_windows_are_averaged(tmp_path):
    image = noise_image(72, 100)
    path = write_onnx(tmp_path / "model.onnx", window=32, step=16)
    found = RuntimePredictor(path).predict(image)
    assert not found.exact  # a mean of equal numbers is that number
    np.testing.assert_allclose(found.density, expected_density(image), rtol=1e-4, atol=1e-6)


def test_tiles_that_are_not_exact_are_warned_of(tmp_path, caplog):
    path = write_onnx(tmp_path / "model.onnx", tile_margin=None, inexact_reason="sees the whole image at once")
    image = noise_image(400, 600)
    memory = (2 * image.nbytes + 2 * 112 * 400 * 400) / GIB
    with caplog.at_level(logging.WARNING):
        found = RuntimePredictor(path, max_memory=memory).predict(image)
    assert not found.exact and "block mean sees the whole image at once: its density depends" in caplog.text


def test_the_size_rule_and_the_long_side_apply(tmp_path):
    rule = Resize(64, 128, 32)
    path = write_onnx(tmp_path / "model.onnx", size_rule=rule)
    image = noise_image(300, 90)
    resized, _ = rule(image, np.empty((0, 2), np.float32))
    found = RuntimePredictor(path).predict(image)
    assert (found.height, found.width) == resized.shape[:2]
    np.testing.assert_allclose(found.density, expected_density(resized), rtol=1e-4, atol=1e-6)
    assert RuntimePredictor(model_of(tmp_path), long_side=45).predict(image).height == 45


def test_what_is_known_of_a_camera_applies(tmp_path):
    path, image = model_of(tmp_path), noise_image(64, 96)
    mask = np.zeros((64, 96), bool)
    mask[:, :48] = True
    found = RuntimePredictor(path, ignore=mask).predict(image)
    expected = expected_density(image)
    expected[:, :6] = 0
    np.testing.assert_allclose(found.density, expected, rtol=1e-4, atol=1e-6)
    assert "without the pixels of mask" in RuntimePredictor(path, ignore=mask).protocol
    with pytest.raises(InputError, match="mask"):
        RuntimePredictor(path, ignore=mask).predict(noise_image(32, 96))
    larger = RuntimePredictor(path, image_scale=2.0).predict(image)
    assert (larger.height, larger.width) == (128, 192) and "ImageScale" in RuntimePredictor(
        path, image_scale=2
    ).protocol


def model_of(folder):
    return write_onnx(folder / "plain.onnx")


def test_large_images_are_counted_in_tiles_of_their_own_accord(tmp_path, monkeypatch):
    predictor = RuntimePredictor(model_of(tmp_path))
    limits = []
    monkeypatch.setattr(
        "crowdcount.runtimes.predictor.predict_in_parts", lambda _, division: limits.append(division.max_memory)
    )
    for side in (1024, 1025):
        predictor._predicted(np.zeros((side, 1024, 3), np.uint8))
    assert limits == [None, DEFAULT_MEMORY]


def test_intervals_beside_the_file_hold_for_its_protocol(tmp_path, caplog):
    path = model_of(tmp_path)
    scores = (np.linspace(-1, 1, 60),)
    known = Intervals(
        file_sha256(path),
        RuntimePredictor(path).protocol,
        "x",
        "x",
        "x",
        image=Calibration(SCALES[0], scores, (), (0.0, 1e6)),
    )
    known.save(intervals_file(path))
    image = noise_image()
    found = RuntimePredictor(path).predict(image)
    assert found.interval(0.9).state == "calibrated" and found.interval(0.9).low < found.count
    assert RuntimePredictor(path, long_side=45).predict(image).intervals is None
    replace(known, protocol="another").save(intervals_file(path))
    assert RuntimePredictor(path).predict(image).intervals is None
    replace(known, sha256="f" * 64).save(intervals_file(path))
    with caplog.at_level(logging.WARNING):
        assert RuntimePredictor(path).intervals is None
    assert "belongs to other weights" in caplog.text


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such model"):
        RuntimePredictor(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"bad\.onnx: onnxruntime cannot read it"):
        RuntimePredictor(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="does not say how it counts; export the model with crowdcount export"):
        RuntimePredictor(write_onnx(tmp_path / "plain.onnx", metadata={}))
    with pytest.raises(InputError, match=r"ends in \.onnx or \.xml"):
        RuntimePredictor(write_onnx(tmp_path / "model.onnx").rename(tmp_path / "model.pb"))
    with pytest.raises(InputError, match="device: cuda:0 is not available in this onnxruntime"):
        RuntimePredictor(write_onnx(tmp_path / "model.onnx"), device="cuda:0")
    with pytest.raises(InputError, match="is an exported model, which counts without torch"):
        crowdcount.load_model(tmp_path / "model.onnx")


def test_openvino_files_belong_together(tmp_path):
    pytest.importorskip("openvino", reason="comes with the extra `openvino`")
    path = write_openvino(tmp_path / "model.xml")
    with pytest.raises(InputError, match="device: NPU7 is not available in OpenVINO"):
        RuntimePredictor(path, device="NPU7")
    path.with_suffix(".bin").unlink()
    with pytest.raises(InputError, match=r"model\.bin: is missing; it holds the weights of model\.xml"):
        RuntimePredictor(path)


@pytest.mark.parametrize(
    ("key", "text", "named"),
    [
        ("preprocessing", "{", "metadata preprocessing is missing or damaged"),
        ("preprocessing", '{"mean": [0, 0], "std": [1, 1, 1]}', "preprocessing.mean"),
        ("preprocessing", '{"mean": [0, 0, 0], "std": [1, 0, 1]}', "preprocessing.std: 0.0 must be above 0"),
        ("postprocessing", '{"outputs": {"points": ""}}', "postprocessing.outputs"),
        ("inference", '{"division": "x", "bytes_per_pixel": "many"}', "inference.bytes_per_pixel"),
        ("origin", "[]", "origin"),
    ],
)
def test_damaged_metadata_are_named(tmp_path, key, text, named):
    path = write_onnx(tmp_path / "model.onnx", metadata={**describe().metadata(), key: text})
    with pytest.raises(InputError, match=named):
        RuntimePredictor(path)


def test_weights_that_give_no_number_are_refused(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", std=(1e-45, 1.0, 1.0))
    with pytest.raises(InputError, match="block mean gives no finite count"), np.errstate(all="ignore"):
        RuntimePredictor(path).predict(noise_image())


def test_counting_imports_no_torch(tmp_path):
    path = model_of(tmp_path)
    code = (
        "import sys, numpy as np; from crowdcount.runtimes import RuntimePredictor;"
        f"print(RuntimePredictor({str(path)!r}).predict(np.full((64, 64, 3), 255, np.uint8)).count);"
        "sys.exit(' '.join(m for m in ('torch', 'lightning', 'timm', 'onnx') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert float(done.stdout) == pytest.approx(128, rel=1e-5)
