import http.server
import itertools
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.video import read as video
from crowdcount.video.container import VideoFile
from crowdcount.video.read import is_video, read_frames, video_info
from tests.support.video import FPS, FRAMES, HEIGHT, WIDTH, frame_image, place, write_video


@pytest.mark.parametrize("name", ["a.mp4", "A.MP4", "b.x.avi", "c.mkv", "d.MoV", "e.webm", "ch01.dav", "cam.264"])
def test_videos_by_name(name, tmp_path):
    assert is_video(name) and is_video(tmp_path / name)


@pytest.mark.parametrize("name", ["mp4", "a.jpg", "a.mp4.txt", ".mp4", "a"])
def test_other_names(name):
    assert not is_video(name)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv"])
def test_all_frames(films, suffix):
    frames = list(read_frames(films(suffix)))
    assert [frame.index for frame in frames] == list(range(FRAMES))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(FRAMES) / FPS, atol=1e-3)
    assert all(frame.image.shape == (HEIGHT, WIDTH, 3) and frame.image.dtype == np.uint8 for frame in frames)
    assert [place(frame.image) for frame in frames] == list(range(FRAMES))
    assert frames[3].image.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("every", [3, 7, 49, 50, 1000])
def test_every_nth_frame(films, suffix, every):
    frames = list(read_frames(str(films(suffix)), every))
    assert [frame.index for frame in frames] == list(range(0, FRAMES, every))
    assert [place(frame.image) for frame in frames] == [frame.index for frame in frames]
    np.testing.assert_allclose([frame.seconds * FPS for frame in frames], np.arange(0, FRAMES, every), atol=0.03)


def test_frames_between_are_not_converted(films, monkeypatch):
    taken, upright = [], video.upright
    monkeypatch.setattr(video, "upright", lambda frame: taken.append(frame.pts) or upright(frame))
    assert len(list(read_frames(films(".mp4"), 20))) == 3
    assert len(taken) == 3


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mpg"])
def test_opencv_decodes_the_same_pixels(films, suffix):
    """Counts of earlier versions, which read videos with OpenCV, hold to the last digit."""
    capture = cv2.VideoCapture(str(films(suffix)), cv2.CAP_FFMPEG)
    for frame in read_frames(films(suffix)):
        found, image = capture.read()
        assert found
        np.testing.assert_array_equal(frame.image, image[..., ::-1])
    assert not capture.read()[0]


@pytest.mark.parametrize("every", [0, -3])
def test_every_is_checked_at_once(films, every):
    with pytest.raises(InputError, match=f"every: {every} must be at least 1"):
        read_frames(films(".mp4"), every)


@pytest.mark.parametrize(("suffix", "codec", "container"), [(".264", "libx264", "h264"), (".mjpeg", "mjpeg", "mjpeg")])
def test_bare_streams_of_recorders(tmp_path, suffix, codec, container):
    path = tmp_path / f"camera{suffix}"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, FPS)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(frame_image(index), "rgb24")
            frame.pts = index
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    frames = list(read_frames(path))
    assert [place(frame.image) for frame in frames] == list(range(10))
    assert frames[-1].seconds == pytest.approx(9 / FPS) and video_info(path).frames is None


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_info(films, suffix):
    info = video_info(films(suffix))
    assert (info.width, info.height, info.fps, info.frames) == (WIDTH, HEIGHT, FPS, FRAMES)


class Said:
    """Stands in for a container and its video that say these things."""

    def __init__(self, frames, fps, microseconds):
        self.frames, self.average_rate, self.guessed_rate, self.duration = frames, fps, None, microseconds


