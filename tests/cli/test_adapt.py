"""From labelled frames to a release: `crowdcount adapt`."""

import json

import cv2
import numpy as np
import pytest

import crowdcount
from crowdcount.cli.adapt import main
from crowdcount.cli.predict import main as predict
from crowdcount.intervals import Intervals
from crowdcount.weights.download import file_sha256
from tests.support.counter import noise_image, save_counter

FRAMES = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_counter(tmp_path_factory.mktemp("start") / "model")


@pytest.fixture(scope="module")
def frames(tmp_path_factory, model):
    """A folder of frames with points, and a table of half as many people as the model counts."""
    folder, loaded = tmp_path_factory.mktemp("site") / "hall", crowdcount.load_model(model)
    folder.mkdir()
    points, lines = {}, ["image,count"]
    for number in range(FRAMES):
        image = noise_image(seed=number)
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
        points[f"{number}.png"] = np.random.default_rng(number).uniform(0, 60, (3 + number, 2)).tolist()
        lines.append(f"{number}.png,{loaded.predict(image).count / 2!r}")
    (folder / "points.json").write_text(json.dumps(points))
    (folder.parent / "counts.csv").write_text("\n".join(lines).replace("\n", "\nhall/") + "\n")
    return folder


@pytest.fixture(autouse=True)
def small_crops(monkeypatch):
    monkeypatch.setattr("crowdcount.training.adapting.fit.CROP", 32)


def run(model, *words):
    return main([str(model), "--steps", "1", "--folds", "2", *map(str, words)])


def test_counts_alone_give_a_release_that_counts_the_same_everywhere(model, frames, tmp_path, capsys):
    output = tmp_path / "hall"
    assert run(model, "--counts", frames.parent / "counts.csv", "--output", output, "--level", "factor") == 0
    said = capsys.readouterr().out
    assert "* factor" in said and "100% below the start's" in said and "too few images" in said
    loaded, start = crowdcount.load_model(output), crowdcount.load_model(model)
    image = noise_image(seed=50)
    prediction = loaded.predict(image)
    assert prediction.count == pytest.approx(start.predict(image).count / 2, rel=1e-5) and loaded.name == "hall"
    assert prediction.interval(0.9).state == "too_few_images" and prediction.interval(0.5).state == "approximate"
    assert "The level is approximate" in said
    found = Intervals.read(output / "model.intervals.json")
    assert found.sha256 == file_sha256(output / "model.safetensors") and found.data == "counts, held out in 2 parts"
    files = ["README.md", "config.json", "model.intervals.json", "model.safetensors"]
    assert sorted(path.name for path in output.iterdir()) == files
    card = (output / "README.md").read_text()
    assert "approximate intervals of the counts of an image from 5 images, of counts, held out in 2 parts" in card
    assert [path.name for path in tmp_path.iterdir()] == ["hall"]  # no rest of a part

    words = ["--model", str(output), "--output", str(tmp_path / "counts"), str(frames / "0.png")]
    assert predict(words) == 0
    count = loaded.predict(noise_image(seed=0)).count
    assert f"{count:.1f}" in capsys.readouterr().out

    again = tmp_path / "again"  # adapted twice: it says from what
    assert run(output, "--counts", frames.parent / "counts.csv", "--output", again, "--level", "factor") == 0
    assert "stays as it is" in capsys.readouterr().out
    kept = crowdcount.load_model(again)
    assert kept.predict(noise_image(seed=0)).interval(0.5).state == "calibrated"  # nothing was chosen or trained
    adapted = kept.origin["adapted"]
    assert (adapted["level"], adapted["from"], adapted["earlier"]["from"]) == ("start", "hall", "tiny")


def test_points_are_compared_at_all_levels_with_a_card(model, frames, tmp_path, capsys):
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        assert run(model, "--data", frames, "--output", output, "--name", "square", "--about", "the hall") == 0
    said = capsys.readouterr().out
    for level in ("start", "factor", "statistics", "head", "blocks"):
        assert level in said
    assert file_sha256(outputs[0] / "model.safetensors") == file_sha256(outputs[1] / "model.safetensors")
    adapted = crowdcount.load_model(outputs[0]).origin["adapted"]
    errors = {level: each["mae"] for level, each in adapted["held_out"].items()}
    assert errors[adapted["level"]] <= errors["start"] and adapted["frames"] == FRAMES
    card = (outputs[0] / "README.md").read_text()
    assert f"From `tiny` to {FRAMES} frames with points of `hall`" in card and "| start |" in card
    assert Intervals.read(outputs[0] / "model.intervals.json").about == "the hall"


