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
from crowdcount.intervals.scale import SCALES
from crowdcount.runtimes import RuntimePredictor
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
        "crowdcount.runtimes.predictor.predict_images", lambda _, division: limits.append(division.max_memory)
    )
    for side in (1024, 1025):
        predictor._predicted([np.zeros((side, 1024, 3), np.uint8)])
    assert limits == [None, DEFAULT_MEMORY]


def test_intervals_hold_for_the_weights_and_the_protocol(tmp_path):
    protocol = RuntimePredictor(model_of(tmp_path)).protocol
    scores = (np.linspace(-1, 1, 60),)
    known = Intervals("a" * 64, protocol, "x", "x", "x", image=Calibration(SCALES[0], scores, (), (0.0, 1e6)))
    image, source = noise_image(), {"source_sha256": "a" * 64}
    path = write_onnx(tmp_path / "known.onnx", intervals=known, **source)
    found = RuntimePredictor(path).predict(image)
    assert found.interval(0.9).state == "calibrated" and found.interval(0.9).low < found.count
    assert RuntimePredictor(path, long_side=45).predict(image).intervals is None
    other = write_onnx(tmp_path / "other.onnx", intervals=replace(known, protocol="another"), **source)
    assert RuntimePredictor(other).predict(image).intervals is None
    known.save(tmp_path / "camera.json")  # of the weights, made after the export
    assert RuntimePredictor(other, intervals=tmp_path / "camera.json").predict(image).intervals.sha256 == "a" * 64
    replace(known, sha256="f" * 64).save(tmp_path / "camera.json")
    with pytest.raises(InputError, match=r"camera\.json: belongs to other weights than known\.onnx"):
        RuntimePredictor(path, intervals=tmp_path / "camera.json")
    small = write_onnx(tmp_path / "small.onnx", precision="int8", **source)
    with pytest.raises(InputError, match=r"small\.onnx counts in int8, other than the weights calibrated"):
        RuntimePredictor(small, intervals=tmp_path / "camera.json")


def test_a_batch_is_counted_in_one_pass(model, monkeypatch):
    predictor = RuntimePredictor(model)
    images = [noise_image(40, 56, seed) for seed in range(3)]
    run, shapes = predictor.session.run, []
    monkeypatch.setattr(predictor.session, "run", lambda inputs: shapes.append(inputs.shape) or run(inputs))
    found = predictor.predict_batch(images)
    assert shapes == [(3, 3, 48, 64)]
    for each, image in zip(found, images, strict=True):
        np.testing.assert_allclose(each.density, expected_density(image), rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="a batch takes images of one size"):
        predictor.predict_batch([images[0], noise_image(40, 48)])


def test_a_batch_beyond_the_memory_is_counted_one_by_one(model, monkeypatch):
    images = [noise_image(205, 307, seed) for seed in range(2)]
    memory = (2 * 2 * images[0].nbytes + 2 * 112 * 208 * 320) / GIB  # one of them beside both images
    predictor = RuntimePredictor(model, max_memory=memory)
    run, shapes = predictor.session.run, []
    monkeypatch.setattr(predictor.session, "run", lambda inputs: shapes.append(len(inputs)) or run(inputs))
    found = predictor.predict_batch(images)
    assert shapes == [1, 1] and all(each.exact for each in found)
    np.testing.assert_allclose(found[1].density, expected_density(images[1]), rtol=1e-4, atol=1e-6)


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
        ("intervals", '{"schema": 9}', "intervals: has schema 9"),
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


def test_a_signal_after_two_sessions_of_openvino_is_handled(tmp_path):
    pytest.importorskip("openvino", reason="comes with the extra `openvino`")
    path = write_openvino(tmp_path / "model.xml")
    code = (
        "import signal; from crowdcount.runtimes import RuntimePredictor;"
        f"first, second = (RuntimePredictor({str(path)!r}) for _ in range(2));"
        "del first; del second;"  # each has had the stack for signals of this thread
        "signal.signal(signal.SIGTERM, lambda *_: print('handled'));"
        "signal.raise_signal(signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (0, "handled\n", "")


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
