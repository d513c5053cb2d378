"""From images with known counts to intervals of a model: `crowdcount calibrate` and what reads its file."""

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import crowdcount
from crowdcount.cli.calibrate import main
from crowdcount.cli.convert import main as convert
from crowdcount.cli.predict import main as predict
from crowdcount.cli.tables import read_entry
from crowdcount.data import Resize
from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.evaluation.calibration import count_records
from crowdcount.files import atomic_write
from crowdcount.geometry import as_points
from crowdcount.images import as_image
from crowdcount.images.mask import IgnoreMask
from crowdcount.inference.density import Inference
from crowdcount.inference.model import Model
from crowdcount.inference.release import save_release
from crowdcount.intervals import Intervals, hash_counts
from crowdcount.predictor import DEFAULT_MODEL, Predictor
from crowdcount.visualize.density import image_bytes
from crowdcount.weights.download import file_sha256
from crowdcount.zones import read_zones, zone_counts, zone_intervals
from crowdcount.zoo.config import build
from tests.support.video import write_video

SIDE, IMAGES = 48, 25


def release(folder, seed=0):
    """Write an untrained model and return its file."""
    bins = {"intervals": [0, 1, "2+"], "anchors": [0, 1, 3]}
    network = {"backbone": "test_resnet", "pretrained": False, "bins": bins}
    config = {"model": {"init_args": {"network": {"class_path": "crowdcount.models.Ebc", "init_args": network}}}}
    torch.manual_seed(seed)
    built = build(config, "tiny")
    return save_release(Model(built.network, Inference(), name="tiny", config=config), folder, "tiny")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of noise of different contrast, with a table of counts."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    lines = ["image,count,remark"]
    for number in range(IMAGES):
        noise = rng.integers(0, 10 + 9 * number, (SIDE, SIDE, 3)).astype(np.uint8)
        atomic_write(folder / f"{number}.png", image_bytes(noise))
        lines.append(f"{number}.png,{number % 7},by hand")
    (folder / "counts.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def model(tmp_path, capsys):
    return release(tmp_path / "model")


def test_counts_alone_give_intervals_beside_the_weights(model, images, capsys):
    assert main([str(model), "--counts", str(images / "counts.csv"), "--about", "noise"]) == 0
    said = capsys.readouterr().out
    assert "25 images, scale variance" in said and "Nothing is guaranteed for images of another kind" in said
    assert "They hold for images like these: noise." in said and "99%  too few images" in said
    found = Intervals.read(model.parent / "model.intervals.json")
    assert (found.sha256, found.data, found.about) == (file_sha256(model), "counts", "noise")
    assert found.fingerprint == hash_counts((f"{number}.png", number % 7) for number in range(IMAGES))

    loaded = crowdcount.load_model(model)
    plain = [loaded.predict(as_image(images / f"{n}.png")) for n in range(IMAGES)]
    scores = sorted(abs(n % 7 - p.count) / math.sqrt(p.total_variance + 1) for n, p in enumerate(plain))
    for each in plain:
        low, high, state = each.interval(0.9)
        margin = scores[23] * math.sqrt(each.total_variance + 1)  # rank 24 of 25
        assert (low, high, state) == (
            pytest.approx(max(each.count - margin, 0), abs=1e-5),
            pytest.approx(each.count + margin, rel=1e-5),
            "calibrated",
        )
    assert plain[0].interval(0.99).state == "too_few_images"
    assert not plain[0].alarm(1e6) and plain[0].alarm(0).state == "calibrated"


def test_the_package_is_not_written_to(images, capsys):
    assert main([DEFAULT_MODEL, "--counts", str(images / "counts.csv")]) == 2
    assert "--output: the weights of" in capsys.readouterr().err


def test_a_prediction_in_another_way_is_uncalibrated(model, images):
    assert main([str(model), "--counts", str(images / "counts.csv")]) == 0
    loaded, path = crowdcount.load_model(model), images / "3.png"
    image = as_image(path)
    assert replace(loaded, resize=Resize(min_side=64, max_side=640)).predict(image).interval(0.9) == (
        0,
        math.inf,
        "uncalibrated",
    )
    assert replace(loaded, inference=Inference(window=32)).predict(image).alarm(1e6).state == "uncalibrated"
    assert Predictor(model, long_side=20).predict(path).interval(0.9).state == "uncalibrated"
    assert crowdcount.predict(path, model).interval(0.9).state == "calibrated"
    tiled = Predictor(model, max_memory=1.0).predict(path)
    assert tiled.interval(0.9).state == "calibrated"
    with pytest.raises(InputError, match="level"):
        loaded.predict(image).interval(90)


def test_a_mask_and_a_scale_are_part_of_the_calibration(model, images, tmp_path, capsys):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, :20] = True
    atomic_write(tmp_path / "mask.png", image_bytes(np.repeat(mask[..., None], 3, 2).astype(np.uint8)))
    camera = ["--ignore", str(tmp_path / "mask.png"), "--image-scale", "0.5"]
    assert main([str(model), "--counts", str(images / "counts.csv"), *camera]) == 0
    path = images / "3.png"
    states = [
        Predictor(model, image_scale=scale, ignore=ignore).predict(path).interval(0.9).state
        for scale, ignore in ((0.5, mask), (0.5, None), (1, mask), (0.5, np.roll(mask, 1)))
    ]
    assert states == ["calibrated", "uncalibrated", "uncalibrated", "uncalibrated"]
    words = [str(path), "--model", str(model), "--interval", "0.9"]
    assert predict([*words, *camera]) == 0 and predict(words) == 2
    assert "calibrate with the same --image-scale, --long-side and --ignore" in capsys.readouterr().err


