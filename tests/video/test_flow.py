"""Flow through a line: of textures that move as known, in both directions, at any scale; the command."""

import csv
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from crowdcount.cli import flow as flow_command
from crowdcount.errors import InputError
from crowdcount.video.flow import Line, LineFlow, OpticalFlow, count_flow
from tests.support.video import write_video

HEIGHT, WIDTH, STRIDE = 96, 128, 8
DENSITY = np.full((HEIGHT // STRIDE, WIDTH // STRIDE), 0.5, np.float32)
"""Half a person per block: 0.5 / 64 per square pixel."""


def texture(seed=0, height=HEIGHT, width=3 * WIDTH):
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)
    return np.repeat(np.asarray(soft)[..., None].astype(np.uint8), 3, axis=2)


def moving(speed, frames=5, start=WIDTH):
    """Return frames of a texture that moves to the right by whole pixels per frame."""
    wide = texture()
    return [wide[:, start - speed * frame :][:, :WIDTH] for frame in range(frames)]


def crossed(images, line, density=DENSITY):
    height, width = images[0].shape[:2]
    optical = OpticalFlow(height, width)
    flow = LineFlow(line, height, width, optical.scale)
    first, *motions = [optical(image) for image in images]
    assert first is None
    return np.sum([flow(motion, density, STRIDE, (HEIGHT, WIDTH)) for motion in motions], axis=0)


@pytest.mark.parametrize("speed", [1, 3, -2])
def test_a_uniform_crowd_that_moves_as_one(speed):
    images, length = moving(speed), 60
    expected = 0.5 / STRIDE**2 * abs(speed) * length * (len(images) - 1)
    down, up = Line((64, 20), (64, 80)), Line((64, 80), (64, 20))
    right, left = crossed(images, up)
    assert (right, left)[speed < 0] == pytest.approx(expected, rel=0.04)
    assert (right, left)[speed > 0] < 0.02 * expected
    np.testing.assert_allclose(crossed(images, down), (left, right), rtol=1e-6, atol=1e-6)  # ends exchanged


def test_a_slanted_line_is_crossed_by_as_many_as_its_height():
    images = moving(2)
    straight = crossed(images, Line((64, 80), (64, 20)))
    slanted = crossed(images, Line((40, 80), (88, 20)))
    np.testing.assert_allclose(slanted[0], straight[0], rtol=0.04)
    along = crossed(images, Line((20, 48), (108, 48)))  # nobody crosses a line that he walks along
    assert along.sum() < 0.03 * straight.sum()


def test_both_directions_at_once():
    there, back = moving(2), moving(-2)
    images = [np.vstack([a[:48], b[48:]]) for a, b in zip(there, back, strict=True)]
    right, left = crossed(images, Line((64, 88), (64, 8)))
    expected = 0.5 / STRIDE**2 * 2 * 40 * 4
    assert right == pytest.approx(expected, rel=0.12) and left == pytest.approx(expected, rel=0.12)


def test_what_stands_still_does_not_cross():
    assert crossed([texture()[:, :WIDTH]] * 3, Line((64, 20), (64, 80))).tolist() == [0, 0]


def test_the_density_of_a_smaller_image_is_that_of_the_same_place():
    density = np.zeros_like(DENSITY)
    density[:, 8:] = 0.5
    images = [np.asarray(cv2.resize(image, None, fx=3, fy=3)) for image in moving(1)]
    found, none = (crossed(images, Line((x, 240), (x, 60)), density) for x in (200, 180))
    assert found[0] == pytest.approx(0.5 / STRIDE**2 * 1 * 60 * 4, rel=0.05) and none.sum() == 0


def test_lines_outside_and_too_short():
    with pytest.raises(InputError, match="130,20 is outside the frames of 128 x 96"):
        LineFlow(Line((64, 20), (130, 20)), HEIGHT, WIDTH, 1.0)
    with pytest.raises(InputError, match="shorter than a pixel"):
        Line((64, 20), (64.5, 20))
    for text in ("1,2,3", "a,b,c,d", "1,2,3,nan"):
        with pytest.raises(InputError, match="give x1,y1,x2,y2"):
            flow_command.parse_line(text)


class Uniform:
    """A predictor that finds the same everywhere."""

    def __init__(self, *_):
        self.seen = 0

    def predict(self, image):
        self.seen += 1
        height, width = image.shape[:2]
        return SimpleNamespace(density=DENSITY, stride=STRIDE, height=height, width=width, count=float(DENSITY.sum()))


def test_a_video_is_counted_every_nth_frame_and_its_flow_is_that_of_all(tmp_path, monkeypatch, capsys):
    video = write_video(tmp_path / "walk.mp4", moving(2, frames=11), "mpeg4")
    predictor = Uniform()
    readings = list(count_flow(video, predictor, Line((64, 80), (64, 20)), every=4))
    assert [each.index for each in readings] == [0, 4, 8, 10] and predictor.seen == 3
    expected = 0.5 / STRIDE**2 * 2 * 60 * np.array([0, 4, 8, 10])
    np.testing.assert_allclose([each.crossed.to_right for each in readings], expected, rtol=0.06)
    monkeypatch.setattr(flow_command, "Predictor", Uniform)
    words = [str(video), "--line", "64,80,64,20", "--every", "4", "--output", str(tmp_path / "flow.csv")]
    assert flow_command.main(words) == 0
    assert "experimental: " in capsys.readouterr().out
    with (tmp_path / "flow.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["0", "4", "8", "10"]
    assert float(rows[-1]["to_right"]) == pytest.approx(readings[-1].crossed.to_right, abs=1e-3)
    assert flow_command.main([str(video), "--line", "64,80,64,2000"]) == 2