@pytest.mark.parametrize(
    ("said", "fps", "frames"),
    [
        ((300, 29.97, 10_000_000), 29.97, 300),
        ((0, 25.0, 4_000_000), 25, 100),
        ((0, 25.0, None), 25, None),
        ((0, 25.0, -192153584101141), 25, None),
        ((0, 90000.0, 9_200_000_000_000_000), 25, None),
        ((0, None, None), 25, None),
    ],
)
def test_what_a_container_does_not_know(said, fps, frames):
    file = VideoFile(Said(*said), Said(*said), Path())
    assert (file.fps, file.frames) == (fps, frames)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 0.04, 0.08, 0.12], [0, 0.04, 0.08, 0.12]),
        ([0, 0.5, 0.6, 3], [0, 0.5, 0.6, 3]),  # a phone's frame rate varies
        ([0, 0, 0, 0], [0, 0.04, 0.08, 0.12]),  # a bare stream has no times
        ([None] * 4, [0, 0.04, 0.08, 0.12]),
        ([0.02, 0.06, 0.10, 0.14], [0.02, 0.06, 0.10, 0.14]),
        ([-0.08, -0.04, 0, 0.04], [0, 0.04, 0.08, 0.12]),
        ([0, 0.04, 0.08, 0], [0, 0.04, 0.08, 0.12]),  # the last frame of an MPEG-1 file
        ([0, 5, 0, 0], [0, 5, 5, 5]),
    ],
)
def test_times(stamps, expected):
    seconds, times = -1.0, []
    for index, stamp in enumerate(stamps):
        seconds = video._seconds(stamp, index, 25, seconds)
        times.append(seconds)
    assert times == pytest.approx(expected)
    assert all(later >= sooner for sooner, later in itertools.pairwise(times))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_of_a_varying_frame_rate(tmp_path, suffix):
    times = [0, 1, 2, 10, 11, 40, 42]
    images = [frame_image(index) for index in range(len(times))]
    path = write_video(tmp_path / f"phone{suffix}", images, "libx264", times=times)
    frames = list(read_frames(path, 2))
    assert [frame.index for frame in frames] == [0, 2, 4, 6]
    np.testing.assert_allclose([frame.seconds * FPS for frame in frames], times[::2], atol=0.03)


def test_a_container_without_the_last_time(films):
    frames = list(read_frames(films(".mpg")))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(FRAMES) / FPS, atol=1e-3)


def test_rotation_is_applied(films, tmp_path):
    data = bytearray(films(".mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    turn = (0, 1, 0, -1, 0, 0, 0, 0)  # a quarter to the right
    units = [value * (1 << 16) for value in turn] + [1 << 30]
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in units)
    (tmp_path / "turned.mp4").write_bytes(data)
    info, frames = video_info(tmp_path / "turned.mp4"), list(read_frames(tmp_path / "turned.mp4", 10))
    assert (info.width, info.height) == (HEIGHT, WIDTH)
    for frame in frames:
        assert frame.image.shape == (WIDTH, HEIGHT, 3)
        assert place(np.rot90(frame.image)) == frame.index  # back to the left


def test_names_that_ffmpeg_would_read_otherwise(films, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:x.mp4", "day %03d ünder.mp4", "-i.mp4", os.fsdecode(b"K\xf6ln.mp4")):
        (tmp_path / name).write_bytes(films(".mp4").read_bytes())
        assert len(list(read_frames(name, 25))) == 2


def test_addresses_in_a_file_are_not_opened(tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.timeout = 0.2
        asked = []
        server.process_request = lambda request, address: asked.append(address)
        address = f"http://127.0.0.1:{server.server_port}/a.ts"
        path = tmp_path / "list.mp4"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n")
        with pytest.raises(InputError, match=r"list\.mp4: "):
            list(read_frames(path))
        server.handle_request()
        assert asked == []


def test_reading_may_stop(films):
    source = read_frames(films(".avi"))
    assert next(source).index == 0
    source.close()
    assert next(source, None) is None


def test_two_videos_at_once(films):
    for first, second in zip(read_frames(films(".mp4")), read_frames(films(".mkv")), strict=True):
        assert (first.index, first.seconds) == (second.index, pytest.approx(second.seconds, abs=1e-3))
