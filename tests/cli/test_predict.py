"""From any file to counts, tables and pictures: `crowdcount predict`, `crowdcount.count` and what they share."""

import csv
import importlib
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

import crowdcount
from crowdcount import predictor as predictor_module
from crowdcount.cli import count_run
from crowdcount.cli.tables import CountResult, counts_csv, counts_json, npz_bytes
from crowdcount.data import Resize
from crowdcount.errors import InputError
from crowdcount.images.read import read_image
from crowdcount.inference.base_predictor import DEFAULT_MEMORY
from crowdcount.inference.plotting import density_overlay
from crowdcount.inference.points import PointInference
from crowdcount.inference.prediction import Prediction
from crowdcount.inference.release import save_release
from crowdcount.predictor import Predictor, find_device
from crowdcount.video.counting import count_video
from crowdcount.visualize.density import image_bytes
from crowdcount.zoo.config import build, read_config
from crowdcount.zoo.models import Model
from tests.support.video import with_zeros, write_video

ROOT = Path(__file__).resolve().parents[2]
FRAMES, FPS = 24, 12


@pytest.fixture(scope="module")
def tool():
    return importlib.import_module("crowdcount.cli.predict")


def tiny(seed=0, half_size=False, **arguments):
    """Return an untrained counter; a block sees 24 pixels around itself."""
    bins = {"intervals": [0, 1, "2+"], "anchors": [0, 1, 3]}
    network = {"backbone": "resnet18", "pretrained": False, "feature_level": 1, "bins": bins}
    network["half_size"] = half_size
    path = "crowdcount.models.ebc.network.Ebc"
    config = {"model": {"init_args": {"network": {"class_path": path, "init_args": network}, **arguments}}}
    torch.manual_seed(seed)
    built = build(config, "tiny")
    return Model(built.network, built.inference or Model(built.network).inference, name="tiny", config=config)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return str(save_release(tiny(), tmp_path_factory.mktemp("release") / "tiny", "tiny"))


@pytest.fixture(scope="module")
def model(release):
    return crowdcount.load_model(release)


@pytest.fixture(scope="module")
def referring(tmp_path_factory):
    """A release of a detector that finds something whatever it is asked for."""
    torch.manual_seed(0)
    network = crowdcount.create_model("rec/tiny_scenes")
    config = read_config("rec/tiny_scenes")
    points = {"cls_threshold": 0.0, "word_threshold": 0.0, "crowded_fraction": 1}
    inference = {"class_path": "crowdcount.inference.points.PointInference", "init_args": points}
    config["model"]["init_args"]["inference"] = inference
    model = crowdcount.ReferringModel(
        network, PointInference(0.0, 0.0, crowded_fraction=1), name="finder", config=config
    )
    return str(save_release(model, tmp_path_factory.mktemp("referring") / "r", "finder"))


def picture(height=60, width=90, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST))


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """A folder with three pictures of one size and one of another."""
    for seed, name in enumerate("abc"):
        write(tmp_path / "photos" / f"{name}.png", picture(seed=seed))
    write(tmp_path / "photos" / "d.png", picture(40, 50, seed=9))
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    images = [picture(64, 96, seed) for seed in range(FRAMES)]
    return write_video(tmp_path_factory.mktemp("film") / "walk.avi", images, "mjpeg", FPS)