def test_a_mask_and_a_scale_are_those_of_the_adapted_model(model, frames, tmp_path, capsys):
    """The release does not hold them: what to give is printed and in its card; without it no interval is claimed."""
    mask, output = np.zeros((60, 90, 3), np.uint8), tmp_path / "hall"
    mask[:, :30] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    camera = ["--ignore", str(tmp_path / "mask.png"), "--image-scale", "0.5123456789"]
    assert run(model, "--data", frames, "--output", output, "--level", "factor", *camera) == 0
    said = capsys.readouterr().out
    assert f"--model {output} {' '.join(camera)} --interval" in said and "The release does not hold --ignore" in said
    points = json.loads((frames / "points.json").read_text()).values()
    count = sum(x >= 30 for each in points for x, _ in each)
    assert f"{FRAMES} frames (mean count {count / FRAMES:.1f})" in said
    same = crowdcount.Predictor(output, ignore=tmp_path / "mask.png", image_scale=0.5123456789)
    assert same.predict(frames / "0.png").interval(0.5).state != "uncalibrated"
    assert crowdcount.predict(frames / "0.png", output).interval(0.5).state == "uncalibrated"
    assert f"Images were counted so: {same.protocol}." in (output / "README.md").read_text()


def test_an_export_of_an_annotation_tool(model, frames, tmp_path, capsys):
    marked = tmp_path / "marked"
    marked.mkdir()
    for number in range(2):
        (marked / f"{number}.png").write_bytes((frames / f"{number}.png").read_bytes())
        shapes = [{"label": "head", "shape_type": "point", "points": [[5.0 + number, 9.0]]}]
        shapes.append({"label": "dog", "shape_type": "point", "points": [[7.0, 9.0]]})
        stated = {"imagePath": f"{number}.png", "imageHeight": 60, "imageWidth": 90, "shapes": shapes}
        (marked / f"{number}.json").write_text(json.dumps(stated))
    words = ["--data", marked, "--format", "labelme", "--label", "head", "--output", tmp_path / "out"]
    assert run(model, *words, "--level", "factor") == 0
    assert "2 frames (mean count 1.0)" in capsys.readouterr().out


def refused(capsys, model, *words):
    assert run(model, *words) == 2
    return capsys.readouterr().err


def test_bad_input_is_refused_before_any_training(model, frames, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("crowdcount.training.adapting.compare.fit", None)  # would fail
    table, out = tmp_path / "counts.csv", ("--output", tmp_path / "out")
    (tmp_path / "a.png").write_bytes((frames / "0.png").read_bytes())
    table.write_text("image,count\na.png,\n")
    assert "line 2: count" in refused(capsys, model, "--counts", table, *out)
    table.write_text("image,count\na.png,3\n")
    assert "label at least 2" in refused(capsys, model, "--counts", table, *out)
    table.write_text("image,count\n")
    assert "has no rows" in refused(capsys, model, "--counts", table, *out)
    table.write_text("image,count,window\na.png,3,x\n")
    assert "--format: a table" in refused(capsys, model, "--counts", table, "--format", "coco", *out)
    assert "--label: is for the export" in refused(capsys, model, "--data", frames, "--label", "head", *out)
    assert "exists; give --output a new folder" in refused(capsys, model, "--data", frames, "--output", frames)
    assert "no such file" in refused(capsys, model, "--data", tmp_path / "none", *out)
    assert "folds: 1 must be" in refused(capsys, model, "--data", frames, "--folds", "1", *out)
    assert not (tmp_path / "out").exists()


def test_a_detector_is_refused(frames, tmp_path, capsys, monkeypatch):
    from crowdcount.inference.model import ReferringModel

    monkeypatch.setattr(crowdcount, "load_model", lambda *_, **__: ReferringModel(None, name="rec"))
    said = refused(capsys, "rec", "--data", frames, "--output", tmp_path / "out")
    assert "rec: counts what expressions name, and density counters are adapted here" in said
