"""The sides of a benchmark compare the same scenes, the same hits, the same densities; what they measure is there."""

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import open_clip
import PIL.Image
import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import (
    default_model,
    learning_curve,
    localisation,
    predict,
    runtime_child,
    runtimes,
    tiles,
    training,
    two_sizes,
    windows,
)
from benchmarks.child import in_child
from benchmarks.peak import Peak
from benchmarks.runtime_child import Measurement
from crowdcount.data import Folder, Record, ShanghaiTech
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.inference.model import Model
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.clip_ebc.network import ClipEbc
from crowdcount.models.ebc.network import Ebc
from tests.support.block_mean import expected_density, write_onnx
from tests.support.published_bins import published_bins

TINY = {
    "embed_dim": 48,
    "quick_gelu": True,
    "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def tiny_config(tmp_path_factory):
    file = tmp_path_factory.mktemp("open_clip") / "tiny-vit-benchmark.json"
    file.write_text(json.dumps(TINY))
    open_clip.add_model_config(file)


@pytest.mark.parametrize("count", [0, 1, 4, 150, 400])
def test_all_sides_find_the_same(count):
    scene = localisation._scene(count, seed=count)
    hits = {
        function(*scene) for function in (localisation._our_hits, localisation._list_hits, localisation._matrix_hits)
    }
    assert len(hits) == 1 and (count < 100 or 0.6 * count < hits.pop() < count)


def test_the_scenes_are_as_many_and_as_crowded_as_they_say():
    counts = localisation._counts(196_238)
    assert len(counts) == 500 and sum(counts) == 196_238
    assert counts.count(0) == 35 and sum(count > 10_000 for count in counts) == 3 and max(counts) == 12_924
    levels = np.searchsorted([0, 100, 500, 5000], counts)
    assert np.bincount(levels).tolist() == [35, 146, 229, 85, 5]  # of the validation split of NWPU-Crowd
    with pytest.raises(InputError, match="too few"):
        localisation._counts(1000)


def test_a_huge_image_is_measured_in_tiles(tmp_path):
    options = {"threads": 1, "device": "cpu", "max_memory": 0.03, "width": 640, "height": 256}
    options |= {"small_width": 400, "small_height": 320, "model": "ebc/resnet18_sha_scratch"}
    [row] = tiles.tiles_benchmark(argparse.Namespace(**options))
    assert row["tiles"] > 1 and row["exact"] == "yes" and row["difference at 400 x 320"] < 1e-4
    assert row["weights"] == "random" and row["seconds"] > 0
    with pytest.raises(InputError, match="vit_b16_sha counts in windows"):
        tiles._measured("clip_ebc/vit_b16_sha", tmp_path, options)


def test_the_peak_is_what_was_taken_and_given_back():
    with Peak(torch.device("cpu")) as peak:
        np.ones(50 * 2**20, np.uint8).sum()
    assert not sys.platform.startswith("linux") or peak.mebibytes > 45


def test_each_network_is_measured_once():
    names = predict.distinct_networks()
    assert "clip_ebc/vit_b16_nwpu" in names and "ebc/resnet18_sha_scratch" in names
    assert not {"ebc/vgg19ae_sha", "ebc/vgg19ae_shb"} <= set(names)  # they differ in their bins
    assert not any(name.startswith("rec/") for name in names)  # no density


def test_a_model_is_measured_in_a_process_of_its_own():
    options = {"models": ["ebc/resnet18_sha_scratch"], "width": 96, "height": 64, "precision": "bfloat16"}
    [row] = predict.predict_benchmark(argparse.Namespace(**options, threads=1, repeats=2, device="cpu"))
    assert row["in"] == "one pass" and row["channels_last"] == "yes" and row["images/s"] > 0
    assert row["parameters (M)"] == pytest.approx(0.68, abs=0.01)


@pytest.mark.parametrize("step", [32, 16])
def test_plain_windows_have_the_densities_of_ours(step):
    torch.manual_seed(0)
    network = ClipEbc("tiny-vit-benchmark", published_bins("sha"), vpt=3, input_size=32).eval()
    inference, image = Inference(window=32, window_stride=step), torch.from_numpy(tiles.scene(64, 96)).permute(2, 0, 1)
    plain = windows.plain_windows(network, image, inference)
    torch.testing.assert_close(windows.our_windows(network, image, inference), plain, atol=1e-5, rtol=0)
    assert plain.std() > 1e-3


class Sum(Model):
    """Stands in for a model: it counts a person for every 1,000 of brightness, so that its counts can be foreseen."""

    def __init__(self):
        super().__init__(network=None)

    def predict(self, image):
        count = float(image.sum()) / 1000
        return argparse.Namespace(count=count, doubt=0.8 if count in (0, 50) else 0.7)


def heads_in(folder, counts):
    """Write an image of 10 x 10 for each number of heads, of so many thousands of brightness."""
    folder.mkdir(exist_ok=True)
    points = {}
    for index, count in enumerate(counts):
        name = f"{index:02d}.png"
        image = np.zeros((10, 10, 3), np.uint8)
        image.reshape(-1)[: count * 5] = 200
        cv2.imwrite(str(folder / name), image)
        points[name] = [[5.0, 5.0]] * count
    return points


def test_the_table_is_that_of_the_counts(tmp_path, monkeypatch, shanghaitech_root):
    monkeypatch.setattr(default_model, "Model", Sum)
    monkeypatch.setattr(default_model.crowdcount, "load_model", lambda name: Sum())
    heads_in(tmp_path / "nobody", [0, 1, 2, 3, 4, 50])
    counts = [1, 2, 3, 4, 5, 6, 7, 8]
    (tmp_path / "heads").mkdir()
    points = heads_in(tmp_path / "heads", counts)
    points["00.png"] += [[1.0, 1.0]]  # the only image that is miscounted, if it is set aside
    (tmp_path / "heads" / "points.json").write_text(json.dumps(points))
    folders = {"nobody": tmp_path / "nobody", "heads": tmp_path / "heads", "shanghaitech": shanghaitech_root}
    rows = default_model.default_model_benchmark(argparse.Namespace(model="any", repeats=1, scaled_every=2, **folders))
    found = {(row["images"], row["measure"]): row["value"] for row in rows}
    assert found["nobody (6)", "median"] == pytest.approx(2.5) and found["nobody (6)", "worst"] == pytest.approx(50)
    assert found["nobody (6)", "90 %"] == pytest.approx(27)
    aside = [record.name for record in default_model.HoldOut(Folder(folders["heads"]), 0.15, 0.25).records("test")]
    wrong = "00.png" in aside
    assert found["near heads (2)", "nae"] == pytest.approx(0.25 if wrong else 0, abs=1e-9)
    records = ShanghaiTech(shanghaitech_root, "A").records("test")
    errors = [abs(record.read().sum() / 1000 - record.count) for record in records]
    assert found["ShanghaiTech A (3)", "mae"] == pytest.approx(np.mean(errors))
    doubled = [abs(default_model.scaled(record.read(), 2).sum() / 1000 - record.count) for record in records[::2]]
    assert found["scaled by 2 (2)", "mae / mae at 1"] == pytest.approx(np.mean(doubled) / np.mean(errors[::2]))
    assert found["1024 x 768", "images/s"] > 0
    wrong = sum(error > max(record.count, 10) / 2 for error, record in zip(errors, records, strict=True)) + 1
    everything = f"all ({6 + 2 + len(records)})"
    assert found[everything, "off by half"] == wrong and found[everything, "doubted and off by half"] == 1
    assert found[everything, "doubted"] == 2  # the 50 and the 0
    wrong = sum(error > max(record.count, 10) / 2 for error, record in zip(doubled, records[::2], strict=True))
    assert (found["scaled by 2 (2)", "off by half"], found["scaled by 2 (2)", "doubted"]) == (wrong, 0)


@pytest.mark.parametrize(("scale", "shape"), [(0.5, (20, 15, 3)), (1.5, (60, 45, 3)), (1, (40, 30, 3))])
def test_scaled_images_keep_their_shape(scale, shape):
    assert default_model.scaled(tiles.scene(40, 30), scale).shape == shape


def test_what_is_set_aside_is_what_the_recipe_sets_aside():
    file = Path(__file__).resolve().parents[1] / "zoo_configs/ebc/efficientnet_lite0_mixed.yaml"
    sources = yaml.safe_load(file.read_text())["data"]["source"]["init_args"]["sources"]
    recipe = sources["heads"]["init_args"]
    assert (recipe["val"], recipe["test"]) == (default_model.HEADS_VAL, default_model.HEADS_TEST)
    assert "seed" not in recipe


def test_the_learning_curve_is_that_of_the_tables(tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("epoch,train/loss,val/x\n0,8,\n1,4,\n1,,0.5\n2,3,\n")
    second.write_text("epoch,train/loss,val/x\n2,2,\n2,,0.25\n")
    curves = learning_curve.read_curves([first, second], ["train/loss", "val/x"])
    assert curves == {"train/loss": {0: 8, 1: 4, 2: 2}, "val/x": {1: 0.5, 2: 0.25}}
    learning_curve.main(
        [str(first), str(second), "--column=train/loss", "--column=val/x", "--output", str(tmp_path / "c.svg")]
    )
    svg = (tmp_path / "c.svg").read_text()
    assert "train/loss: 8 to 2" in svg and "val/x: 0.5 to 0.25" in svg and svg.count("<polyline") == 2
    with pytest.raises(InputError, match="val/y: no table has a value"):
        learning_curve.read_curves([first], ["val/y"])
    assert learning_curve.main([str(tmp_path / "no.csv"), "--output", str(tmp_path / "d.svg")]) == 2


@pytest.mark.parametrize(("family", "tolerance"), [("ebc", 1e-3), ("zip", 1e-9), ("hmode", 1e-9)])
def test_a_plain_loop_and_the_trainer_have_the_same_losses(family, tolerance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(
        (Path(__file__).parents[1] / f"zoo_configs/{family}/mobilenetv4_sha_scratch.yaml").read_text()
    )
    arguments = config["model"]["init_args"]
    arguments["network"]["init_args"]["backbone"] = "mobilenetv4_conv_small_035"
    if family == "ebc":
        arguments["loss"]["ot_weight"] = 0.8  # also the transport
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    plain, ours = (training.build_module("tiny.yaml") for _ in range(2))
    if family != "ebc":  # its plain transport is one of float32, whose rounding AdamW makes visible
        plain, ours = in_float64(plain), in_float64(ours)
        monkeypatch.setattr(training, "_floats", lambda module, batch: module.network.normalize(batch.images))
    batches = training.generated_batches(plain, 3, 2, 64)
    _, expected = training.plain_steps(plain, batches)
    _, got = training.trainer_steps(ours, batches)
    assert len(got) == 3 and expected[0] != expected[-1]
    assert training.relative_difference(got, expected) < tolerance
    assert got[0] == pytest.approx(expected[0], rel=1e-5)


def in_float64(module):
    """Return the module in double precision, also its images."""
    normalize = module.double().network.normalize
    module.network.normalize = lambda images: normalize(images).double()
    return module


def test_a_plain_loop_and_the_trainer_drop_the_same_layers():
    plain, ours = (training.build_module("rec/tiny_scenes") for _ in range(2))
    batches = training.generated_batches(plain, 3, 1, 96)
    _, expected = training.plain_steps(plain, batches)
    _, got = training.trainer_steps(ours, batches)
    assert got == pytest.approx(expected, rel=1e-5) and expected[0] != expected[-1]


@pytest.mark.parametrize("side", ["plain", "ours"])
def test_every_part_of_a_detectors_step_is_timed(side):
    times, losses = training.measure("rec/tiny_scenes", side, crop=96, batch=1, steps=1, threads=1)
    assert set(times) == set(training.PARTS) and min(times.values()) > 0
    assert len(losses) == 2 and losses[0] != losses[1]


def test_a_runtime_is_measured_by_itself(tmp_path):
    pytest.importorskip("onnx", reason="comes with the extra `export`")
    pytest.importorskip("onnxruntime", reason="comes with the extra `onnx`")
    image = tiles.scene(64, 96)
    PIL.Image.fromarray(image).save(tmp_path / "image.png")
    files = {"onnxruntime": write_onnx(tmp_path / "model.onnx")}
    options = {"threads": 1, "repeats": 2, "files": files}
    row = runtime_child.measured("", "onnxruntime", tmp_path / "image.png", options)
    assert row.count == pytest.approx(expected_density(image).sum(), rel=1e-5) and row.rate > 0
    assert row.whole > row.peak >= 0 and not row.remark
    code = "import sys, benchmarks.runtime_child; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


def test_a_signal_ends_the_measuring_process_too(tmp_path):
    """It was waited for, and went on for ever once its parent had been killed."""

    def ended(*_):
        raise SystemExit(143)

    before = signal.signal(signal.SIGALRM, ended)
    signal.setitimer(signal.ITIMER_REAL, 1)
    done = tmp_path / "done"
    try:
        with pytest.raises(SystemExit):
            in_child(exec, f"import pathlib, time; time.sleep(30); pathlib.Path({str(done)!r}).touch()")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not done.exists() and not multiprocessing.active_children()


def test_runtimes_are_compared_with_the_first_that_ran():
    missing = Measurement("torch compiled", remark="cannot be compiled: no compiler")
    first, second = Measurement("torch float32", 2.0, 100.0, 30.0, 400.0, 1.0), Measurement("int8", 3.0, 98.5)
    rows = runtimes.compared([missing, first, second])
    assert [row["ratio"] for row in rows] == [None, 1.0, 1.5]
    assert [row["difference"] for row in rows] == [None, "+0.000", "-1.500"]
    assert [row["remark"] for row in rows] == ["cannot be compiled: no compiler", "", ""]
    assert len({tuple(row) for row in rows}) == 1  # one table
    assert runtimes.compared([missing])[0]["ratio"] is None


def test_the_weighted_mean_of_two_sizes_is_that_of_the_package():
    torch.manual_seed(0)
    network = Ebc("test_resnet", Bins([0, 1, "2+"]), reduction=16, pretrained=False, half_size=True).eval()
    model, image = Model(network, name="tiny"), tiles.scene(64, 128)
    record = Record("a.png", lambda: image, np.ones((20, 2), np.float32), attributes={"source": "scenes"})
    [found] = two_sizes.count_at_both(model, [record], 1)
    prediction = model.predict(image)  # at two sizes again
    rows = {name: two_sizes.measured([found], mean) for name, mean in two_sizes.MEANS.items()}
    assert rows["weighted, 2 and 10"]["macro_nae/scenes"] == pytest.approx(abs(prediction.count - 20) / 20, rel=1e-5)
    difference = float(found.full.sum() - found.half.sum())
    assert abs(difference) / max(prediction.count, 10) == pytest.approx(prediction.doubt, rel=1e-4)
    assert rows["arithmetic"]["macro_nae"] == pytest.approx(abs((found.full + found.half).sum() / 2 - 20) / 20)
    assert len({row["macro_nae"] for row in rows.values()}) == len(rows)


def test_only_wrong_counts_that_are_doubted_are_both():
    full, half = ([np.full((1, 2), value) for value in values] for values in ((10.0, 10.0, 1.0), (10.0, 1.0, 0.5)))
    found = [two_sizes.TwoSizes("", 20, *each) for each in zip(full, half, strict=True)]
    row = two_sizes.measured(found, two_sizes.MEANS["full size"])
    assert (row["off by half"], row["doubted"], row["doubted and off by half"]) == (1, 1, 0)
    row = two_sizes.measured(found, two_sizes.MEANS["half size"])
    assert (row["off by half"], row["doubted"], row["doubted and off by half"]) == (2, 1, 1)


def test_models_of_one_size_have_no_means_to_compare():
    with pytest.raises(InputError, match="counts at one size; name one with half_size"):
        two_sizes.two_sizes_benchmark(argparse.Namespace(model="ebc/mobilenetv4_shab_scratch"))
