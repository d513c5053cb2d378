import csv
import os
import signal
import sqlite3
import threading

import cv2
import pytest

from crowdcount.cli.watch import main
from tests.support.counter import save_counter
from tests.support.streams import streaming
from tests.support.video import frame_image, write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_counter(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in which all that the command writes ends up."""
    monkeypatch.chdir(tmp_path)
    for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def stop_after(path, readings):
    """Send this process SIGTERM as soon as a database holds some readings."""

    def wait():
        pause = threading.Event()
        while True:
            pause.wait(0.1)
            if path.exists():
                database = sqlite3.connect(path)
                try:
                    if database.execute("SELECT count(*) FROM readings").fetchone()[0] >= readings:
                        return os.kill(os.getpid(), signal.SIGTERM)
                except sqlite3.Error:
                    pass  # it is being made
                finally:
                    database.close()

    threading.Thread(target=wait, daemon=True).start()


def pixels(image):
    """Return pieces of an image, raw and as a JPEG, that no other content holds by chance."""
    jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    return [image[3, 20:32].tobytes(), image[20, 20:32, ::-1].tobytes(), jpeg[len(jpeg) // 2 :][:24]]


def test_no_pixel_and_no_password_is_stored(model, folder, capfd):
    pieces = [piece for index in range(50) for piece in pixels(frame_image(index))]
    with streaming() as server:
        stop_after(folder / "readings.sqlite", 3)
        assert main([f"{server.url}", "--model", model, "--every", "0.1", "--alarm", "count>=0.0001"]) == 143
    printed = "".join(capfd.readouterr())
    assert "http://***@127.0.0.1" in printed and "readings of" in printed
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert folder / "readings.sqlite" in written
    for path in written:
        data = path.read_bytes()
        assert not any(piece in data for piece in (*pieces, b"\xff\xd8\xff", b"\x89PNG"))
        assert b"secret" not in data and b"hidden" not in data
    assert "secret" not in printed and "hidden" not in printed


def test_snapshots_are_blurred(model, folder):
    path = write_video(folder / "walk.mp4", [frame_image(index) for index in range(10)], "mpeg4")
    words = [
        "--model",
        model,
        "--every",
        "0.1",
        "--snapshots",
        "seen",
        "--snapshot-every",
        "0.1",
        "--keep-snapshots",
        "2",
    ]
    assert main([str(path), *words, "--quiet"]) == 0
    saved = list((folder / "seen").iterdir())
    assert len(saved) == 2
    for each in saved:
        shown = cv2.imread(str(each))[-120:]
        assert (
            cv2.Laplacian(shown[5:25], cv2.CV_64F).var() < 0.1 * cv2.Laplacian(frame_image(0)[5:25], cv2.CV_64F).var()
        )


def test_a_video_is_watched_to_its_end(model, folder, capsys):
    path = write_video(folder / "walk.mp4", [frame_image(index) for index in range(20)], "mpeg4")
    (folder / "zones.json").write_text('{"left": [[0, 0], [80, 0], [80, 120], [0, 120]]}')
    words = ["--every", "0.2", "--zones", "street=zones.json", "--output", "log.csv"]
    assert main([f"street={path}", "--model", model, *words]) == 0
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    readings = [row for row in rows if row["kind"] == "reading"]
    assert readings and all(float(row["left count"]) <= float(row["count"]) + 0.01 for row in readings)
    shown = capsys.readouterr()
    assert shown.out.count("street: count") == len(readings) and "readings of 20 frames" in shown.err


def masked_film(folder):
    """Write a film, a zone in its left part, and a mask that covers the zone; return the film."""
    mask = 0 * frame_image(0)
    mask[:, :128] = 255
    cv2.imwrite(str(folder / "left.png"), mask)
    (folder / "zones.json").write_text('{"left": [[0, 0], [96, 0], [96, 120], [0, 120]]}')
    return write_video(folder / "walk.mp4", [frame_image(index) for index in range(5)], "mpeg4")


def test_what_is_known_of_a_camera(model, folder, capsys):
    path = masked_film(folder)
    words = ["--every", "0.1", "--image-scale", "0.5", "--long-side", "128", "--ignore", "left.png"]
    assert main([str(path), "--model", model, "--zones", "zones.json", "--output", "log.csv", *words]) == 0
    shown = capsys.readouterr().out
    assert "left 0.0" in shown and "count 0.0" not in shown
    assert main([f"a={path}", f"b={path}", "--model", model, *words]) == 2
    assert "--ignore left.png: of several sources; write NAME=FILE with one of a, b" in capsys.readouterr().err
    assert main([str(path), "--model", model, *words, "--ignore", "left.png"]) == 2
    assert "has 2 masks" in capsys.readouterr().err


def test_a_mask_for_one_of_two_sources(model, folder):
    path = masked_film(folder)
    words = ["--every", "0.1", "--zones", "a=zones.json", "--zones", "b=zones.json", "--ignore", "a=left.png"]
    assert main([f"a={path}", f"b={path}", "--model", model, "--output", "log.csv", *words]) == 0
    with (folder / "log.csv").open(newline="") as file:
        left = {(row["source"], float(row["left count"]) > 0) for row in csv.DictReader(file) if row["left count"]}
    assert left == {("a", False), ("b", True)}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing.mp4"], "missing.mp4"),
        (["0", "--alarm", "gate>5"], "gate>5"),
        (["0", "--alarm", "gate>=5"], "no zone"),
        (["0", "--every", "0"], "--every"),
        (["0", "--keep-days", "0"], "--keep-days"),
        (["0", "--keep-days", "9", "--output", "log.csv"], "nothing is deleted from log.csv"),
        (["a=0", "b=1", "--zones", "zones.json"], "NAME=FILE"),
        (["0", "--webhook", "file:///etc/passwd"], "webhook"),
        (["0", "--command", "'"], "--command"),
        (["0", "--interval", "0.9"], "calibrated"),
    ],
)
def test_bad_input(words, reason, model, folder, capsys):
    assert main([*words, "--model", model]) == 2
    assert reason in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_a_file_that_is_no_video(model, folder, capsys):
    (folder / "notes.mp4").write_text("no video")
    assert main(["notes.mp4", "--model", model]) == 2
    assert "notes: " in capsys.readouterr().err
