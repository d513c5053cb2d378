"""`crowdcount dataset choose`: from images and videos to a folder to label."""

import csv
import json

import cv2
import numpy as np
import PIL.Image
import pytest

from crowdcount.cli.dataset import main
from crowdcount.data import Folder
from crowdcount.data.synthetic.layout import arrange
from crowdcount.data.synthetic.render import paint
from crowdcount.images.read import read_image
from crowdcount.inference.prediction import Prediction
from crowdcount.labelling.candidates import find_candidates, near_duplicates, uncertainty
from crowdcount.labelling.features import FeatureMoments
from crowdcount.labelling.select import select
from crowdcount.predictor import Predictor
from crowdcount.video.read import read_frames
from tests.support.counter import noise_image, save_counter, write_images
from tests.support.video import write_video


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return save_counter(tmp_path_factory.mktemp("release") / "tiny")


def rows(folder):
    return list(csv.DictReader((folder / "frames.csv").open(newline="")))


def test_a_folder_to_label(release, tmp_path, capsys):
    photos = write_images(tmp_path / "in", ["a.png", "b.jpg", "c.png"])
    (tmp_path / "in" / "again.png").write_bytes(photos[0].read_bytes())
    exif = PIL.Image.Exif()
    exif[0x112] = 6
    PIL.Image.fromarray(noise_image(seed=9)).save(tmp_path / "in" / "turned.jpg", exif=exif)
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    (tmp_path / "in" / "notes.txt").touch()
    frames = [noise_image(64, 96, seed) for seed in range(20, 26)]
    film = write_video(tmp_path / "walk.avi", frames, "mjpeg")
    words = ["choose", tmp_path / "in", film, "--every", 2, "--number", 5, "--device", "cpu", "--model", release]
    out = tmp_path / "out"
    assert main([str(word) for word in [*words, "--output", out]]) == 2  # a file could not be read
    shown = capsys.readouterr().out
    assert "broken.png" in shown and "notes.txt" in shown
    table = rows(out)
    assert len(table) == 5 + 3 and [row["order"] for row in table[:6]] == ["1", "2", "3", "4", "5", ""]
    assert table[0]["reason"] == "the model is least sure of it" and "adds less" in table[-1]["reason"]
    assert not {"a.png", "again.png"} <= {row["output"] for row in table}
    assert main([str(word) for word in [*words, "--output", tmp_path / "same"]]) == 2
    assert [row["output"] for row in rows(tmp_path / "same")] == [row["output"] for row in table]
    capsys.readouterr()
    assert main([str(word) for word in [*words, "--output", out]]) == 2 and "exists" in capsys.readouterr().err
    for option in ("--number", "--every"):  # at once, not after hours of counting
        assert main([str(word) for word in [*words, "--output", tmp_path / "none", option, 0]]) == 2
        printed = capsys.readouterr()
        assert f"{option}: 0 must be at least 1" in printed.err and "counting" not in printed.err


def test_chosen_frames_are_written_without_loss_and_their_points_come_back(release, tmp_path, capsys):
    photos = write_images(tmp_path / "in", ["a.png", "b.jpg"])
    exif = PIL.Image.Exif()
    exif[0x112] = 6
    PIL.Image.fromarray(noise_image(seed=9)).save(tmp_path / "in" / "turned.jpg", exif=exif)
    film = write_video(tmp_path / "a.avi", [noise_image(64, 96, seed) for seed in range(20, 24)], "mjpeg")
    out = tmp_path / "out"
    words = ["choose", tmp_path / "in", film, "--every", 2, "--output", out, "--device", "cpu", "--model", release]
    assert main([str(word) for word in words]) == 0
    names = ["a.png", "a_000000.png", "a_000002.png", "b.jpg", "turned.png"]
    assert sorted(path.name for path in out.iterdir() if path.suffix in (".png", ".jpg")) == names
    for photo in photos:
        assert (out / photo.name).read_bytes() == photo.read_bytes()
    upright = read_image(tmp_path / "in" / "turned.jpg")
    np.testing.assert_array_equal(read_image(out / "turned.png"), upright)
    kept = {frame.index: frame.image for frame in read_frames(film, 2)}
    for index, image in kept.items():
        np.testing.assert_array_equal(read_image(out / f"a_{index:06d}.png"), image)
    assert main(["import", "labelme", str(out), "--output", str(tmp_path / "set"), "--copy"]) == 0
    assert main(["import", "cvat", str(out), "--output", str(tmp_path / "other"), "--copy"]) == 0
    predictor = Predictor(release, device="cpu")
    for root in (tmp_path / "set", tmp_path / "other"):
        records = {record.image.name: record for record in Folder(root).records("train")}
        assert sorted(records) == names
        for name, record in records.items():
            image = read_image(out / name)
            np.testing.assert_array_equal(record.points, predictor.predict(image).points_in(*image.shape[:2]))
    tasks = json.loads((out / "label-studio" / "tasks.json").read_text())
    assert sorted(task["data"]["image"].rsplit("/", 1)[1] for task in tasks) == names
    assert {task["predictions"][0]["model_version"] for task in tasks} == {predictor.model.name}
    capsys.readouterr()