def test_annotated_points_under_the_mask_are_not_counted(model):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, :20] = True
    points = as_points([(3, 3), (19.9, 40), (20, 40), (30, 30), (-2, 5)])
    record = Record("a", lambda: np.zeros((SIDE, SIDE, 3), np.uint8), points)
    loaded = crowdcount.load_model(model)
    assert [each.true for each in count_records(loaded, [record])] == [5]
    assert [each.true for each in count_records(loaded.for_camera(ignored=IgnoreMask(mask)), [record])] == [3]


def test_intervals_of_other_weights_are_refused(model, images, tmp_path, caplog):
    other = release(tmp_path / "other", seed=1)
    table = str(images / "counts.csv")
    assert main([str(other), "--counts", table]) == 0
    foreign = other.parent / "model.intervals.json"
    with pytest.raises(InputError, match=r"belongs to other weights than model\.safetensors"):
        crowdcount.load_model(model, intervals=foreign)
    shutil.copy(foreign, model.parent)
    loaded = crowdcount.load_model(model)
    assert loaded.intervals is None and "belongs to other weights" in caplog.text
    assert crowdcount.predict(images / "3.png", model).interval(0.9).state == "uncalibrated"
    assert main([str(model), "--counts", table]) == 0  # replaces them
    assert crowdcount.predict(images / "3.png", model).interval(0.9).state == "calibrated"


def test_a_camera_has_a_file_of_its_own(model, images, tmp_path):
    path = tmp_path / "camera.json"
    assert main([str(model), "--counts", str(images / "counts.csv"), "--output", str(path)]) == 0
    assert not (model.parent / "model.intervals.json").exists()
    assert crowdcount.predict(images / "3.png", model).interval().state == "uncalibrated"
    assert crowdcount.predict(images / "3.png", model, intervals=path).interval().state == "calibrated"
    with pytest.raises(InputError, match=r"missing\.json: cannot be read"):
        crowdcount.load_model(model, intervals=tmp_path / "missing.json")


def test_a_converted_model_keeps_its_intervals_unless_it_is_rounded(model, images, tmp_path, capsys):
    assert main([str(model), "--counts", str(images / "counts.csv")]) == 0
    for words, state in (([], "calibrated"), (["--half"], "uncalibrated")):
        folder = tmp_path / f"converted{len(words)}"
        assert convert([str(model), "--output", str(folder), *words]) == 0
        assert ("intervals are left out" in capsys.readouterr().out) == bool(words)
        assert crowdcount.predict(images / "3.png", folder).interval().state == state


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_adds_intervals(model, images, tmp_path, capsys):
    path, out, zones = str(images / "3.png"), tmp_path / "out", tmp_path / "zones.json"
    zones.write_text(json.dumps({"left": [[0, 0], [24, 0], [24, 48], [0, 48]]}))
    words = [path, "--model", str(model), "--interval", "0.9", "--output", str(out), "--save", "csv", "json", "overlay"]
    assert predict(words) == 2
    assert "is not calibrated; make its intervals with crowdcount calibrate" in capsys.readouterr().err
    assert main([str(model), "--counts", str(images / "counts.csv")]) == 0
    capsys.readouterr()
    assert predict([*words, "--zones", str(zones)]) == 0
    found = crowdcount.predict(path, model)
    low, high, _ = found.interval(0.9)
    assert f"count {found.count:.0f} ({math.floor(low)}-{math.ceil(high)})" in capsys.readouterr().out
    [row] = rows(out / "counts.csv")
    assert (float(row["low"]), float(row["high"]), row["interval"]) == (low, high, "calibrated")
    assert (row["left low"], row["left high"], row["left interval"]) == ("0.0", "inf", "uncalibrated")
    [entry] = json.loads((out / "counts.json").read_text())["images"]
    assert entry["interval"] == {"low": low, "high": high, "state": "calibrated"}
    assert entry["part_intervals"]["left"] == {"low": 0.0, "high": None, "state": "uncalibrated"}
    assert read_entry(entry).interval == found.interval(0.9)
    assert predict([*words, "--zones", str(zones), "--resume"]) == 0
    assert predict([*words, "--long-side", "20"]) == 2
    assert predict([*words, "--interval", "90"]) == 2


