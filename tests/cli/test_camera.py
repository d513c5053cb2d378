"""`crowdcount camera`, and people per square metre in `crowdcount predict`."""

import csv
import io
import json

import cv2
import numpy as np
import pytest
import yaml

from crowdcount.cli import camera as camera_command
from crowdcount.cli import predict
from crowdcount.ground import Ground, read_camera
from crowdcount.images.read import read_image
from crowdcount.inference.prediction import Prediction
from crowdcount.video.annotate import annotate
from crowdcount.video.read import read_frames
from crowdcount.video.smoothing import Reading
from crowdcount.visualize.drawing_mark import is_drawing
from tests.support.counter import noise_image, save_counter
from tests.support.pinhole import project
from tests.support.video import write_video

SIZE = (160, 120)
PLACES = np.array([[-3.0, 9], [3, 9.5], [4, 20], [-4, 19], [0, 13]])


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return save_counter(tmp_path_factory.mktemp("release") / "tiny")


@pytest.fixture
def scene(tmp_path):
    """A folder with an image, its camera and a zone."""
    cv2.imwrite(str(tmp_path / "square.png"), noise_image(SIZE[1], SIZE[0]))
    pixels = project(PLACES, 8.0, 28.0, 112.5, size=SIZE)
    points = [{"pixel": p, "metres": m} for p, m in zip(pixels.tolist(), PLACES.tolist(), strict=True)]
    content = {"image": {"width": SIZE[0], "height": SIZE[1]}, "points": points, "pixel_error": 0.3}
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "zones.json").write_text(json.dumps({"level": [[20, 40], [140, 40], [150, 115], [10, 115]]}))
    return tmp_path


def count(folder, *more, model, source="square.png"):
    words = [folder / source, "--camera", folder / "camera.yaml", "--output", folder / "out", *more]
    return predict.main([*map(str, words), "--device", "cpu", "--model", model])


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_people_per_square_metre_of_image_and_zones(scene, release, capsys):
    zones = ("--zones", str(scene / "zones.json"))
    assert count(scene, *zones, "--save", "csv", "json", "overlay", model=release) == 0
    assert "people/m2, densest 9 m2" in capsys.readouterr().out
    [row] = rows(scene / "out" / "counts.csv")
    [entry] = json.loads((scene / "out" / "counts.json").read_text())["images"]
    share = float(row["not_measured_count"])
    on_ground = float(row["people_per_m2"]) * float(row["area_m2"])
    assert on_ground == pytest.approx(float(row["count"]) * (1 - share), rel=1e-6)
    assert float(row["max_people_per_m2"]) >= float(row["people_per_m2"]) > 0 and row["level"] in "ABCDEF"
    assert float(row["level people_per_m2"]) > 0 and "level (part)" in row  # the zone has the name of a column
    assert entry["ground"]["people_per_m2"] == float(row["people_per_m2"])
    assert entry["part_grounds"]["level"]["level"] == row["level level"]
    drawing = scene / "out" / "square_overlay.png"
    assert is_drawing(drawing) and read_image(drawing).shape[0] > SIZE[1]

    before = (scene / "out" / "counts.csv").read_text()
    assert count(scene, *zones, "--save", "csv", "json", "overlay", "--resume", model=release) == 0
    assert (scene / "out" / "counts.csv").read_text() == before
    camera = yaml.safe_load((scene / "camera.yaml").read_text())
    (scene / "camera.yaml").write_text(yaml.safe_dump(camera | {"head_height": 1.2}))
    assert count(scene, *zones, "--save", "csv", "json", "overlay", "--resume", model=release) == 2
    assert "another camera" in capsys.readouterr().err


def test_an_image_of_another_camera_is_an_error_of_its_own(scene, release, capsys):
    cv2.imwrite(str(scene / "turned.png"), noise_image(SIZE[0], SIZE[1]))
    assert count(scene, str(scene / "turned.png"), model=release) == 2
    good, bad = rows(scene / "out" / "counts.csv")
    assert good["people_per_m2"] and "calibrated for images of 160 x 120" in bad["error"]


def test_frames_of_a_video_have_their_own(scene, release):
    write_video(scene / "walk.mp4", [noise_image(SIZE[1], SIZE[0], seed=seed) for seed in range(3)], "mpeg4")
    assert count(scene, "--every", "1", "--save", "csv", model=release, source="walk.mp4") == 0
    frames = rows(scene / "out" / "walk_counts.csv")
    assert len(frames) == 3 and all(float(row["people_per_m2"]) > 0 and row["level"] for row in frames)


def test_an_annotated_video_shows_people_per_square_metre(scene):
    image = noise_image(SIZE[1], SIZE[0])
    ground = Ground(read_camera(scene / "camera.yaml"))
    shown = []
    for people in (3.0, 30.0):
        density = np.zeros((SIZE[1] // 8, SIZE[0] // 8), np.float32)
        density[-4:, 8:12] = people / 16
        prediction = Prediction(people, density, 8, SIZE[1], SIZE[0])
        found = ground.measure(prediction, SIZE[1], SIZE[0])
        reading = Reading(0, 0.0, people, people, ground=found.whole)
        shown.append(annotate(image, reading, prediction, ground=found))
    plain = annotate(image, reading, prediction)
    few, many = shown
    assert few.shape == many.shape and few.shape[0] > plain.shape[0]
    scale = slice(SIZE[1], few.shape[0] - plain.shape[0] + SIZE[1])
    assert (few[scale] == many[scale]).all()  # scale and bands do not change
    assert (few[: SIZE[1], : SIZE[0]] != many[: SIZE[1], : SIZE[0]]).any()


def test_a_video_is_annotated_with_a_camera(scene, release):
    write_video(scene / "walk.mp4", [noise_image(SIZE[1], SIZE[0], seed=seed) for seed in range(3)], "mpeg4")
    assert count(scene, "--every", "1", "--save", "overlay", model=release, source="walk.mp4") == 0
    heights = {frame.image.shape[0] for frame in read_frames(scene / "out" / "walk_counted.mp4")}
    assert len(heights) == 1 and heights.pop() > SIZE[1]


def test_check_prints_how_exact_a_camera_is_and_draws_its_grid(scene, capsys):
    words = ["check", str(scene / "camera.yaml"), str(scene / "square.png"), "--output", str(scene / "grid.png")]
    assert camera_command.main(words) == 0
    printed = capsys.readouterr().out
    assert "8.00 m above the ground, looks down by 28.0 degrees" in printed
    assert "residual of 5 points: 0.000 m" in printed and "left out one by one: 0.000 m" in printed
    drawn, image = read_image(scene / "grid.png"), read_image(scene / "square.png")
    assert is_drawing(scene / "grid.png") and (drawn[: SIZE[1], : SIZE[0]] != image).any()
    content = yaml.safe_load((scene / "camera.yaml").read_text())
    content["points"] = content["points"][:4]
    (scene / "camera.yaml").write_text(yaml.safe_dump(content))
    assert camera_command.main(words) == 0
    assert "their residual of 0 tells nothing" in capsys.readouterr().out
    cv2.imwrite(str(scene / "square.png"), noise_image(50, 50))
    assert camera_command.main(words) == 2
    assert "this one has 50 x 50" in capsys.readouterr().err


def test_the_page_holds_the_image_and_asks_for_nothing(scene):
    assert camera_command.main(["page", str(scene / "square.png"), "--output", str(scene / "page.html")]) == 0
    page = (scene / "page.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page and "{{" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
