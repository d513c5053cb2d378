import itertools
from contextlib import suppress

import av
import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.video.read import read_frames, video_info
from tests.support.video import FPS, FRAMES, frame_image, packets, place, with_zeros, write_video


def read_until_error(path, every=1):
    """Return the frames that were yielded and the error that came after them."""
    frames = []
    with pytest.raises(InputError) as error:
        for frame in read_frames(path, every):
            frames.append(frame)
    return frames, str(error.value)


def iter_whole(path):
    with suppress(InputError):
        yield from read_frames(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"not a video\n" * 50, r"Invalid data.*FFmpeg does not know its content; if a player shows it"),
        ("recorder.dav", b"\1\2\3no format" * 50, r"FFmpeg does not know its content; if a player shows it, convert"),
        ("zeros.avi", bytes(600), r"it is empty: copy the file again"),
        ("text.mp4", b"not a video\n" * 50, r"text.mp4: not a readable video \(600 bytes: Invalid data"),
        ("text.avi", b"not a video\n" * 50, r"text.avi: not a readable video \(600 bytes: Invalid data"),
        ("empty.mp4", b"", r"empty.mp4: not a readable video \(0 bytes: Invalid data"),
        ("short.mkv", b"\x1a\x45", r"short.mkv: not a readable video \(2 bytes: Invalid data"),
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


