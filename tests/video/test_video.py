import csv
import logging
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.video import read as video
from crowdcount.video import writer as video_writer
from crowdcount.video.annotate import ColourScale, annotate
from crowdcount.video.read import is_video, read_frames, video_info
from crowdcount.video.smoothing import Reading, Smoother, csv_text
from crowdcount.video.strip import Strip, _clock
from crowdcount.video.truncation import is_cut
from crowdcount.video.writer import VideoWriter

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "MJPG", ".mpg": "MPG1"}
FRAMES, FPS, WIDTH, HEIGHT = 50, 25, 160, 120


def picture(index):
    """Return a red dot that moves three pixels to the right in every frame, over noise that keeps files large."""
    shown = np.full((HEIGHT, WIDTH, 3), 210, np.uint8)
    shown[:30] = np.random.default_rng(index).integers(0, 255, (30, WIDTH, 3))
    return cv2.circle(shown, (5 + 3 * index, 75), 6, (220, 20, 20), -1)


def place(shown):
    """Return which frame a picture of a dot is."""
    red = (shown[40:, :, 0] > 150) & (shown[40:, :, 1] < 110)
    return round((np.flatnonzero(red.any(axis=0)).mean() - 5) / 3)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A function that returns a film of a moving dot with the given suffix; read only."""
    folder = tmp_path_factory.mktemp("films")

    def film(suffix):
        path = folder / f"dots{suffix}"
        if not path.exists():
            fourcc = cv2.VideoWriter.fourcc(*CODECS[suffix])
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FPS, (WIDTH, HEIGHT))
            assert writer.isOpened()
            for index in range(FRAMES):
                writer.write(picture(index)[..., ::-1])
            writer.release()
        return path

    return film


def read_until_error(path, every=1):
    """Return the frames that were yielded and the error that came after them."""
    frames = []
    with pytest.raises(InputError) as error:
        for frame in read_frames(path, every):
            frames.append(frame)
    return frames, str(error.value)


def swap_boxes(data):
    """Return an MP4 with its index before its pictures, as for the web, so that a cut one can be opened."""
    moov, mdat = data.index(b"moov") - 4, data.index(b"mdat") - 4
    index = bytearray(data[moov : moov + int.from_bytes(data[moov : moov + 4], "big")])
    offsets = index.index(b"stco") + 8
    for n in range(int.from_bytes(index[offsets : offsets + 4], "big")):
        here = slice(offsets + 4 + 4 * n, offsets + 8 + 4 * n)
        index[here] = (int.from_bytes(index[here], "big") + len(index)).to_bytes(4, "big")
    return data[:mdat] + index + data[mdat:moov] + data[moov + len(index) :]


# Reading


@pytest.mark.parametrize("name", ["a.mp4", "A.MP4", "b.x.avi", "c.mkv", "d.MoV", "e.webm"])
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
    taken, picture_of = [], video._picture
    monkeypatch.setattr(video, "_picture", lambda *args: taken.append(args[-1]) or picture_of(*args))
    assert len(list(read_frames(films(".mp4"), 20))) == 3
    assert taken == [0, 20, 40]


@pytest.mark.parametrize("every", [0, -3])
def test_every_is_checked_at_once(films, every):
    with pytest.raises(InputError, match=f"every: {every} must be at least 1"):
        read_frames(films(".mp4"), every)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_info(films, suffix):
    info = video_info(films(suffix))
    assert (info.width, info.height, info.fps, info.frames) == (WIDTH, HEIGHT, FPS, FRAMES)


class Container:
    """Stands in for a capture whose container says these things."""

    def __init__(self, frames, fps):
        self.says = {cv2.CAP_PROP_FRAME_COUNT: frames, cv2.CAP_PROP_FPS: fps}

    def get(self, name):
        return self.says.get(name, 8.0)


@pytest.mark.parametrize(
    ("said", "fps", "frames"),
    [
        ((300.0, 29.97), 29.97, 300),
        ((0.0, 25.0), 25, None),
        ((-192153584101141.0, 25.0), 25, None),
        ((-9.2e18, 90000.0), 25, None),
        ((9.2e18, 0.0), 25, None),
        ((float("nan"), float("nan")), 25, None),
    ],
)
def test_what_a_container_does_not_know(said, fps, frames):
    info = video._info(Container(*said))
    assert (info.fps, info.frames) == (fps, frames)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 0.04, 0.08, 0.12], [0, 0.04, 0.08, 0.12]),
        ([0, 0.5, 0.6, 3], [0, 0.5, 0.6, 3]),  # a phone's frame rate varies
        ([0, 0, 0, 0], [0, 0.04, 0.08, 0.12]),  # a bare stream has no times
        ([0.02, 0.06, 0.10, 0.14], [0.02, 0.06, 0.10, 0.14]),
        ([-0.08, -0.04, 0, 0.04], [0, 0.04, 0.08, 0.12]),
        ([0, 0.04, 0.08, 0], [0, 0.04, 0.08, 0.12]),  # the last frame of an MPEG-1 file
        ([0, 5, 0, 0], [0, 5, 5, 5]),
        ([float("nan"), float("inf"), 1, float("nan")], [0, 0.04, 1, 1]),
    ],
)
def test_times(stamps, expected):
    seconds, times = -1.0, []
    for index, stamp in enumerate(stamps):
        seconds = video._seconds(stamp, index, 25, seconds)
        times.append(seconds)
    assert times == pytest.approx(expected)
    assert all(later >= sooner for sooner, later in pairwise(times))


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
    for name in ("http:x.mp4", "day %03d ünder.mp4", "-i.mp4"):
        (tmp_path / name).write_bytes(films(".mp4").read_bytes())
        assert len(list(read_frames(name, 25))) == 2


def test_reading_may_stop(films):
    source = read_frames(films(".avi"))
    assert next(source).index == 0
    source.close()
    assert next(source, None) is None


# Damaged files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"not a video\n" * 50, r"text.mp4: not a readable video \(600 bytes\)"),
        ("text.avi", b"not a video\n" * 50, r"text.avi: not a readable video \(600 bytes\)"),
        ("empty.mp4", b"", r"empty.mp4: not a readable video \(0 bytes\)"),
        ("short.mkv", b"\x1a\x45", r"short.mkv: not a readable video \(2 bytes\)"),
    ],
)
def test_no_video(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    for use in (video_info, lambda path: next(read_frames(path))):
        with pytest.raises(InputError, match=message) as error:
            use(tmp_path / name)
        assert error.value.path == tmp_path / name


def test_missing_file_and_folder(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    for name in ("missing.mp4", "folder.mp4"):
        with pytest.raises(InputError, match=f"{name}: no such video"):
            next(read_frames(tmp_path / name))


def test_no_frames(tmp_path):
    path = tmp_path / "none.avi"
    cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT)).release()
    frames, message = read_until_error(path)
    assert frames == [] and "none.avi: not one frame can be decoded" in message


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
@pytest.mark.parametrize("every", [1, 3])
def test_cut_in_the_middle(films, tmp_path, suffix, every):
    data, path = films(suffix).read_bytes(), tmp_path / f"cut{suffix}"
    data = swap_boxes(data) if suffix == ".mp4" else data
    path.write_bytes(data)
    assert len(list(read_frames(path, every))) == len(range(0, FRAMES, every))
    path.write_bytes(data[: len(data) // 2])
    frames, message = read_until_error(path, every)
    assert 15 < len(frames) * every < 32
    assert [place(frame.image) for frame in frames[:-1]] == [frame.index for frame in frames[:-1]]
    last = int(message.split("frame ")[1].split()[0])
    assert 0 <= last - frames[-1].index < every
    assert f"{path}: breaks off, frame {last} at" in message and "of 50 announced" in message
    assert f"at {last / FPS:.1f} s" in message and "copy the file from its source" in message


def test_cut_before_the_index(films, tmp_path):
    data, path = films(".mp4").read_bytes(), tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut.mp4: not a readable video \(it breaks off before its end\); copy"):
        next(read_frames(path))


def test_cut_behind_the_pictures(films, tmp_path):
    path = tmp_path / "cut.avi"
    path.write_bytes(films(".avi").read_bytes()[:-300])
    assert is_cut(path)
    assert len(list(read_frames(path))) == FRAMES


def test_trimmed_videos_are_whole(films, tmp_path, caplog):
    data = bytearray(films(".mp4").read_bytes())
    ticks = data.index(b"mdhd") + 4 + 12
    start = 20 * int.from_bytes(data[ticks : ticks + 4], "big") // FPS
    edit = data.index(b"elst") + 4 + 12
    data[edit : edit + 4] = start.to_bytes(4, "big")
    (tmp_path / "trimmed.mp4").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(tmp_path / "trimmed.mp4"))
    assert len(frames) < FRAMES - 12 and video_info(tmp_path / "trimmed.mp4").frames == FRAMES
    assert frames[0].seconds == 0
    assert "no harm if the video was trimmed" in caplog.text


@pytest.mark.parametrize(("read", "fps", "breaks"), [(95, 8, False), (94, 8, True), (85, 30, False), (84, 30, True)])
def test_half_a_second_may_be_missing(tmp_path, monkeypatch, read, fps, breaks):
    monkeypatch.setattr(video, "is_cut", lambda path: True)
    info = video.VideoInfo(8, 8, fps, 100)
    if breaks:
        with pytest.raises(InputError, match=f"frame {read - 1} at 2.0 s"):
            video._check_end(tmp_path / "a.mp4", info, read, 2)
    else:
        video._check_end(tmp_path / "a.mp4", info, read, 2)
    video._check_end(tmp_path / "a.mp4", video.VideoInfo(8, 8, fps, None), read, 2)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv", ".mpg"])
def test_is_cut(films, tmp_path, suffix):
    data, path = films(suffix).read_bytes(), tmp_path / "cut"
    assert not is_cut(films(suffix))
    for kept in (len(data) - 1, len(data) // 2, 1000):
        path.write_bytes(data[:kept])
        assert is_cut(path) == (suffix != ".mpg")


@pytest.mark.parametrize(
    ("content", "cut"),
    [
        (b"", False),
        (b"RIFF", False),
        (b"RIFF\x04\0\0\0AVI RIFF\x04\0\0\0AVIX", False),
        (b"RIFF\x04\0\0\0AVI RIFF\x05\0\0\0AVIX", True),
        (b"\0\0\0\x08ftyp\0\0\0\0mdat" + bytes(99), False),  # to the end of the file
        (b"\0\0\0\x08ftyp\0\0\0\x01mdat\0\0\0\0\0\0\0\x14" + bytes(4), False),  # a length of eight bytes
        (b"\0\0\0\x08ftyp\0\0\0\x01mdat\0\0\0\0\0\0\0\x15" + bytes(4), True),
        (b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\x84" + bytes(4), False),
        (b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\x40\x05" + bytes(4), True),
        (b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\x01" + b"\xff" * 7 + bytes(4), False),  # a live recording
        (b"\x1a\x45\xdf\xa3\x00", False),
        (b"\x47\x40\0\x10" + bytes(184), False),
    ],
)
def test_lengths_of_containers(tmp_path, content, cut):
    (tmp_path / "file").write_bytes(content)
    assert is_cut(tmp_path / "file") == cut


# Series


@pytest.mark.parametrize("length", [1, 2, 5, 100])
def test_smoothing_against_the_plain_formula(length):
    values = np.random.default_rng(0).gamma(2, 60, 40)
    smoother = Smoother(length)
    found = [smoother(value) for value in values]
    expected = [values[max(0, n + 1 - length) : n + 1].mean() for n in range(len(values))]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if length == 1:
        assert found == values.tolist()


def test_smoothing_does_not_drift():
    smoother = Smoother(3)
    smoother(1e16)
    assert [smoother(value) for value in (1.0, 1.0, 1.0)][-1] == 1


def test_series_keep_apart():
    smoother = Smoother(2)
    smoother(10)
    assert smoother.each({"gate": 1, "hall": 5}) == {"gate": 1, "hall": 5}
    assert smoother(20) == 15
    assert smoother.each({"gate": 3, "count": 7}) == {"gate": 2, "count": 7}
    assert smoother.each({"hall": 6}) == {"hall": 5.5}
    assert smoother.reading(4, 0.16, 30, {"gate": 4}) == Reading(4, 0.16, 30, 25, {"gate": 4}, {"gate": 3.5})
    assert smoother.each({}) == {} and smoother.reading(5, 0.2, 30).zones == {}


def test_smoothing_looks_back_only():
    start = [Smoother(4) for _ in range(2)]
    first, second = ([smoother(value) for value in (1, 2, 3)] for smoother in start)
    start[0](1000)
    assert first == second


@pytest.mark.parametrize("length", [0, -1])
def test_smoothing_of_no_frames(length):
    with pytest.raises(InputError, match=f"smooth: {length} must be at least 1"):
        Smoother(length)


def test_table():
    smoother, names = Smoother(3), ('north, "gate"', "Platz in Köln", "count")
    rows = [smoother.reading(n, n / 25, n / 7, {name: n / 9 for name in names}) for n in range(0, 40, 4)]
    text = csv_text(row for row in rows)
    assert text.endswith("\n") and "\r" not in text
    table = list(csv.reader(text.splitlines()))
    zones = [f"{name} {of}" for name in names for of in ("count", "smoothed")]
    assert table[0] == ["frame", "seconds", "count", "smoothed", *zones]
    assert len(set(table[0])) == len(table[0]) and len(table) == 11
    for cells, row in zip(table[1:], rows, strict=True):
        assert cells[0] == str(row.index)
        numbers = [row.seconds, row.count, row.smoothed]
        numbers += [values[name] for name in names for values in (row.zones, row.smoothed_zones)]
        assert [float(cell) for cell in cells[1:]] == pytest.approx(numbers, abs=5e-4)


def test_table_without_zones_or_rows():
    assert csv_text([]) == "frame,seconds,count,smoothed\n"
    assert csv_text([Reading(3, 0.12, 10, 9.99951)]) == "frame,seconds,count,smoothed\n3,0.120,10.000,10.000\n"
    gap = [Reading(0, 0, 1, 1), Reading(1, 1, 1, 1, {"a": 2}, {"a": 3})]
    assert csv_text(gap).splitlines()[1:] == ["0,0.000,1.000,1.000,,", "1,1.000,1.000,1.000,2.000,3.000"]


# Writing


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".MP4"])
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
    assert np.abs(frames[0].image[90:].astype(int) - picture(0)[90:]).max() < 25


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize(("width", "height"), [(161, 121), (160, 121), (161, 120), (1, 1)])
def test_odd_sides_are_padded(tmp_path, suffix, width, height):
    path = tmp_path / f"odd{suffix}"
    colour = np.array([200, 120, 40], np.uint8)
    with VideoWriter(path, 10) as writer:
        for _ in range(3):
            writer.write(np.tile(colour, (height, width, 1)))
    for frame in read_frames(path):
        assert frame.image.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(frame.image.astype(int) - colour).max() < 20


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("written", [0, 5])
def test_failure_leaves_nothing(tmp_path, suffix, written):
    def write():
        with VideoWriter(tmp_path / f"out{suffix}", 10) as writer:
            for index in range(written):
                writer.write(picture(index))
            raise StoppedError

    with pytest.raises(StoppedError):
        write()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / f"out{suffix}").write_text("older")
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
    assert video_info(tmp_path / "out.mp4").frames == 25


def test_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "out.avi"
    path.write_text("older")
    with VideoWriter(path, 10) as writer:
        writer.write(picture(4))
    assert [place(frame.image) for frame in read_frames(path)] == [4]


@pytest.mark.parametrize("name", ["out.mkv", "out", "out.gif", "mp4"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"videos are written as .mp4 or .avi"):
        VideoWriter(tmp_path / name, 25)


@pytest.mark.parametrize("fps", [0, -1, 0.004, 601, float("nan"), float("inf")])
def test_frame_rates_that_no_container_holds(tmp_path, fps):
    with pytest.raises(InputError, match=r"frames per second, give 0\.005 to 600"):
        VideoWriter(tmp_path / "out.mp4", fps)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("fps", [0.005, 25 / 3000, 25 / 3, 30000 / 1001, 500 / 7, 200 / 3, 1000 / 3, 600])
def test_frame_rates(tmp_path, suffix, fps):
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, fps) as writer:
        for index in range(3):
            writer.write(picture(index))
    info = video_info(path)
    assert info.frames == 3
    assert info.fps == pytest.approx(fps, abs=1e-3 if fps < 65 else 1e-2)


def test_a_codec_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(video_writer.CODECS, ".mp4", "zzzz")
    with (
        pytest.raises(InputError, match="this OpenCV writes no zzzz of 160 x 120 pixels; install opencv-python"),
        VideoWriter(tmp_path / "out.mp4", 10) as writer,
    ):
        writer.write(picture(0))
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_refused(tmp_path):
    with (
        pytest.raises(InputError, match="frame 1 is 100 x 120 pixels, those before 160 x 120"),
        VideoWriter(tmp_path / "out.mp4", 10) as writer,
    ):
        writer.write(picture(0))
        writer.write(picture(0)[:, :100])
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_frames(tmp_path):
    with pytest.raises(InputError, match="no frame was given"), VideoWriter(tmp_path / "out.mp4", 10):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_full_disk_is_noticed(tmp_path, suffix):
    pytest.importorskip("resource")
    code = f"""
