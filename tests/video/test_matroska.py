import av
import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.video.matroska import find_cut
from crowdcount.video.read import read_frames
from tests.support.video import FPS, HEIGHT, WIDTH, frame_image, place, write_video

NUMBER = 20


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A file of known sizes and duration, and a live recording, which states neither."""
    folder = tmp_path_factory.mktemp("recordings")
    images = [frame_image(index) for index in range(NUMBER)]
    write_video(folder / "whole.mkv", images, "mpeg4", g=5)
    with av.open(str(folder / "live.mkv"), "w", format="matroska", container_options={"live": "1"}) as file:
        stream = file.add_stream("mpeg4", FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = index
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return folder


@pytest.mark.parametrize("name", ["whole.mkv", "live.mkv"])
def test_every_cut_is_seen(recordings, tmp_path, name):
    data, path = (recordings / name).read_bytes(), tmp_path / "cut.mkv"
    assert find_cut(recordings / name) == "no"
    found = []
    for kept in range(len(data) - 3000, len(data), 13):
        path.write_bytes(data[:kept])
        found.append(find_cut(path) != "no")
    assert np.mean(found) > 0.98  # all but cuts between two elements


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"no matroska at all, but text", bytes(range(256)) * 4])
def test_anything_else_is_no_cut_or_ends(tmp_path, content):
    (tmp_path / "x.mkv").write_bytes(content)
    assert find_cut(tmp_path / "x.mkv") in ("no", "other")


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize(("name", "announced"), [("whole.mkv", "of 0.8 s announced"), ("live.mkv", "ends too early")])
def test_a_few_lost_frames_are_named(recordings, tmp_path, name, announced, lost):
    with av.open(str(recordings / name)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    path = tmp_path / name
    start, size = places[-lost]
    path.write_bytes((recordings / name).read_bytes()[: start + size // 2])
    assert find_cut(path) == "frames"
    frames = []
    with pytest.raises(InputError, match=f"after frame {NUMBER - 1 - lost} at .*{announced}"):
        frames.extend(read_frames(path))
    assert len(list(read_frames(recordings / name))) == NUMBER


def test_a_lost_index_is_no_lost_frame(recordings, tmp_path):
    """The cut is behind the last frame: every count is there."""
    path = tmp_path / "whole.mkv"
    path.write_bytes((recordings / "whole.mkv").read_bytes()[:-30])
    assert find_cut(path) == "other"
    assert [place(frame.image) for frame in read_frames(path)] == list(range(NUMBER))