def run(tool, *arguments, model=None):
    arguments = [*arguments, "--device", "cpu", *(["--model", model] if model else [])]
    return tool.main([str(argument) for argument in arguments])


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def names(folder):
    """Return the names of what is in a folder, but the record of a call and the lock of a finished one."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("counts.jsonl", ".crowdcount.lock"))


def stdin(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


# One number whatever the form of the picture


def test_every_form_of_a_picture_gives_the_number_of_the_tool(tool, release, model, tmp_path, capsys, monkeypatch):
    image = picture()
    path, out = write(tmp_path / "a.png", image), tmp_path / "out"
    assert run(tool, path, "--output", out, "--save", "csv", "json", "npz", model=release) == 0
    expected = float(table(out / "counts.csv")[0]["count"])
    assert capsys.readouterr().out == f"{path}: count {expected:.1f}\n"
    assert expected == json.loads((out / "counts.json").read_text())["images"][0]["count"]
    assert expected == np.load(out / "a.npz")["count"] and expected > 1
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    forms = [path, str(path), image, pixels, pixels / 255, PIL.Image.open(path), image / 255]
    forms += [image.astype(np.float32) / 255, image.astype(np.uint16) * 257, np.dstack([image, image[..., 0]])]
    for form in forms:
        assert crowdcount.count(form, release, device="cpu") == expected
        assert crowdcount.count(form, model, device="cpu") == expected
    monkeypatch.chdir(tmp_path)
    for word in (path.parent, f"{tmp_path}/*.png", "a.png", "*.png"):
        assert run(tool, word, "--output", out, "--save", "csv", model=release) == 0
        assert [float(row["count"]) for row in table(out / "counts.csv")] == [expected]


@pytest.mark.parametrize("content", ["a.png\nb.png\n", "a.png\r\n\r\nb.png", "a.png\0b.png\0"])
def test_names_on_standard_input(tool, release, photos, monkeypatch, capsys, content):
    monkeypatch.chdir(photos)
    stdin(monkeypatch, content.encode())
    assert run(tool, "c.png", "-", model=release) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["c.png", "a.png", "b.png"]


def test_an_empty_standard_input_is_no_success(tool, release, monkeypatch, capsys, tmp_path):
    stdin(monkeypatch, b"\n")
    assert run(tool, "-", "--output", tmp_path / "out", model=release) == 2
    assert capsys.readouterr().err == "crowdcount predict: no file was named: standard input is empty\n"
    assert not (tmp_path / "out").exists()


def test_names_with_newlines_go_through_print0(tool, release, tmp_path, monkeypatch):
    path = write(tmp_path / "two\nlines.png", picture())
    stdin(monkeypatch, os.fsencode(path) + b"\0")
    assert run(tool, "-", "--output", tmp_path / "out", "--save", "csv", model=release) == 0
    assert table(tmp_path / "out" / "counts.csv")[0]["image"] == str(path)


# A folder of difficult files


@pytest.fixture
def difficult(tmp_path):
    """A folder with files of every kind of trouble; what each picture shows, or None where it is damaged."""
    folder, image = tmp_path / "difficult", picture(seed=3)
    write(folder / "cut.jpg", picture(200, 300))
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-800])
    PIL.Image.fromarray(image).convert("CMYK").save(folder / "inks.jpg", quality=95)
    assert cv2.imwrite(str(folder / "deep.png"), image[..., ::-1].astype(np.uint16) * 257)
    exif = PIL.Image.Exif()
    exif[0x112] = 6
    PIL.Image.fromarray(image).save(folder / "turned.png", exif=exif)
    write(folder / "pixel.png", picture(1, 1))
    (folder / "text.jpg").write_text("no picture")
    (folder / "zero.png").touch()
    return folder


def test_images_of_a_folder_that_are_not_read_are_named(tool, release, tmp_path, capsys):
    folder, out = tmp_path / "phone", tmp_path / "out"
    folder.mkdir()
    for name, kind in (
        ("a.jpg", "JPEG"),
        ("b.jfif", "JPEG"),
        ("c.gif", "GIF"),
        ("d.jp2", "JPEG2000"),
        ("e.avif", "AVIF"),
    ):
        PIL.Image.fromarray(picture()).save(folder / name, kind)
    assert run(tool, folder, "--output", out, "--save", "csv", model=release) == 0
    assert not capsys.readouterr().err.count("left out")
    (folder / "notes.txt").touch()
    assert run(tool, folder, "--output", out, "--save", "csv", model=release) == 0
    assert f"crowdcount predict: {folder}: 1 file left out: 1 .txt (notes.txt)" in capsys.readouterr().err
    (folder / "f.dng").touch()
    assert run(tool, folder, "--output", out, "--save", "csv", model=release) == 2
    assert f"crowdcount predict: {folder}: 2 files left out: 1 .dng (f.dng), images that" in capsys.readouterr().err
    rows = table(out / "counts.csv")
    assert [Path(row["image"]).suffix for row in rows] == [".jpg", ".jfif", ".gif", ".jp2", ".avif"]
    assert not any(row["error"] for row in rows)


def test_images_of_twelve_bits_need_their_range(tool, release, model, tmp_path, capsys):
    image = picture(seed=3)
    assert cv2.imwrite(str(tmp_path / "deep.png"), image[..., ::-1].astype(np.uint16) * 16)
    assert run(tool, tmp_path / "deep.png", model=release) == 2
    assert (
        "deep.png: the brightest of its uint16 is" in (shown := capsys.readouterr().err) and "--range 0 4095" in shown
    )
    out = tmp_path / "out"
    assert run(tool, tmp_path / "deep.png", "--range", 0, 4095, "--output", out, "--save", "csv", model=release) == 0
    expected = crowdcount.count(image, model)
    assert float(table(out / "counts.csv")[0]["count"]) == pytest.approx(expected, rel=1e-5)
    found = crowdcount.predict(tmp_path / "deep.png", model, value_range=[0, 4095])
    assert found.count == pytest.approx(expected, rel=1e-5) and found.plot().shape[1] == image.shape[1]
    assert crowdcount.count(image[..., ::-1], model, channels="bgr") == pytest.approx(expected, rel=1e-5)
    assert run(tool, tmp_path / "deep.png", "--range", 5, 5, model=release) == 2
    assert "value_range: 5 5 should be two numbers that rise" in capsys.readouterr().err


@pytest.mark.parametrize("batch", [1, 3])
def test_damaged_files_are_reported_and_the_rest_counted(tool, release, model, difficult, tmp_path, capsys, batch):
    out = tmp_path / "out"
    assert run(tool, difficult, "--batch", batch, "--output", out, "--save", *tool.KINDS, model=release) == 2
    rows = {Path(row["image"]).name: row for row in table(out / "counts.csv")}
    assert list(rows) == ["cut.jpg", "deep.png", "inks.jpg", "pixel.png", "text.jpg", "turned.png", "zero.png"]
    damaged = {"cut.jpg": "is damaged (", "text.jpg": "not a readable image (10 b", "zero.png": "image (0 bytes)"}
    shown = capsys.readouterr()
    for name, words in damaged.items():
        assert words in rows[name]["error"] and rows[name]["count"] == rows[name]["width"] == ""
        assert f"crowdcount predict: {difficult / name}: " in shown.err and name not in shown.out
    assert shown.err.count(str(difficult)) == 3
    whole = rows.keys() - damaged.keys()
    for name in whole:
        assert float(rows[name]["count"]) == pytest.approx(crowdcount.count(difficult / name, model), rel=1e-5)
        assert rows[name]["exact"] == "true" and rows[name]["error"] == ""
    assert float(rows["deep.png"]["count"]) == pytest.approx(crowdcount.count(picture(seed=3), model), rel=1e-5)
    upright = np.rot90(picture(seed=3), 3)
    assert float(rows["turned.png"]["count"]) == pytest.approx(crowdcount.count(upright, model), rel=1e-5)
    assert (rows["turned.png"]["width"], rows["turned.png"]["height"]) == ("60", "90")
    assert (rows["pixel.png"]["width"], rows["pixel.png"]["height"]) == ("1", "1")
    stems = [Path(name).stem for name in whole]
    expected = [f"{stem}{end}" for stem in stems for end in (".npz", "_overlay.png")]
    assert names(out) == sorted([*expected, "counts.csv", "counts.json"])
    images = json.loads((out / "counts.json").read_text())["images"]
    assert [entry["image"] for entry in images] == [row["image"] for row in rows.values()]
    assert {Path(entry["image"]).name for entry in images if "error" in entry} == damaged.keys()


def test_batches_give_the_same_numbers(tool, release, photos, tmp_path):
    found = []
    for batch in (1, 2, 3):
        assert run(tool, photos, "--batch", batch, "--output", tmp_path / "o", "--save", "csv", model=release) == 0
        found.append([float(row["count"]) for row in table(tmp_path / "o" / "counts.csv")])
    assert len(set(found[0])) == 4
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_one_file_of_a_batch_that_cannot_be_written_does_not_stop_the_others(
    tool, release, photos, tmp_path, monkeypatch
):
    written = count_run.atomic_write

    def full(path, content):
        if path.name == "b.npz":
            raise OSError(28, "No space left on device")
        written(path, content)

    monkeypatch.setattr(count_run, "atomic_write", full)
    out = tmp_path / "out"
    assert run(tool, photos, "--batch", 4, "--output", out, "--save", "csv", "npz", model=release) == 2
    assert names(out) == ["a.npz", "c.npz", "counts.csv", "d.npz"]
    rows = table(out / "counts.csv")
    assert all(float(row["count"]) > 0 for row in rows)  # what cannot be written costs only itself
    errors = [row["error"] for row in rows]
    assert errors == ["", f"{out / 'b.npz'}: not written ([Errno 28] No space left on device)", "", ""]


def test_a_batch_that_is_too_much_is_counted_one_by_one(tool, release, photos, tmp_path, monkeypatch):
    batch, sizes = Model.predict_batch, []

    def small(self, images):
        sizes.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch(self, images)

    monkeypatch.setattr(Model, "predict_batch", small)
    assert run(tool, photos, "--batch", 3, "--output", tmp_path / "out", model=release) == 0
    assert sizes == [3, 1, 1, 1, 1]
    monkeypatch.setattr(Model, "predict_batch", lambda self, images: small(self, [*images, *images]))
    with pytest.raises(InputError, match="too little memory; set max_memory or long_side"):
        crowdcount.count(picture(), release)


def test_tables_that_cannot_be_written_are_one_line(tool, release, photos, tmp_path, capsys):
    (tmp_path / "out" / "counts.csv").mkdir(parents=True)
    assert run(tool, photos, "--output", tmp_path / "out", "--save", "csv", model=release) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("crowdcount predict: [Errno 21]") or "Is a directory" in err


# What is written


def test_what_the_archive_and_the_json_hold(tool, release, model, tmp_path):
    image = picture(61, 93)
    path, out = write(tmp_path / "a.png", image), tmp_path / "out"
    assert run(tool, path, "--output", out, "--save", "npz", "json", "--long-side", 70, model=release) == 0
    with np.load(out / "a.npz") as archive:
        held = dict(archive)
    seen = Predictor(model, long_side=70).predict(path)
    assert sorted(held) == sorted(
        "count density stride seen size points exact probabilities".split()
    )  # it counts at one size
    assert held["seen"].tolist() == [70, 46] and held["size"].tolist() == [93, 61] and held["stride"] == 8
    assert held["density"].shape == (6, 9) and held["probabilities"].shape == (3, 6, 9)
    assert held["density"].sum(dtype=np.float64) == pytest.approx(float(held["count"])) == pytest.approx(seen.count)
    np.testing.assert_allclose(held["probabilities"].sum(axis=0), 1, atol=1e-5)
    anchors = np.array([0, 1, 3], np.float32)[:, None, None]
    np.testing.assert_allclose((held["probabilities"] * anchors).sum(axis=0), held["density"], atol=1e-5)
    (entry,) = json.loads((out / "counts.json").read_text())["images"]
    np.testing.assert_allclose(entry["points"], held["points"], atol=0.006)
    np.testing.assert_allclose(held["points"], seen.points_in(61, 93))
    assert len(held["points"]) > 3 and (held["points"] < [93, 61]).all() and held["points"][:, 0].max() > 70


def test_doubtful_counts_are_warned_of(tool, photos, tmp_path, monkeypatch, capsys):
    release = str(save_release(tiny(half_size=True), tmp_path / "release", "tiny"))
    found = crowdcount.predict(photos / "a.png", release)
    doubt, count = found.doubt, found.count
    assert count < 10  # so ten is taken
    for bound, warned in ((doubt, False), (np.nextafter(doubt, -1), True)):
        monkeypatch.setattr("crowdcount.cli.predict.DOUBTFUL", bound)
        assert run(tool, photos / "a.png", "--output", tmp_path / "out", "--save", "json", model=release) == 0
        said = f"a.png: doubtful: the counts at full and half size differ by {doubt * 10:.1f} people"
        assert (said in capsys.readouterr().err) == warned
    (entry,) = json.loads((tmp_path / "out" / "counts.json").read_text())["images"]
    assert entry["doubt"] == doubt
    assert run(tool, photos / "a.png", "--output", tmp_path / "out2", "--save", "npz", model=release) == 0
    with np.load(tmp_path / "out2" / "a.npz") as archive:
        assert abs(archive["size_difference"].sum()) / 10 == pytest.approx(doubt, rel=1e-5)


def test_overlays_show_the_picture_with_its_caption(tool, release, photos, tmp_path):
    assert run(tool, photos / "a.png", "--output", tmp_path / "out", "--save", "overlay", model=release) == 0
    assert names(tmp_path / "out") == ["a_overlay.png"]
    drawn = read_image(tmp_path / "out" / "a_overlay.png")
    below = drawn[-60:, :90]
    prediction = crowdcount.predict(photos / "a.png", release)
    np.testing.assert_array_equal(below, density_overlay(picture(), prediction))
    assert (below != picture()).any() and drawn.shape[0] > 70


@pytest.mark.parametrize("size", [(60, 90), (120, 180), (30, 45), (1, 3)])
def test_density_overlays_are_no_larger_than_asked(size):
    prediction = Prediction(4.0, np.full((8, 12), 4 / 96, np.float32), 8, 60, 90)
    assert density_overlay(picture(*size), prediction).shape == (60, 90, 3)
    assert density_overlay(picture(*size), prediction, 50).shape == (30, 45, 3)
    assert density_overlay(picture(*size), prediction, 5).shape == (8, 12, 3)  # a pixel for each block is the least
    drawn = density_overlay(picture(*size), prediction, 30)
    assert cv2.imdecode(np.frombuffer(image_bytes(drawn), np.uint8), cv2.IMREAD_COLOR_RGB).tolist() == drawn.tolist()


def test_outputs_of_the_same_name_from_different_folders(tool, release, tmp_path):
    paths = ["x/a.png", "y/a.png", "z/a.png", "x/a.bmp", "x/A.png", "x/a.png.png"]
    files = [write(tmp_path / name, picture(seed=seed)) for seed, name in enumerate(paths)]
    out = tmp_path / "out"
    assert run(tool, *files, "--output", out, "--save", "csv", "npz", model=release) == 0
    counts = [float(row["count"]) for row in table(out / "counts.csv")]
    # names that differ in capitals alone are one on some disks
    written = ["a.npz", "a.png.npz", "a.png-2.npz", "a.bmp.npz", "A.png-3.npz", "a.png.png.npz"]
    assert names(out) == sorted([*written, "counts.csv"])
    assert [float(np.load(out / name)["count"]) for name in written] == counts and len(set(counts)) == len(paths)


def test_an_output_never_takes_the_place_of_an_input(tool, release, photos):
    mine = write(photos / "a_overlay.png", picture(seed=7))
    before = mine.read_bytes()
    assert run(tool, photos, "--output", photos, "--save", "overlay", model=release) == 0
    assert mine.read_bytes() == before
    assert {"a.png_overlay.png", "a_overlay_overlay.png", "b_overlay.png"} <= set(names(photos))


STRANGE = ["with space.png", "comma, and 'quotes\".png", "two\nlines.png", "Ärger 人群 é.png", "=1+1.png", "-x;y\t.png"]


def test_strange_names_survive_in_tables(tool, release, tmp_path, capsys):
    for seed, name in enumerate(STRANGE):
        write(tmp_path / "in" / name, picture(seed=seed))
    out = tmp_path / "out"
    assert run(tool, tmp_path / "in", "--output", out, "--save", "csv", "json", "overlay", model=release) == 0
    shown, expected = capsys.readouterr().out, sorted(str(tmp_path / "in" / name) for name in STRANGE)
    assert [row["image"] for row in table(out / "counts.csv")] == expected
    assert [entry["image"] for entry in json.loads((out / "counts.json").read_text())["images"]] == expected
    assert all(f"{tmp_path / 'in' / name}: count " in shown for name in STRANGE)
    assert {f"{Path(name).stem}_overlay.png" for name in STRANGE} <= set(names(out))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not UTF-8")
def test_a_name_that_is_no_utf8_does_not_stop_the_rest(tool, release, tmp_path, capsys, monkeypatch):
    photos = tmp_path / "in"
    write(photos / "z.png", picture())
    bad = os.fsencode(photos) + b"/caf\xe9.png"
    Path(os.fsdecode(bad)).write_bytes((photos / "z.png").read_bytes())
    Path(os.fsdecode(os.fsencode(photos) + b"/d\xe9fect.png")).write_bytes(b"x")
    out = tmp_path / "out"
    assert run(tool, photos, "--output", out, "--save", "csv", "json", "overlay", model=release) == 2
    rows = table(out / "counts.csv")
    assert [Path(row["image"]).name for row in rows] == ["caf\\udce9.png", "d\\udce9fect.png", "z.png"]
    assert rows[0]["count"] == rows[2]["count"] and "not a readable image" in rows[1]["error"]
    shown = capsys.readouterr()
    assert "caf\\udce9.png: count" in shown.out and "d\\udce9fect.png" in shown.err
    assert json.loads((out / "counts.json").read_text())["images"][0]["image"] == os.fsdecode(bad)
    stdin(monkeypatch, bad + b"\n")
    assert run(tool, "-", model=release) == 0


def test_tables_of_counted_pictures():
    results = [
        CountResult("a,b.png", 0.1 + 0.2, {"left, right": 1.5, "count": 2.0}, size=(4, 3), exact=False),
        CountResult("none.png", error="none.png: no such image"),
    ]
    text = counts_csv(results, ["left, right", "count", "unseen"])
    first, second = csv.DictReader(io.StringIO(text))
    assert first["count"] == "0.30000000000000004" and first["count (part)"] == "2.0"
    assert (first["left, right"], first["unseen"], first["exact"], first["width"]) == ("1.5", "", "false", "4")
    assert (second["count"], second["error"]) == ("", "none.png: no such image")
    assert counts_csv([], ["x"]) == "image,count,width,height,exact,x,error\n"
    data = json.loads(counts_json(results, "m"))
    assert data["model"] == "m" and data["images"][1] == {"image": "none.png", "error": "none.png: no such image"}
    assert data["images"][0]["parts"] == {"left, right": 1.5, "count": 2.0} and data["images"][0]["points"] == []


def test_an_archive_without_classes():
    prediction = Prediction(1.0, np.ones((1, 1), np.float32), 8, 3, 5)
    held = np.load(io.BytesIO(npz_bytes(prediction, CountResult("a", 1.0, size=(5, 3)))))
    assert "probabilities" not in held and "allow_pickle" not in held and held["points"].shape == (0, 2)


# Interrupted


def test_ctrl_c_still_writes_the_tables(tool, release, photos, tmp_path, monkeypatch, capsys):
    together, calls = Predictor.predict_batch, []

    def stop(self, images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt  # a signal would not do where the shell has it ignored
        return together(self, images)

    monkeypatch.setattr(Predictor, "predict_batch", stop)
    out = tmp_path / "out"
    assert run(tool, photos, "--output", out, "--save", "csv", "json", "npz", model=release) == 130
    assert [Path(row["image"]).name for row in table(out / "counts.csv")] == ["a.png", "b.png"]
    assert len(json.loads((out / "counts.json").read_text())["images"]) == 2
    assert names(out) == ["a.npz", "b.npz", "counts.csv", "counts.json"]
    assert "crowdcount predict: interrupted after 2 of 4 files" in capsys.readouterr().err


def test_ctrl_c_within_a_batch_and_a_bug(tool, release, photos, tmp_path, monkeypatch):
    image_of, seen = count_run.Run._image, []

    def stop(error):
        def each(self, path, image, prediction):
            seen.append(path)
            if path.name == "c.png":
                raise error
            return image_of(self, path, image, prediction)

        return each

    out = tmp_path / "out"
    arguments = (photos, "--batch", 3, "--output", out, "--save", "csv")
    monkeypatch.setattr(count_run.Run, "_image", stop(KeyboardInterrupt()))
    assert run(tool, *arguments, model=release) == 130 and len(table(out / "counts.csv")) == 2
    (out / "counts.csv").unlink()
    monkeypatch.setattr(count_run.Run, "_image", stop(AssertionError("a bug")))
    with pytest.raises(AssertionError, match="a bug"):  # bugs keep their traceback
        run(tool, *arguments, model=release)
    assert len(table(out / "counts.csv")) == 2


# Mistakes of the user


def test_mistakes_are_one_line_and_nothing_is_written(tool, release, referring, photos, tmp_path, capsys):
    (tmp_path / "bare").mkdir()
    (tmp_path / "zones.json").write_text('{"a": [[0, 0], [1, 1]]}')
    (tmp_path / "weights.ckpt").write_bytes(b"no weights")
    out, photo = tmp_path / "out", photos / "a.png"
    cases = [
        ([tmp_path / "bare"], release, "in this folder"),
        ([f"{photos}/*.jpg"], release, "match this pattern"),
        ([photo], "ebc/nothing_of_this_name", "ebc/nothing_of_this_name"),
        ([photo], tmp_path / "weights.ckpt", "weights.ckpt"),
        ([photo, "--weights", "x"], release, "leave weights out"),
        ([photo, "--zones", tmp_path / "zones.json"], release, "draw at least 3"),
        ([photo, "--zones", tmp_path / "none.json"], release, "no such zone file"),
        ([photo, "--max-memory", "0"], release, "max_memory: 0.0 must be"),
        ([photo, "--max-memory", "nan"], release, "max_memory: nan must be"),
        ([photo, "--long-side", "0"], release, "long_side: 0 must be"),
        ([photo, "--precision", "float16"], release, "float16 is for GPUs"),
        ([photo, "--expression", "person in red"], release, "tiny reads no text; leave the expressions out"),
        (
            [photo],
            referring,
            "finder counts what expressions name: call its predict(image, texts), or give --expression TEXT",
        ),
        ([photo, "--expression", "person", "--save", "npz"], referring, "no density to save as npz"),
    ]
    for arguments, model, words in cases:
        assert run(tool, *arguments, "--output", out, model=model) == 2
        shown = capsys.readouterr()
        assert words in shown.err and shown.err.startswith("crowdcount predict: "), shown.err
        assert shown.err.count("\n") == 1
        assert shown.out == "" and not out.exists()
    assert run(tool, photo, "--output", photo, model=release) == 2  # a file, no folder
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("device", ["cuda:99", "meta", "nonsense", "privateuseone"])
def test_devices_that_are_not_here(tool, release, photos, capsys, device):
    assert tool.main([str(photos), "--model", release, "--device", device]) == 2
    assert capsys.readouterr().err.startswith(f"crowdcount predict: device: {device} is not available (")
    with pytest.raises(InputError, match=f"device: {device} is not available"):
        Predictor(release, device=device)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--save", "csv"], "--save needs --output"),
        (["--batch", "0"], "--batch: 0 must be at least 1"),
        (["--every", "0"], "--every: 0"),
        (["--smooth", "-1"], "--smooth: -1"),
        (["--output", "x", "--save", "xml"], "invalid choice"),
        (["--precision", "int8"], "invalid choice"),
    ],
)
def test_arguments_that_cannot_be(tool, arguments, words, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main(["photo.jpg", *arguments])
    assert error.value.code == 2 and words in capsys.readouterr().err


def test_help_shows_every_option(tool, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main(["--help"])
    shown = capsys.readouterr().out
    assert error.value.code == 0 and "crowdcount predict photo.jpg" in shown
    options = (
        "model weights expression zones output save every smooth batch device precision max-memory long-side range "
        "ignore image-scale interval intervals resume"
    )
    assert all(f"--{option}" in shown for option in options.split())


def test_a_missing_file_is_reported_in_its_turn(tool, release, photos, tmp_path, capsys):
    out = tmp_path / "out"
    missing = [photos / "none.png", photos / "none.mp4", "x" * 5000]
    assert run(tool, *missing, photos / "a.png", "--output", out, model=release) == 2
    rows = table(out / "counts.csv")
    assert [bool(row["error"]) for row in rows] == [True, True, True, False]
    err = capsys.readouterr().err
    assert "none.png: no such image" in err and "none.mp4: no such video" in err and "File name too long" in err


def test_without_output_nothing_is_written(tool, release, photos, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = names(photos)
    assert run(tool, photos, model=release) == 0
    assert names(tmp_path / "here") == [] and names(photos) == before


def test_progress_and_results_do_not_mix(tool, release, photos, capsys):
    assert run(tool, photos, model=release) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 4 and "4/4" in shown.err and "file" in shown.err
    assert run(tool, photos / "a.png", model=release) == 0
    assert capsys.readouterr().err == ""


# Zones


def test_zones_that_partition_the_picture_add_up(tool, release, photos, tmp_path):
    zones = {
        "left, half": [[0, 0], [31.3, 0], [20.9, 60], [0, 60]],
        "right": [[31.3, 0], [90, 0], [90, 60], [20.9, 60]],
    }
    (tmp_path / "zones.json").write_text(json.dumps(zones))
    mask = np.zeros((60, 90), np.uint8)
    mask[10:33, 5:44] = 255
    masks = [write(tmp_path / "inner.png", mask), write(tmp_path / "error.png", 255 - mask)]
    out, arguments = tmp_path / "out", ["--save", "csv", "json", "overlay", "--batch", 2]
    files = [photos / name for name in ("a.png", "d.png", "b.png")]
    zones = [word for path in (tmp_path / "zones.json", *masks) for word in ("--zones", path)]
    assert run(tool, *zones, *files, "--output", out, *arguments, model=release) == 2
    first, wrong, last = table(out / "counts.csv")
    for row in (first, last):
        assert float(row["left, half"]) + float(row["right"]) == pytest.approx(float(row["count"]), rel=1e-6)
        assert float(row["inner"]) + float(row["error (part)"]) == pytest.approx(float(row["count"]), rel=1e-6)
        assert float(row["inner"]) > 0 and row["error"] == ""
    assert "its mask is 90 x 60 pixels and the image 50 x 40" in wrong["error"] and wrong["count"] == ""
    assert names(out) == ["a_overlay.png", "b_overlay.png", "counts.csv", "counts.json"]
    parts = json.loads((out / "counts.json").read_text())["images"][0]["parts"]
    assert list(parts) == ["left, half", "right", "inner", "error"]


def test_zones_are_in_pixels_of_the_upright_picture(tool, release, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x112] = 6
    PIL.Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)  # 60 x 90 when upright
    (tmp_path / "zones.json").write_text('{"low": [[0, 70], [60, 70], [60, 90], [0, 90]]}')
    arguments = ["--zones", tmp_path / "zones.json", "--output", tmp_path / "out", "--long-side", 64]
    assert run(tool, tmp_path / "a.png", *arguments, model=release) == 0
    assert float(table(tmp_path / "out" / "counts.csv")[0]["low"]) > 0


def test_columns_of_zones_are_there_even_if_nothing_could_be_counted(tool, release, tmp_path):
    (tmp_path / "zones.json").write_text('{"low": [[0, 70], [60, 70], [60, 90], [0, 90]]}')
    out = tmp_path / "out"
    assert run(tool, tmp_path / "none.png", "--zones", tmp_path / "zones.json", "--output", out, model=release) == 2
    assert list(table(out / "counts.csv")[0]) == ["image", "count", "width", "height", "exact", "low", "error"]


# Expressions


def test_expressions_and_zones(tool, referring, photos, tmp_path, capsys):
    zones = {"left": [[0, 0], [30, 0], [30, 60], [0, 60]], "right": [[30, 0], [90, 0], [90, 60], [30, 60]]}
    (tmp_path / "zones.json").write_text(json.dumps(zones))
    out, texts = tmp_path / "out", ["person in red", "blue", "blue"]
    arguments = ["--zones", tmp_path / "zones.json", "--output", out, "--save", "csv", "json", "overlay"]
    write(photos / "pixel.png", picture(1, 1))
    files = [photos / "a.png", photos / "pixel.png", photos / "b.png"]
    expressions = [word for text in texts for word in ("--expression", text)]
    assert run(tool, *expressions, *files, *arguments, model=referring) == 2
    first, small, last = table(out / "counts.csv")
    names_of = ["person in red", "blue", *(f"{text} / {zone}" for text in texts[:2] for zone in ("left", "right"))]
    assert list(first)[5:-1] == names_of
    for row in (first, last):
        assert int(row["person in red"]) + int(row["blue"]) == int(row["count"]) > 0 and row["exact"] == ""
        for text in ("person in red", "blue"):
            assert int(row[f"{text} / left"]) + int(row[f"{text} / right"]) == int(row[text])
    assert small["count"] == ""
    images = json.loads((out / "counts.json").read_text())["images"]
    assert len(images[0]["points"]) == int(first["count"]) and "exact" not in images[0]
    assert names(out) == ["a_overlay.png", "b_overlay.png", "counts.csv", "counts.json"]


def test_videos_are_not_searched_for_expressions(tool, referring, film, tmp_path, capsys):
    assert run(tool, film, "--expression", "red", "--output", tmp_path / "out", model=referring) == 2
    assert "expressions are looked for in images alone" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["counts.csv"]


def test_an_empty_expression_is_reported(tool, referring, photos, capsys):
    assert run(tool, photos / "a.png", "--expression", "", model=referring) == 2
    assert "holds no word" in capsys.readouterr().err


def test_a_model_of_expressions_cannot_count_people(referring):
    model = crowdcount.load_model(referring)
    for each in (model, referring):
        with pytest.raises(InputError, match=r"finder counts what expressions name: call its predict\(image, texts\)"):
            crowdcount.count(picture(), each)
    (found,) = Predictor(referring).find(picture(), ["red"])
    (expected,) = model.predict(picture(), ["red"])
    np.testing.assert_array_equal(found.points, expected.points)
    for find in (model.predict, model.predict_each, Predictor(referring).find):
        (alone,) = find(picture(), "red")  # a text is one expression, not three letters
        assert alone.text == "red" and len(alone.points) == len(expected.points)
    (shrunk,) = Predictor(referring, long_side=80).find(picture(), ["red"])
    assert (shrunk.height, shrunk.width) == (60, 90) and (shrunk.points[:, 0] > 80).any()
    (half,) = Predictor(referring, precision="bfloat16").find(picture(), ["red"])
    assert half.points.dtype == np.float32 and np.isfinite(half.points).all()


def test_a_model_of_densities_reads_no_text(model):
    with pytest.raises(InputError, match="tiny reads no text; leave the expressions out, or take"):
        Predictor(model).find(picture(), ["red"])


# The predictor


def test_a_model_given_by_name_is_loaded_once(release, tmp_path, monkeypatch):
    loaded, load = [], predictor_module.load_model

    def counting(*arguments, **options):
        loaded.append(arguments[0])
        return load(*arguments, **options)

    monkeypatch.setattr(predictor_module, "load_model", counting)
    predictor_module._kept.cache_clear()
    path = tmp_path / "model.safetensors"
    path.write_bytes(Path(release).read_bytes())
    first = crowdcount.predict(picture(), path)
    assert crowdcount.predict(picture(), model=path).count == first.count and loaded == [path]
    crowdcount.count(picture(), path, long_side=32)
    assert loaded == [path, path]
    other = save_release(tiny(1), tmp_path / "other", "other")
    path.write_bytes(other.read_bytes())  # a training that has gone on
    os.utime(path, ns=(1, 1))
    assert crowdcount.predict(picture(), path).count != first.count and len(loaded) == 3
    assert crowdcount.count(picture(), tmp_path / "other") == crowdcount.count(picture(), other)
    predictor_module._kept.cache_clear()


def test_the_model_of_the_package_is_the_default(monkeypatch, release):
    monkeypatch.setattr(predictor_module, "DEFAULT_MODEL", release)
    assert Predictor().model.name == "tiny"


def test_a_model_given_as_such_has_its_own_weights(model):
    assert Predictor(model).model is model and Predictor(model).model.density_model() is model
    with pytest.raises(InputError, match="the model given has its own"):
        Predictor(model, weights="x")


def test_long_side_shrinks_and_never_enlarges(model):
    image = picture()
    small = Predictor(model, long_side=45)
    shrunk = np.asarray(cv2.resize(image, (45, 30), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(small.predict(image).density, Predictor(model).predict(shrunk).density)
    assert Predictor(model, long_side=10**6).predict(image).count == Predictor(model).predict(image).count
    found = small.predict(image)
    assert (found.height, found.width, found.stride) == (30, 45, 8)
    assert small.predict(picture(1, 500)).density.shape == (1, 6)
    assert Predictor(model, long_side=1).predict(image).density.shape == (1, 1)


def test_nobody_is_counted_under_a_mask(tool, release, model, photos, film, tmp_path, capsys):
    marked = np.zeros((60, 90, 3), np.uint8)
    marked[:, :33] = 1
    mask, out = write(tmp_path / "mask.png", marked), tmp_path / "out"
    (tmp_path / "zones.json").write_text(
        '{"left": [[0, 0], [40, 0], [40, 60], [0, 60]], "right": [[40, 0], [90, 0], '
        '[90, 60], [40, 60]], "under": [[0, 0], [33, 0], [33, 60], [0, 60]]}'
    )
    words = [photos, "--ignore", mask, "--zones", tmp_path / "zones.json", "--output", out, "--image-scale", 0.5]
    assert run(tool, *words, "--batch", 2, "--save", "csv", "json", "npz", "overlay", model=release) == 2
    *three, other = table(out / "counts.csv")
    assert other["error"].endswith(
        "the mask is 90 x 60 pixels, the image 50 x 40 (width x height); paint the mask on "
        "this image, upright and at full size"
    )
    for row in three:
        found = crowdcount.predict(row["image"], model, ignore=mask, image_scale=0.5, device="cpu")
        assert float(row["count"]) == pytest.approx(found.count, rel=1e-4)
        assert float(row["left"]) + float(row["right"]) == pytest.approx(found.count, rel=1e-4)
        assert float(row["under"]) == pytest.approx(0, abs=1e-6)
        saved = np.load(out / f"{Path(row['image']).stem}.npz")
        assert (saved["density"][:, :2] == 0).all() and saved["seen"].tolist() == [45, 30]
        assert (saved["points"][:, 0] >= 33).all()
    assert run(tool, *words, "--resume", model=release) == 2  # with other outputs
    write(mask, marked[:, ::-1])
    same = ["--save", "csv", "json", "npz", "overlay", "--resume"]
    capsys.readouterr()
    assert run(tool, *words, *same, model=release) == 2 and "another protocol" in capsys.readouterr().err
    plain = list(count_video(film, Predictor(model), every=8))
    marked = np.zeros((64, 96), bool)
    marked[:32] = True
    without = list(count_video(film, Predictor(model, ignore=marked), every=8, annotated=tmp_path / "film.mp4"))
    assert all(one.count < other.count for one, other in zip(without, plain, strict=True))


def test_a_mask_and_a_scale_for_expressions(referring):
    image, marked = picture(80, 120), np.zeros((80, 120), bool)
    (whole,) = Predictor(referring).find(image, ["red"])
    marked[:, :60] = True
    (found,) = Predictor(referring, ignore=marked).find(image, ["red"])
    np.testing.assert_array_equal(found.points, whole.points[whole.points[:, 0] >= 60])
    assert found.plot().shape == whole.plot().shape
    (scaled,) = Predictor(referring, image_scale=1.5).find(image, ["red"])
    assert (scaled.height, scaled.width) == (80, 120) and scaled.points.max() <= 120


def test_tiles_give_the_count_of_the_whole(tool, release, model, tmp_path):
    image = picture(205, 307)
    whole = Predictor(model).predict(image)
    tiled = Predictor(model, max_memory=0.005).predict(image)
    assert whole.exact and tiled.exact
    assert tiled.count == pytest.approx(whole.count, rel=1e-4)
    np.testing.assert_allclose(tiled.density, whole.density, atol=1e-4)
    path, out = write(tmp_path / "a.png", image), tmp_path / "out"
    arguments = ["--max-memory", 0.005, "--output", out, "--save", "csv", "--batch", 2]
    assert run(tool, path, *arguments, model=release) == 0
    assert float(table(out / "counts.csv")[0]["count"]) == pytest.approx(whole.count, rel=1e-4)
    assert run(tool, path, "--max-memory", 1e-9, "--output", out, "--save", "csv", model=release) == 2
    assert "max_memory" in table(out / "counts.csv")[0]["error"]


def test_the_memory_that_is_taken(model, monkeypatch):
    """Large pictures are counted in tiles where these are exact; the limit of a model's own configuration holds."""
    image = picture()
    assert Predictor(model)._memory(model, [image]) is None
    monkeypatch.setattr("crowdcount.inference.base_predictor.SMALL", 100)
    assert Predictor(model)._memory(model, [image]) == DEFAULT_MEMORY
    assert Predictor(model, max_memory=0.5)._memory(model, [image]) == 0.5
    own = replace(model, inference=replace(model.inference, max_memory=0.25))
    assert Predictor(own)._memory(own, [image]) == 0.25
    assert Predictor(own, max_memory=0.5)._memory(own, [image]) == 0.5
    windows = replace(model, inference=replace(model.inference, window=32))
    assert Predictor(windows)._memory(windows, [image]) is None and not Predictor(windows).predict(image).exact
    monkeypatch.setattr(predictor_module, "receptive_margin", lambda network: None)
    assert Predictor(model)._memory(model, [image]) is None


