"""The camera file: each form, and what is refused."""

import json

import numpy as np
import pytest
import yaml

from crowdcount.errors import InputError
from crowdcount.ground import read_camera
from tests.support.pinhole import project

PLACES = np.array([[-5.0, 8], [6, 9], [7, 30], [-8, 28]])
IMAGE = {"width": 1280, "height": 960}
POINTS = [
    {"pixel": pixel, "metres": place} for pixel, place in zip(project(PLACES).tolist(), PLACES.tolist(), strict=True)
]
VIEW = np.degrees(2 * np.arctan(640 / 900))
ROW = float(480 - 900 * np.tan(np.radians(28)))


def write(folder, name="camera.yaml", **content):
    text = json.dumps(content) if name.endswith("json") else yaml.safe_dump(content)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("name", ["camera.yaml", "camera.json"])
@pytest.mark.parametrize(
    "content",
    [
        {"points": POINTS},
        {"points": POINTS, "focal_length": 900},
        {"points": POINTS, "field_of_view": float(VIEW)},
        {"points": POINTS, "height": 8},
        {"height": 8, "tilt": 28, "focal_length": 900},
        {"height": 8, "horizon": ROW, "field_of_view": float(VIEW)},
        {"height": 8, "horizon": [[100, ROW], [900, ROW]], "tilt": 28},
    ],
)
def test_every_form_gives_the_camera(content, name, tmp_path):
    camera = read_camera(write(tmp_path, name, image=IMAGE, **content))
    np.testing.assert_allclose(camera.to_metres(project(PLACES, above=1.5)), PLACES, atol=1e-5)


def test_settings_and_levels(tmp_path):
    content = {"image": IMAGE, "points": POINTS, "head_height": 1.2, "pixel_error": 1, "position_error": 3}
    camera = read_camera(write(tmp_path, **content, levels={"calm": 0, "crush": 5}))
    assert camera.settings.head_height == 1.2 and camera.settings.position_error == 3
    assert camera.settings.levels.level(6) == "crush"
    assert read_camera(write(tmp_path, **content, levels="standing")).settings.levels.name == "standing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "has no 'image'"),
        ({"image": IMAGE}, "give points; or the height"),
        ({"image": IMAGE, "height": 8, "tilt": 28}, "give points; or the height"),
        ({"image": IMAGE, "points": POINTS[:3]}, "3 determine no homography"),
        ({"image": IMAGE, "points": POINTS, "tilt": 20}, "tilt: follows from the points"),
        ({"image": IMAGE, "points": POINTS, "height": 8, "focal_length": 900}, "height: follows from the points"),
        ({"image": IMAGE, "points": [{"pixel": [1, 2]}]}, r"points\[1\]: has no 'metres'"),
        ({"image": IMAGE, "points": [{"pixel": [1, 2], "metres": [1, "x"]}]}, r"points\[1\]: metres\[1\] is 'x'"),
        ({"image": IMAGE, "points": POINTS, "heigth": 8}, "unknown key 'heigth'"),
        ({"image": IMAGE, "points": POINTS, "levels": "running"}, "'running' is none of walking, standing"),
        ({"image": IMAGE, "points": POINTS, "pixel_error": 0}, "pixel_error: 0.0 must be above 0"),
        ({"image": IMAGE, "height": 8, "tilt": 28, "field_of_view": 180}, "field_of_view: 180.0 must be between 1"),
        ({"image": IMAGE, "height": 8, "tilt": 28, "field_of_view": 60, "focal_length": 9}, "another word for"),
        ({"image": IMAGE, "height": 8, "horizon": [[1, 2]], "focal_length": 900}, "neither a row nor two pixels"),
        ({"image": IMAGE, "height": 8, "horizon": [[1, 2], [1, 9]], "focal_length": 900}, "from left to right"),
        ({"image": IMAGE, "height": 8, "horizon": 9, "focal_length": 900, "roll": 3}, "roll: follows from the horizon"),
        ({"image": IMAGE, "height": -8, "tilt": 28, "focal_length": 900}, "height: -8.0 must be above 0"),
        ({"image": {"width": 0, "height": 1}, "points": POINTS}, "0 x 1 is no size of an image"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(content, message, tmp_path):
    file = write(tmp_path, **content)
    with pytest.raises(InputError, match=message) as error:
        read_camera(file)
    assert str(error.value).startswith(str(file))


def test_files_of_other_kinds(tmp_path):
    with pytest.raises(InputError, match=r"camera.txt: a camera file is .yaml or .json"):
        read_camera(write(tmp_path, "camera.txt"))
    with pytest.raises(InputError, match="cannot be read"):
        read_camera(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("image: [")
    with pytest.raises(InputError, match="not readable as YAML"):
        read_camera(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(InputError, match="the top is"):
        read_camera(tmp_path / "list.yaml")