def test_moving_average_of_a_video_has_the_interval_of_a_window(model, images, tmp_path):
    table, file, out = images / "frames.csv", tmp_path / "windows.json", tmp_path / "out"
    table.write_text("image,count,window\n" + "\n".join(f"{n}.png,{n % 7},w{n // 2}" for n in range(24)))
    assert main([str(model), "--counts", str(table), "--output", str(file)]) == 0
    frames = [as_image(images / f"{number}.png") for number in (3, 4, 5, 6)]
    write_video(tmp_path / "walk.mp4", frames, "mpeg4")
    words = [str(tmp_path / "walk.mp4"), "--model", str(model), "--intervals", str(file), "--output", str(out)]
    assert predict([*words, "--save", "csv", "--every", "1", "--smooth", "2", "--interval", "0.8"]) == 0
    first, *others = rows(out / "walk_counts.csv")
    assert (first["low"], first["high"], first["interval"]) == ("0.000", "inf", "uncalibrated")
    for row in others:
        assert row["interval"] in ("calibrated", "outside_range")
        assert float(row["low"]) <= float(row["smoothed"]) <= float(row["high"]) < math.inf


def test_windows_of_frames_are_calibrated_by_their_means(model, images, tmp_path):
    lines = [f"{number}.png\t{number % 7}\tw{number // 2}" for number in range(24)]
    table = images / "windows.csv"
    table.write_text("image\tcount\twindow\n" + "\n".join(lines))
    path = tmp_path / "windows.json"
    assert main([str(model), "--counts", str(table), "--output", str(path), "--scale", "constant"]) == 0
    found = Intervals.read(path)
    assert (found.frames, found.window.images, found.image) == (2, 12, None)
    counts = [crowdcount.count(images / f"{number}.png", model) for number in range(24)]
    errors = [(n % 7 + (n + 1) % 7 - counts[n] - counts[n + 1]) / 2 for n in range(0, 24, 2)]
    np.testing.assert_allclose(found.window.scores[0], sorted(errors), atol=1e-5)
    table.write_text("image\tcount\twindow\n" + "\n".join(lines[:-1]))
    assert main([str(model), "--counts", str(table), "--output", str(path)]) == 2


def test_zones_of_a_data_set_hold_together(model, shanghaitech_root, tmp_path):
    zones_file, config, path = tmp_path / "zones.json", tmp_path / "data.yaml", tmp_path / "zones.intervals.json"
    zones_file.write_text(
        json.dumps({"left": [[0, 0], [80, 0], [80, 128], [0, 128]], "door": [[90, 9], [150, 9], [90, 99]]})
    )
    source = {"class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": str(shanghaitech_root), "part": "A"}}
    config.write_text(yaml.safe_dump({"data": {"source": source}}))
    words = [str(model), "--data", str(config), "--split", "test", "--zones", str(zones_file), "--output", str(path)]
    assert main([*words, "--scale", "constant"]) == 0
    found, zones = Intervals.read(path), read_zones([zones_file])
    assert found.zones.images == found.image.images == 3 and found.areas.keys() == {"left", "door"}
    loaded = crowdcount.load_model(model, intervals=path)
    prediction = loaded.predict(np.full((128, 160, 3), 99, np.uint8))
    margin = found.zones.scores[0][1]  # rank 2 of 3 at the level 0.5
    counts = zone_counts(prediction, zones, 128, 160)
    for name, (low, high, _) in zone_intervals(prediction, zones, 128, 160, 0.5).items():
        assert (low, high) == pytest.approx((max(counts[name] - margin, 0), counts[name] + margin))
    moved = [replace(zones[0], area=zones[1].area), zones[1]]
    states = {name: each.state for name, each in zone_intervals(prediction, moved, 128, 160, 0.5).items()}
    assert states["left"] == "uncalibrated" != states["door"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "expected the columns image and count|has no rows"),
        ("image,count\n", "has no rows"),
        ("image;count\n0.png;x\n", "line 2: count is 'x'"),
        ("image,count\n0.png,-1\n", "line 2: count -1 is below 0"),
        ("0.png,3\nnone.png,3\n", "line 2: there is no image"),
        ("0.png,3\n0.png,4\n", "names 0.png twice"),
        ("image,count\n0.png\n", "line 2 has 1 cells"),
        ("picture,people\n0.png,3\n", "expected the columns image and count"),
    ],
)
def test_an_invalid_table_is_refused(model, images, capsys, table, message):
    path = images / "invalid.csv"
    path.write_text(table)
    assert main([str(model), "--counts", str(path)]) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|"))
    assert not (model.parent / "model.intervals.json").exists()