def test_bfloat16_is_near_float32(tool, release, model, photos, tmp_path):
    full = Predictor(model).predict(photos / "a.png")
    half = Predictor(model, precision="bfloat16").predict(photos / "a.png")
    assert half.count == pytest.approx(full.count, rel=0.01) and half.count != full.count
    assert half.density.dtype == np.float32 and half.probabilities.dtype == np.float32
    arguments = ["--precision", "bfloat16", "--output", tmp_path / "out", "--save", "csv"]
    assert run(tool, photos / "a.png", *arguments, model=release) == 0
    assert float(table(tmp_path / "out" / "counts.csv")[0]["count"]) == pytest.approx(half.count, rel=1e-5)


@pytest.fixture
def overflowing(monkeypatch):
    def make(always):
        model = tiny()
        network = type(model.network)
        forward, calls = network.forward, []

        def overflow(self, image):
            result = forward(self, image)
            calls.append(torch.is_autocast_enabled("cpu"))
            lost = calls[-1] or always
            return replace(result, density=result.density * float("inf")) if lost else result

        monkeypatch.setattr(network, "forward", overflow)
        return model, calls

    return make


def test_what_half_precision_cannot_hold_is_counted_in_float32(overflowing, model, caplog):
    expected = model.predict(picture()).count
    lossy, calls = overflowing(always=False)
    found = Predictor(lossy, precision="bfloat16").predict(picture())
    assert calls == [True, False] and found.count == pytest.approx(expected, rel=1e-6)
    assert "tiny: bfloat16 is not enough for this image; counted in float32" in caplog.text


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_count_that_is_no_number_is_an_error(overflowing, precision):
    broken, _ = overflowing(always=True)
    with pytest.raises(InputError, match="tiny gives no finite count"):
        Predictor(broken, precision=precision).predict(picture())


