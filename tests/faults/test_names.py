"""Names in bytes that are no text, and half letters: drawn, tabulated and printed, nothing ends for them."""

import io
import json
import os
import sys

import numpy as np
import pytest

from crowdcount.cli import convert, dataset, predict, visualize
from crowdcount.cli.main import main
from crowdcount.video.annotate import annotate
from crowdcount.video.read import read_frames
from crowdcount.video.smoothing import Reading
from crowdcount.visualize import caption, expression_panel, panel
from crowdcount.zones import draw_zones, read_zones
from tests.support.counter import save_counter, write_images
from tests.support.video import frame_image, write_video

NAMES = ("caf\udce9", "\ud83d", "a\udc00\ud800", "\x00\x07\x1b[31m", "\U0001f600", "\u202eabc", "x" * 5000, "\uffff")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not UTF-8")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return save_counter(tmp_path_factory.mktemp("release") / "tiny")


class Terminal(io.TextIOWrapper):
    """Standard output of a terminal of one encoding, which refuses what it lacks."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)

    def text(self):
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture(params=["ascii", "latin-1", "utf-8"])
def terminal(request, monkeypatch):
    """A function that puts such a terminal in the place of both streams; pytest sets its own before every test."""

    def take():
        streams = Terminal(request.param), Terminal(request.param)
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        return streams[0]

    return take


@pytest.mark.parametrize("name", NAMES)
def test_any_text_is_drawn(tmp_path, name):
    image = np.full((120, 160, 3), 90, np.uint8)
    assert caption(image, name).shape[2] == panel([(name, image)]).shape[2] == 3
    assert expression_panel(image, [(name, np.zeros((1, 2), np.float32), None)]).shape[2] == 3
    annotate(image, Reading(0, 0, 1, 1, {name: 1}, {name: 1}), series=[1.0])
    (tmp_path / "zones.json").write_text(json.dumps({f"z{name}": [[0, 0], [90, 0], [90, 90]]}))
    zones = read_zones(tmp_path / "zones.json")
    assert draw_zones(image, zones, {zones[0].name: 1.5}).shape == image.shape


def test_a_finished_call_prints_on_any_terminal(release, tmp_path, terminal):
    """Images, videos, zones and folders whose names are no text: all are counted, drawn and in the tables."""
    folder = tmp_path / "caf\udce9 \u4eba"
    paths = write_images(folder, ["stra\udcdfe.png", "人群.png"])
    film = write_video(folder / os.fsdecode(b"film\xe9.avi"), [frame_image(index) for index in range(2)], "mjpeg")
    zones, out = folder / "zon\udce9n.json", folder / "out\udce9"
    zones.write_text(json.dumps({"Tor \ud83d": [[0, 0], [30, 0], [30, 60], [0, 60]]}))
    shown = terminal()
    words = [*paths, film, "--zones", zones, "--every", 1, "--output", out, "--save", *predict.KINDS]
    assert predict.main([*map(str, words), "--device", "cpu", "--model", release]) == 0
    assert shown.text().count(": ") == 3 and "Tor \\ud83d" in shown.text()
    table = (out / "counts.csv").read_text(encoding="utf-8")
    assert "Tor \\ud83d" in table and "stra\\udcdfe.png" in table
    assert len(json.loads((out / "counts.json").read_text())["images"]) == 3
    assert len(list(read_frames(out / os.fsdecode(b"film\xe9_counted.mp4")))) == 2
    assert (out / os.fsdecode(b"film\xe9_counts.csv")).read_text(encoding="utf-8").startswith("frame,")


def test_other_commands_print_on_any_terminal(tmp_path, terminal):
    folder = tmp_path / "caf\udce9"
    write_images(folder, ["stra\udcdfe 人.png"])
    (folder / "stra\udcdfe 人.csv").write_text("1,2\n")
    shown = terminal()
    words = [str(folder), "--annotation", str(folder), "--output", str(tmp_path / "out\udce9")]
    assert visualize.main([*words, "--draw", "points"]) == 0
    assert "stra\\udcdfe" in shown.text()
    assert dataset.main(["doctor", str(folder / "none 人"), "--dataset", "folder"]) == 2
    assert convert.main([str(folder / "none 人.ckpt"), "--output", str(tmp_path / "converted")]) == 2
    assert main(["weights", "list"]) == 0