def test_sound_alone(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as file:
        stream = file.add_stream("aac", 48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        silence.sample_rate = 48000
        file.mux(stream.encode(silence))
        file.mux(stream.encode())
    with pytest.raises(InputError, match=r"song.mp4: holds no video"):
        next(read_frames(tmp_path / "song.mp4"))


def test_no_frames(films, tmp_path):
    (tmp_path / "none.mp4").write_bytes(films(".mp4").read_bytes()[: packets(films(".mp4"))[0][0] + 9])
    frames, message = read_until_error(tmp_path / "none.mp4")
    assert frames == [] and "none.mp4: no frame can be decoded (bytes of it are missing)" in message


@pytest.mark.parametrize(
    ("suffix", "codec", "announced"),
    [
        (".avi", "mjpeg", "50 frames"),
        (".mkv", "mjpeg", "2.0 s"),
        (".mp4", "mpeg4", "50 frames"),
        (".mkv", "libx264", "2.0 s"),
        (".webm", "libvpx", "2.0 s"),
        (".flv", "flv", "2.0 s"),
    ],
)
@pytest.mark.parametrize("every", [1, 3])
def test_cut(films, tmp_path, suffix, codec, announced, every):
    options = {"g": 10} if codec == "libx264" else {"cpu-used": 8} if codec == "libvpx" else {}
    source, path = films(suffix, codec, **options), tmp_path / f"cut{suffix}"
    data, whole = source.read_bytes(), [frame.image for frame in read_frames(source)]
    for kept in (0.5, 0.9):
        path.write_bytes(data[: round(len(data) * kept)])
        frames, message = read_until_error(path, every)
        assert FRAMES * kept - 20 < frames[-1].index < FRAMES * kept
        for frame in frames:
            np.testing.assert_array_equal(frame.image, whole[frame.index])
        last = int(message.split("frame ")[1].split()[0])
        assert 0 <= last - frames[-1].index < every
        assert f"{path}: breaks off after frame {last} at {last / FPS:.1f} s, of {announced} announced" in message
        assert "copy the file again from its source" in message


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi", ".flv"])
def test_cuts_among_frames_that_are_shown_later(films, tmp_path, suffix):
    """A frame that the decoder got before those shown in front of it does not take the index of a missing one."""
    source, path = films(suffix, "libx264", g=10, sc_threshold=0, bf=3), tmp_path / f"cut{suffix}"
    data, whole = source.read_bytes(), [frame.image for frame in read_frames(source)]
    for intact, (start, _) in list(enumerate(packets(source)))[31:-1:3]:
        path.write_bytes(data[: start + 20])
        frames, message = read_until_error(path)
        for frame in frames:
            np.testing.assert_array_equal(frame.image, whole[frame.index])
        assert f"breaks off after frame {frames[-1].index} at" in message
        assert f"; {intact - len(frames)} frame" in message


def test_a_cut_that_leaves_no_frame_an_index(films, tmp_path):
    source, path = films(".mkv", "libx264", g=10, sc_threshold=0, bf=3), tmp_path / "cut.mkv"
    path.write_bytes(source.read_bytes()[: sum(packets(source)[2])])
    frames, message = read_until_error(path)
    assert frames == [] and "(2 frames are left out, as others before them may be missing)" in message


def test_a_cut_in_the_last_packet(films, tmp_path):
    """Its frame is not the last one shown, so that the end seems to be reached without it."""
    source, path = films(".mkv", "libx264", g=10, sc_threshold=0, bf=3), tmp_path / "cut.mkv"
    path.write_bytes(source.read_bytes()[: sum(packets(source)[-1])])
    frames, message = read_until_error(path)
    assert len(frames) == FRAMES - 3 and "; 2 frames are left out" in message


def test_cut_before_the_index(films, tmp_path):
    write_video(tmp_path / "whole.mp4", [frame_image(0)] * 5, "mpeg4")
    data, path = (tmp_path / "whole.mp4").read_bytes(), tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut.mp4: not a readable video .* is incomplete: copy the file"):
        next(read_frames(path))


def test_trimmed_videos_are_whole(films, tmp_path):
    """Videos that are trimmed without encoding them again hold frames that their edit list leaves out."""
    data = bytearray(films(".mp4").read_bytes())
    ticks = data.index(b"mdhd") + 4 + 12
    start = 20 * int.from_bytes(data[ticks : ticks + 4], "big") // FPS
    edit = data.index(b"elst") + 4 + 12
    data[edit : edit + 4] = start.to_bytes(4, "big")
    (tmp_path / "trimmed.mp4").write_bytes(data)
    frames = list(read_frames(tmp_path / "trimmed.mp4"))
    assert [place(frame.image) for frame in frames] == list(range(20, FRAMES))
    assert frames[0].seconds == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("sound", [1, 5])
def test_sound_of_another_length(tmp_path, suffix, sound):
    path = write_video(tmp_path / f"a{suffix}", [frame_image(index) for index in range(FRAMES)], "mpeg4", sound=sound)
    assert len(list(read_frames(path))) == FRAMES


def test_gaps_are_no_damage(tmp_path):
    times = [*range(20), 25, 26, 40]
    path = write_video(tmp_path / "gaps.avi", [frame_image(index) for index in range(len(times))], "mpeg4", times=times)
    assert [frame.index for frame in read_frames(path)] == list(range(len(times)))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mkv", "libx264"), (".ts", "libx264"), (".mp4", "mpeg4"), (".mp4", "libx265")],
)
@pytest.mark.parametrize("frame", [0, 1, 10, 23, 40, 49])
def test_a_damaged_frame(films, tmp_path, suffix, codec, frame):
    """It and those that are built on it are left out and named, the others are those of the whole video."""
    source = films(suffix, codec, g=10, sc_threshold=0)
    whole = [each.image for each in read_frames(source)]
    damaged = with_zeros(source, tmp_path / f"damaged{suffix}", frame)
    frames, message = read_until_error(damaged)
    found = [each.index for each in frames]
    for each in frames:
        np.testing.assert_array_equal(each.image, whole[each.index])
        assert each.seconds == pytest.approx(each.index / FPS, abs=2e-3)
    lost = [index for index in range(FRAMES) if index not in found]
    assert 1 <= len(lost) <= 10 + 3  # a group of frames, and some of the one before that need its keyframe
    starts = [index for index in lost if index - 1 not in lost]
    ends = [index for index in lost if index + 1 not in lost]
    named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in zip(starts, ends, strict=True))
    assert f"{damaged}: damaged, frames {named} are left out; the other frames are intact" in message
    tenth = [each.index for each in read_until_error(damaged, 10)[0]]
    assert tenth == [index for index in found if index % 10 == 0]