def test_precisions(model):
    with pytest.raises(InputError, match="precision: 'int8' is not one of float32, bfloat16, float16"):
        Predictor(model, precision="int8")
    with pytest.raises(InputError, match="float16 is for GPUs"):
        Predictor(model, precision="float16", device="cpu")


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert find_device("auto").type == expected


def test_the_model_is_on_the_device_and_batches_are_of_one_size(model):
    predictor = Predictor(model, device="cpu")
    assert {each.device for each in model.network.parameters()} == {predictor.device}
    with pytest.raises(InputError, match="a batch takes images of one size"):
        predictor.predict_batch([picture(), picture(40, 50)])
    one, two = predictor.predict_batch([picture(), picture(seed=1)])
    assert one.count == pytest.approx(predictor.predict(picture()).count, rel=1e-5)
    assert two.count == pytest.approx(predictor.predict(picture(seed=1)).count, rel=1e-5) != one.count


# Videos


def test_a_video_becomes_a_series_and_a_film(tool, release, film, tmp_path, capsys):
    (tmp_path / "zones.json").write_text(
        '{"left": [[0, 0], [48, 0], [48, 64], [0, 64]], "right": [[48, 0], [96, 0], [96, 64], [48, 64]]}'
    )
    out = tmp_path / "out"
    arguments = ["--every", 5, "--smooth", 2, "--zones", tmp_path / "zones.json", "--output", out]
    assert run(tool, film, *arguments, "--save", "csv", "json", "overlay", model=release) == 0
    assert names(out) == ["counts.csv", "counts.json", "walk_counted.mp4", "walk_counts.csv"]
    rows = table(out / "walk_counts.csv")
    assert [int(row["frame"]) for row in rows] == [0, 5, 10, 15, 20]
    counts = [float(row["count"]) for row in rows]
    frames = cv2.VideoCapture(str(film))
    assert counts[0] == pytest.approx(crowdcount.count(frames.read()[1][..., ::-1], release), abs=1e-3)
    assert [float(row["smoothed"]) for row in rows[1:]] == pytest.approx(
        [sum(counts[i : i + 2]) / 2 for i in range(4)], abs=2e-3
    )
    for row in rows:
        assert float(row["left count"]) + float(row["right count"]) == pytest.approx(float(row["count"]), abs=2e-3)
    (whole,) = table(out / "counts.csv")
    assert float(whole["count"]) == pytest.approx(np.mean(counts), abs=1e-3)
    assert float(whole["left"]) + float(whole["right"]) == pytest.approx(float(whole["count"]), rel=1e-5)
    assert (whole["width"], whole["height"]) == ("96", "64")
    assert f"{film}: mean count {np.mean(counts):.1f} (left " in capsys.readouterr().out
    written = cv2.VideoCapture(str(out / "walk_counted.mp4"))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS / 5, abs=0.01)
    assert written.get(cv2.CAP_PROP_FRAME_WIDTH) == 96 and written.get(cv2.CAP_PROP_FRAME_HEIGHT) > 64


