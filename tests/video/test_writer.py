import os
import subprocess
import sys

import av
import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.video import writer as video_writer
from crowdcount.video.read import read_frames, video_info
from crowdcount.video.writer import VideoWriter
from tests.support.video import FPS, FRAMES, frame_image, place


@pytest.mark.parametrize("suffix", [".mp4", ".MP4"])
@pytest.mark.parametrize("every", [1, 3])
def test_written_frames_come_back(films, tmp_path, suffix, every):
    path = tmp_path / "new" / f"out{suffix}"
    with VideoWriter(path, FPS / every) as writer:
        for frame in read_frames(films(".avi"), every):
            writer.write(frame.image)
            assert not path.exists()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    frames = list(read_frames(path))
    assert [place(frame.image) for frame in frames] == list(range(0, FRAMES, every))
    assert frames[-1].seconds == pytest.approx(every * (len(frames) - 1) / FPS, rel=1e-3)
    assert np.abs(frames[0].image[90:].astype(int) - frame_image(0)[90:]).max() < 25


@pytest.mark.parametrize(("width", "height"), [(161, 121), (160, 121), (161, 120), (1, 1)])
def test_odd_sides_are_padded(tmp_path, width, height):
    path = tmp_path / "odd.mp4"
    colour = np.array([200, 120, 40], np.uint8)
    with VideoWriter(path, 10) as writer:
        for _ in range(3):
            writer.write(np.tile(colour, (height, width, 1)))
    for frame in read_frames(path):
        assert frame.image.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(frame.image.astype(int) - colour).max() < 20


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("written", [0, 5])
def test_failure_leaves_nothing(tmp_path, written):
    def write():
        with VideoWriter(tmp_path / "out.mp4", 10) as writer:
            for index in range(written):
                writer.write(frame_image(index))
            raise StoppedError

    with pytest.raises(StoppedError):
        write()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out.mp4").write_text("older")
    with pytest.raises(StoppedError):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_a_source_that_breaks_off_leaves_nothing_unless_caught(films, tmp_path):
    data = films(".avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])

    def copy(caught):
        with VideoWriter(tmp_path / "out.mp4", FPS) as writer:
            try:
                for frame in read_frames(tmp_path / "cut.avi"):
                    writer.write(frame.image)
            except InputError:
                if not caught:
                    raise

    with pytest.raises(InputError, match="breaks off"):
        copy(False)
    assert [path.name for path in tmp_path.iterdir()] == ["cut.avi"]
    copy(True)
    assert video_info(tmp_path / "out.mp4").frames == 24


def test_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_text("older")
    with VideoWriter(path, 10) as writer:
        writer.write(frame_image(4))
    assert [place(frame.image) for frame in read_frames(path)] == [4]


@pytest.mark.parametrize("name", ["out.mkv", "out", "out.avi", "mp4"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"videos are written as \.mp4"):
        VideoWriter(tmp_path / name, 25)


@pytest.mark.parametrize("fps", [0, -1, 0.004, 601, float("nan"), float("inf")])
def test_frame_rates_that_no_container_holds(tmp_path, fps):
    with pytest.raises(InputError, match=r"frames per second, give 0\.005 to 600"):
        VideoWriter(tmp_path / "out.mp4", fps)


@pytest.mark.parametrize("fps", [0.005, 25 / 3000, 25 / 3, 30000 / 1001, 500 / 7, 200 / 3, 1000 / 3, 600])
def test_frame_rates(tmp_path, fps):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, fps) as writer:
        for index in range(3):
            writer.write(frame_image(index))
    info = video_info(path)
    assert info.frames == 3
    assert info.fps == pytest.approx(fps, rel=1e-6)


def test_an_ffmpeg_without_the_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer, "_ENCODER", "zzzz")
    with (
        pytest.raises(InputError, match=r"out.mp4: this FFmpeg writes no H.264; install av from PyPI"),
        VideoWriter(tmp_path / "out.mp4", 10) as writer,
    ):
        writer.write(frame_image(0))
    assert list(tmp_path.iterdir()) == []


def test_browsers_play_what_is_written(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", FPS) as writer:
        for index in range(5):
            writer.write(frame_image(index))
    with av.open(str(tmp_path / "out.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace, context.color_range) == ("h264", "yuv420p", 1, 1)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # shown before all of it has come


def test_names_that_are_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"K\xf6ln") / os.fsdecode(b"stra\xdfe.mp4")
    with VideoWriter(path, FPS) as writer:
        writer.write(frame_image(7))
    assert [place(frame.image) for frame in read_frames(path)] == [7]


def test_frames_of_another_size_are_refused(tmp_path):
    with (
        pytest.raises(InputError, match="frame 1 is 100 x 120 pixels, those before 160 x 120"),
        VideoWriter(tmp_path / "out.mp4", 10) as writer,
    ):
        writer.write(frame_image(0))
        writer.write(frame_image(0)[:, :100])
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_frames(tmp_path):
    with pytest.raises(InputError, match="no frame was given"), VideoWriter(tmp_path / "out.mp4", 10):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frames", [6, 60])  # all of them are held back by the encoder until the end, or not
def test_a_full_disk_is_noticed(tmp_path, frames):
    pytest.importorskip("resource")
    code = f"""
import resource, signal, numpy as np
from crowdcount.errors import InputError
from crowdcount.video.writer import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
noise = np.random.default_rng(0)
try:
    with VideoWriter({str(tmp_path / "out.mp4")!r}, 10) as writer:
        for _ in range({frames}):
            writer.write(noise.integers(0, 255, (120, 160, 3), dtype=np.uint8))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "out.mp4: could not be written in full" in done.stdout
    assert list(tmp_path.iterdir()) == []