def test_a_damaged_frame_among_others_that_need_none(films, tmp_path):
    damaged = with_zeros(films(".avi"), tmp_path / "damaged.avi", 23, 1.0)
    frames, message = read_until_error(damaged)
    assert [frame.index for frame in frames] == [index for index in range(FRAMES) if index != 23]
    assert [place(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert "damaged, frames 23 are left out" in message


def test_two_damaged_videos_at_once(films, tmp_path):
    source = films(".mp4", "libx265", g=10, sc_threshold=0)
    paths = [with_zeros(source, tmp_path / f"{frame}.mp4", frame) for frame in (10, 23)]
    alone = [[frame.index for frame in read_until_error(path)[0]] for path in paths]
    together = [[], []]
    for pair in itertools.zip_longest(*(iter_whole(path) for path in paths)):
        for found, frame in zip(together, pair, strict=True):
            found += [frame.index] if frame else []
    assert together == alone


def test_many_damaged_frames(films, tmp_path):
    path = films(".avi")
    for frame in range(1, 50, 6):
        path = with_zeros(path, tmp_path / f"{frame}.avi", frame, 1.0)
    frames, message = read_until_error(path)
    assert len(frames) == FRAMES - 9
    assert "damaged, frames 1, 7, 13, 19, 25, others in 4 more places are left out" in message


def test_recordings_that_start_between_keyframes(films, tmp_path):
    path = write_video(
        tmp_path / "whole.ts", [frame_image(index) for index in range(40)], "libx264", g=10, sc_threshold=0
    )
    data = path.read_bytes()
    (tmp_path / "late.ts").write_bytes(data[packets(path)[3][0] // 188 * 188 :])
    places = [place(frame.image) for frame in read_frames(tmp_path / "late.ts")]
    assert places == list(range(places[0], 40)) and 4 <= places[0] <= 10


@pytest.mark.parametrize("spot", [20, 58])
def test_damaged_headers_of_the_first_frame(tmp_path, spot):
    """The decoder gives no error: it shows nothing before the next keyframe, or grey frames built on nothing."""
    source = write_video(tmp_path / "whole.avi", [frame_image(index) for index in range(20)], "mpeg4", g=10, b="4M")
    whole = [frame.image for frame in read_frames(source)]
    data = bytearray(source.read_bytes())
    data[packets(source)[0][0] + spot] ^= int(np.random.default_rng(spot).integers(1, 256))
    (tmp_path / "damaged.avi").write_bytes(data)
    frames, message = read_until_error(tmp_path / "damaged.avi")
    assert [frame.index for frame in frames] == list(range(10, 20))
    for frame in frames:
        np.testing.assert_array_equal(frame.image, whole[frame.index])
    assert "damaged, frames 0 to 9 are left out" in message


@pytest.mark.parametrize("start", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "mpeg4"), (".avi", "mpeg4"), (".mp4", "libx264"), (".mpg", "mpeg1video")]
)
def test_zeros_anywhere_are_named(films, tmp_path, suffix, codec, start):
    """400 bytes that were not copied: what is yielded is what the whole video shows, and the rest is named."""
    source = films(suffix, codec, g=10, sc_threshold=0)
    whole = [frame.image for frame in read_frames(source)]
    data = bytearray(source.read_bytes())
    first = round(start * len(data))
    data[first : first + 400] = bytes(400)
    (tmp_path / f"zeros{suffix}").write_bytes(data)
    frames, message = read_until_error(tmp_path / f"zeros{suffix}")
    assert 0 < len(frames) < FRAMES and "are left out" in message
    for frame in frames:
        np.testing.assert_array_equal(frame.image, whole[frame.index])