def test_a_video_that_breaks_off_keeps_its_counts(tool, release, film, photos, tmp_path, capsys):
    cut = tmp_path / "cut.avi"
    whole = film.read_bytes()
    cut.write_bytes(whole[: len(whole) // 3])
    out = tmp_path / "out"
    assert run(tool, cut, photos / "a.png", "--every", 2, "--output", out, model=release) == 2
    assert names(out) == ["a_overlay.png", "counts.csv", "cut_counted.mp4", "cut_counts.csv"]
    rows = table(out / "cut_counts.csv")
    assert 1 <= len(rows) < FRAMES // 2 and float(rows[0]["count"]) > 0
    first, second = table(out / "counts.csv")
    assert "breaks off" in first["error"] and first["count"] == "" and float(second["count"]) > 0
    assert "breaks off" in capsys.readouterr().err
    assert cv2.VideoCapture(str(out / "cut_counted.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == len(rows)


def test_a_damaged_frame_of_a_video_is_named_and_not_counted(tool, release, film, tmp_path, capsys):
    with_zeros(film, tmp_path / "damaged.avi", frame := 7, share=1.0)
    out = tmp_path / "out"
    assert run(tool, tmp_path / "damaged.avi", "--every", 1, "--output", out, model=release) == 2
    assert [int(row["frame"]) for row in table(out / "damaged_counts.csv")] == [
        *range(frame),
        *range(frame + 1, FRAMES),
    ]
    assert f"damaged, frames {frame} are left out" in capsys.readouterr().err


def test_a_file_that_is_no_video_leaves_nothing(tool, release, tmp_path, capfd):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert run(tool, tmp_path / "a.mp4", "--output", tmp_path / "out", "--save", "overlay", model=release) == 2
    assert "a.mp4: not a readable video" in capfd.readouterr().err and names(tmp_path / "out") == []


def test_ctrl_c_in_a_video_keeps_the_counts_before(tool, release, film, tmp_path, monkeypatch):
    predict, calls = Predictor.predict, []

    def stop(self, image):
        calls.append(image)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return predict(self, image)

    monkeypatch.setattr(Predictor, "predict", stop)
    out = tmp_path / "out"
    assert run(tool, film, "--every", 1, "--output", out, model=release) == 130
    assert len(table(out / "walk_counts.csv")) == 3 and table(out / "counts.csv") == []
    assert names(out) == ["counts.csv", "walk_counts.csv"]


def test_counting_a_video_in_python(model, film, tmp_path):
    predictor = Predictor(model)
    readings = list(count_video(film, predictor, every=10, smooth=3))
    assert [reading.index for reading in readings] == [0, 10, 20] and readings[0].zones == {}
    assert readings[2].smoothed == pytest.approx(np.mean([reading.count for reading in readings]))
    for options in ({"every": 0}, {"smooth": 0}):
        with pytest.raises(InputError, match="must be at least 1"):
            list(count_video(film, predictor, **options))
    with pytest.raises(InputError, match="no such video"):
        list(count_video(tmp_path / "none.mp4", predictor))
    rare = tmp_path / "rare.mp4"
    assert len(list(count_video(film, predictor, every=10**6, annotated=rare))) == 1 and rare.exists()


# Packaging of the two functions


def test_the_package_offers_them():
    assert {"count", "predict", "Predictor"} <= set(crowdcount.__all__)
    assert crowdcount.count is predictor_module.count and crowdcount.Predictor is Predictor


def test_outputs_spare_inputs_however_they_are_named(tool, release, tmp_path):
    """Through a link, through `..`, and masks of zones as well."""
    own = tmp_path / "own"
    own.mkdir()
    for name in ("a.png", "a_overlay.png"):
        write(own / name, picture())
    mask = np.zeros((60, 90), np.uint8)
    mask[:, :40] = 255
    cv2.imwrite(str(own / "q_overlay.png"), mask)
    write(own / "q.png", picture())
    before = {path: path.read_bytes() for path in own.iterdir()}
    (tmp_path / "link").symlink_to(own)
    for output in (tmp_path / "link", own / ".." / "own"):
        files = [own / "a.png", own / "a_overlay.png", own / "q.png"]
        assert run(tool, *files, "--zones", own / "q_overlay.png", "--output", output, model=release) == 0
        assert all(path.read_bytes() == content for path, content in before.items())


def test_an_empty_folder_does_not_stop_the_rest(tool, release, photos, tmp_path, capsys):
    (tmp_path / "empty.png").mkdir()
    words = [tmp_path / "empty.png", photos, str(tmp_path / "no*.jpg")]
    assert run(tool, *words, "--output", tmp_path / "out", model=release) == 2
    said = capsys.readouterr()
    assert len(table(tmp_path / "out" / "counts.csv")) == len(said.out.splitlines()) > 1
    assert "empty.png: no .jpg" in said.err and "no*.jpg: no .jpg" in said.err


def test_too_little_memory_of_a_processor_is_reported_in_its_turn(tool, release, photos, tmp_path, monkeypatch, capsys):
    calls = []

    def short(self, images):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return found(self, images)

    found = Model.predict_batch
    monkeypatch.setattr(Model, "predict_batch", short)
    assert run(tool, photos, "--output", tmp_path / "out", model=release) == 2
    rows = table(tmp_path / "out" / "counts.csv")
    assert "too little memory" in rows[0]["error"] and all(row["count"] for row in rows[1:]) and len(rows) > 1


def test_the_size_rule_decides_about_the_default_limit(model, monkeypatch):
    """A narrow picture that the rule enlarges is no small one."""
    asked = []
    monkeypatch.setattr(predictor_module, "receptive_margin", lambda network: asked.append(network))
    wide = np.zeros((8, 700, 3), np.uint8)
    Predictor(model).predict(wide)
    assert not asked
    Predictor(replace(model, resize=Resize(160, 4096, 32))).predict(wide)
    assert asked == [model.network]


def test_a_model_in_training_mode_counts_as_in_evaluation(model):
    before = crowdcount.count(picture(), model=model)
    model.network.train()
    assert crowdcount.count(picture(), model=model) == before and not model.network.training