def test_one_format_alone_and_nothing_where_nothing_can_be_read(release, tmp_path, capsys):
    (photo,) = write_images(tmp_path / "in", ["a.png"])
    words = ["--device", "cpu", "--model", release, "--format", "cvat", "--label", "person"]
    assert main(["choose", str(photo), "--output", str(tmp_path / "out"), *words]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "annotations.xml", "frames.csv"]
    assert "chosen:   1 of 20 asked for" in capsys.readouterr().out
    photo.write_bytes(b"no image")
    assert main(["choose", str(photo), "--output", str(tmp_path / "none"), *words]) == 2
    assert "a.png: " in capsys.readouterr().err and not (tmp_path / "none").exists()


def generated_frame(number, camera, people):
    """Return a frame of a camera, with a few people more or fewer and noise of its own."""
    own = np.random.default_rng(number)
    layout = arrange(np.random.default_rng(camera), people + int(own.integers(0, 3)), 160, 120)
    scene = paint(np.random.default_rng(camera), layout)
    return np.clip(scene.astype(int) + own.integers(-3, 4, scene.shape), 0, 255).astype(np.uint8)


def test_generated_scenes_of_rare_kinds_are_covered_where_chance_misses_them():
    """Most frames are of one camera with a few people; two have a crowd, three are of two other cameras."""
    scenes = [(0, 0, 4)] * 20 + [(1, 0, 80), (1, 0, 90), (2, 1, 4), (2, 1, 5), (3, 2, 60)]
    modes = [mode for mode, _, _ in scenes]
    predictor = Predictor(device="cpu")  # the model in the package
    moments = FeatureMoments(predictor.model.density_model().network)
    features, unsure = [], []
    for number, (_, camera, people) in enumerate(scenes):
        with moments.watch():
            prediction = predictor.predict(generated_frame(number, camera, people))
        features.append(moments.take(prediction))
        unsure.append(uncertainty(prediction))
    found = {modes[pick.index] for pick in select(np.stack(features), unsure, 6).picks}
    draws = [set(np.random.default_rng(seed).permutation(modes)[:6].tolist()) for seed in range(100)]
    assert found == {0, 1, 2, 3} and np.mean([len(draw) for draw in draws]) < 2.5


@pytest.mark.parametrize(("difference", "factor"), [(None, 1), (-8, 1.2), (400, 2)])
def test_doubtful_counts_are_less_certain_up_to_twice(difference, factor):
    blocks = None if difference is None else np.full((1, 1), difference, np.float32)
    found = Prediction(40.0, np.full((1, 1), 40, np.float32), 16, 16, 16, size_difference=blocks)
    assert uncertainty(found) == pytest.approx(60 * factor)


def test_features_do_not_depend_on_windows_and_fall_back_on_the_density(release):
    image = noise_image(64, 96)
    whole, parts = Predictor(release, device="cpu"), Predictor(release, device="cpu")
    network = whole.model.density_model().network
    parts.model.inference.window = 32
    found = []
    for predictor in (whole, parts):
        moments = FeatureMoments(predictor.model.density_model().network)
        with moments.watch():
            prediction = predictor.predict(image)
        found.append(moments.take(prediction))
    assert found[0].shape == (2 * network.feature_channels,) and (found[0] > 0).any()
    assert np.linalg.norm(found[0] - found[1]) < 0.5 * np.linalg.norm(found[0])
    assert not network.get_submodule(network.feature_layer)._forward_pre_hooks
    plain = FeatureMoments(network)
    plain._layer = None
    assert plain.take(prediction).shape == (16,)
    assert np.square(plain.take(prediction)).sum() == pytest.approx(prediction.count, rel=1e-5)


def test_copies_are_near_duplicates_and_people_who_moved_are_none(release, tmp_path):
    rng = np.random.default_rng(5)
    background = cv2.resize(rng.integers(0, 256, (30, 40, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)

    def frame(seed, people=12):
        image = background.copy()
        for x, y in np.random.default_rng(seed).uniform(20, [300, 220], (people, 2)).astype(int):
            cv2.circle(image, (int(x), int(y)), 11, (int(x) % 200, 30, 220), -1)
        return image

    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), frame(0))
    cv2.imwrite(str(folder / "b.jpg"), frame(0), [cv2.IMWRITE_JPEG_QUALITY, 60])
    cv2.imwrite(str(folder / "c.png"), frame(1))
    left_out = []
    first, again, moved = find_candidates(sorted(folder.iterdir()), Predictor(release, device="cpu"), 1, left_out)
    assert near_duplicates(first, again) and not near_duplicates(first, moved) and not left_out