import resource, signal, numpy as np
from crowdcount.errors import InputError
from crowdcount.video.writer import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0)
try:
    with VideoWriter({str(tmp_path / "out") + suffix!r}, 10) as writer:
        for _ in range(60):
            writer.write(noise.integers(0, 255, (120, 160, 3), dtype=np.uint8))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"out{suffix}: could not be written in full" in done.stdout
    assert list(tmp_path.iterdir()) == []


# Annotated frames


@dataclass
class Seen:
    count: float
    density: np.ndarray
    stride: int
    height: int
    width: int


def seen(height, width, cell=None, value=2.0, stride=8):
    density = np.zeros((-(-height // stride), -(-width // stride)), np.float32)
    if cell is not None:
        density[cell] = value
    return Seen(float(density.sum()), density, stride, height, width)


SIZES = [(96, 128), (240, 320), (241, 321), (720, 1280), (1280, 720), (1080, 1920)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("names", [(), ("gate", "hall"), ("a zone with a long name", "Straße", "c", "d", "e")])
def test_all_frames_are_equally_large(height, width, names):
    image = np.full((height, width, 3), 120, np.uint8)
    numbers = (0, 9.96, 123456.7)
    readings = [
        Reading(n, 3000 * n, x, x, dict.fromkeys(names, x), dict.fromkeys(names, x / 2)) for n, x in enumerate(numbers)
    ]
    shown = [annotate(image, reading, series=numbers[: n + 1]) for n, reading in enumerate(readings)]
    assert len({picture.shape for picture in shown}) == 1
    assert shown[0].dtype == np.uint8 and shown[0].shape[1] == width
    for drawn in shown:
        np.testing.assert_array_equal(drawn[:height], image)
        ink = (drawn[height:] < 140).any(axis=2)
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        assert rows[0] > 0 and rows[-1] < ink.shape[0] - 1
        assert columns[0] > 0 and columns[-1] < width - 1
    assert len(names) == 5 or shown[0].shape[0] - height < max(0.25 * height, 100)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_strips_are_legible(height, width):
    strip = Strip(height, width)
    strip.write_counts(Reading(0, 3.2, 123.4, 120.0))
    dark = (strip.paper < 110).all(axis=2)
    rows = np.flatnonzero(dark[: strip.paper.shape[0] // 2].any(axis=1))
    assert max(8, 0.014 * (height * width) ** 0.5) <= len(rows) < max(12, 0.03 * max(height, width))
    middle = dark[: strip.paper.shape[0] // 2]
    assert np.flatnonzero(middle.any(axis=0))[0] < max(10, 0.05 * width)


def test_annotated_density_lies_where_it_is():
    image = np.full((120, 160, 3), 120, np.uint8)
    shown = annotate(image, Reading(0, 0, 2, 2), seen(120, 160, (10, 5)))[:120]
    hot = shown[84, 44].astype(int)
    assert hot[0] > hot[2] + 60  # the end of the scale is red
    np.testing.assert_array_equal(shown[:40], image[:40])
    np.testing.assert_array_equal(image, 120)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (240, 320), (77, 101)])
def test_annotated_density_of_another_size(height, width):
    """The network saw the picture smaller or larger than it is; the annotated frame keeps the size of the video."""
    image = np.full((120, 160, 3), 120, np.uint8)
    cell = (round(0.7 * height / 8), round(0.25 * width / 8))
    shown = annotate(image, Reading(0, 0, 2, 2), seen(height, width, cell))[:120]
    changed = np.argwhere(np.abs(shown.astype(int) - image).max(axis=2) > 60)
    y, x = changed.mean(axis=0)
    assert y == pytest.approx((cell[0] + 0.5) * 8 * 120 / height, abs=2.5)
    assert x == pytest.approx((cell[1] + 0.5) * 8 * 160 / width, abs=2.5)


def test_density_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="does not cover a picture of 240 x 320"):
        annotate(
            np.zeros((120, 160, 3), np.uint8), Reading(0, 0, 2, 2), Seen(0, np.zeros((9, 9), np.float32), 8, 240, 320)
        )


def test_colour_scale_never_falls():
    scale = ColourScale()
    tops = [scale(seen(120, 160, (4, 4), value)) for value in (0, 2, 9, 1, 12, 0)]
    assert tops == sorted(tops) and tops[0] == 0.05 and tops[2] == tops[3] < tops[4] == tops[5] == scale.top
    image, reading = np.full((120, 160, 3), 120, np.uint8), Reading(0, 0, 2, 2)
    same = [annotate(image, reading, seen(120, 160, (4, 4), 2), top=top)[:120] for top in (tops[2], tops[3], tops[4])]
    np.testing.assert_array_equal(same[0], same[1])
    assert (same[0] != same[2]).any()


def line_of(paper):
    """Return the height of the chart's line above its ground in every column, -1 where there is none."""
    right = paper[:, paper.shape[1] // 2 + 40 :].astype(int)
    blue = (right[..., 2] > right[..., 0] + 100).any(axis=0)
    area = (right[..., 2] - right[..., 0] > 15).sum(axis=0)
    return np.where(blue, area, -1)


def test_chart_follows_the_series():
    strip, series = Strip(720, 1280), [*range(100), *range(100, 0, -1)]
    strip.draw_chart(series)
    drawn = line_of(strip.paper)
    drawn = drawn[drawn >= 0]
    assert len(drawn) > 400
    peak = drawn[20:-20].argmax() + 20
    assert peak == pytest.approx(len(drawn) / 2, abs=0.04 * len(drawn))
    assert drawn[len(drawn) // 4] == pytest.approx(drawn[peak] / 2, abs=4)


@pytest.mark.parametrize("expected", [None, 100])
def test_chart_keeps_its_scale_in_time(expected):
    ends = []
    for shown in (10, 50, 100):
        strip = Strip(720, 1280)
        strip.draw_chart([5.0] * shown, expected)
        ends.append(np.flatnonzero(line_of(strip.paper) >= 0)[-1])
    if expected:
        assert ends[1] - ends[0] == pytest.approx((ends[2] - ends[0]) * 40 / 90, abs=3)
    else:
        assert max(ends) - min(ends) <= 1


@pytest.mark.parametrize("series", [[0.0], [0.0, 0.0], [7.0], [-3.0, 2.0], np.linspace(0, 9, 100_000)])
def test_chart_of_any_series(series):
    strip = Strip(240, 320)
    strip.draw_chart(series)
    assert (strip.paper < 200).any()


def test_no_chart_without_series_or_room():
    for strip, series in ((Strip(240, 320), []), (Strip(96, 128), [1.0, 2.0])):
        strip.draw_chart(series)
        assert (strip.paper == 255).all()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (4.84, "0:04.8"), (59.96, "1:00.0"), (3599.9, "59:59.9"), (3600, "1:00:00"), (3723.4, "1:02:03")],
)
def test_clock(seconds, text):
    assert _clock(seconds) == text


def test_zones_and_their_numbers_are_written(monkeypatch):
    written = []
    monkeypatch.setattr(Strip, "_write", lambda self, box, words, colour, **more: written.append((words, colour)))
    annotate(
        np.zeros((240, 320, 3), np.uint8),
        Reading(0, 1.5, 12.34, 11, {"gate": 3, "a zone with a very long name": 4}, {"gate": 2.5}),
        series=[11.0],
    )
    words = [text for text, _ in written]
    assert words[:5] == ["0:01.5", "count 12.3", "smoothed 11.0", "gate", "3.0"]
    assert words[5] == "2.5" and words[6].startswith("a zone with") and words[6].endswith("..")
    assert words[7:] == ["4.0", "11", "0"]
    colours = dict(written)
    assert colours["smoothed 11.0"] == colours["2.5"] != colours["count 12.3"] == colours["3.0"]


def test_annotated_video(films, tmp_path):
    """All of it together: count every third frame, smooth, draw, write, read again."""
    smoother, scale, readings, series = Smoother(3), ColourScale(), [], []
    info = video_info(films(".mp4"))
    with VideoWriter(tmp_path / "out.mp4", info.fps / 3) as writer:
        for frame in read_frames(films(".mp4"), 3):
            found = seen(HEIGHT, WIDTH, (9, min(19, place(frame.image) * 3 // 8)), 1 + frame.index / 10)
            readings.append(smoother.reading(frame.index, frame.seconds, found.count, {"left": found.count / 2}))
            series.append(readings[-1].smoothed)
            shown = annotate(frame.image, readings[-1], found, top=scale(found), series=series, expected=17)
            writer.write(shown)
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert len(frames) == 17 == len(csv_text(readings).splitlines()) - 1
    assert frames[0].image.shape == (shown.shape[0] + shown.shape[0] % 2, WIDTH, 3)
