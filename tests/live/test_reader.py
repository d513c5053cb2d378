import threading
from contextlib import contextmanager

import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.live.backoff import Backoff
from crowdcount.live.connection import ConnectionLost
from crowdcount.live.reader import StreamReader
from crowdcount.live.source import Source, parse_source
from tests.support.rtsp import RtspServer
from tests.support.streams import StreamServer, streaming
from tests.support.video import frame_image, place, write_video

CAMERA = Source("camera", "network", "rtsp://user:secret@camera")
LONG = 60.0
"""Seconds that a test waits for what comes at once, on a machine that is busy."""


def quick():
    return Backoff(first=0.01, longest=0.05)


class Script:
    """A connection that does what a test tells it.

    Attributes:
        steps: what each attempt does: a number of frames, or an error.
    """

    def __init__(self, *steps):
        self.steps, self.ready, self.release = list(steps), threading.Event(), threading.Event()
        self.fault = ""

    @contextmanager
    def __call__(self, source, patience):
        step = self.steps.pop(0) if self.steps else "wait"
        if isinstance(step, Exception):
            raise step
        self.step = step
        yield self

    def frames(self):
        for index in range(self.step if isinstance(self.step, int) else 0):
            yield FakeFrame(index)
        if not isinstance(self.step, int):
            self.ready.set()
            self.release.wait(LONG)


class FakeFrame:
    def __init__(self, index):
        self.seconds, self.damaged, self.waited = index / 25, index // 2, 1.0
        self.index = index

    def image(self):
        return np.full((2, 2, 3), self.index, np.uint8)


def test_only_the_newest_frame_is_kept():
    script = Script(5)
    with StreamReader(CAMERA, backoff=quick(), connect=script) as reader:
        assert script.ready.wait(LONG)
        frame = reader.newest()
        assert frame.image[0, 0, 0] == frame.index == 4 and frame.seconds == 4 / 25 and frame.lag == 0
        assert reader.newest() is None
        numbers = reader.statistics
        assert (numbers.received, numbers.taken, numbers.dropped, numbers.damaged) == (5, 1, 4, 2)
        script.release.set()
    assert reader.ended and reader.newest() is None


def test_whatever_ends_a_connection_another_follows():
    lost = ConnectionLost("Connection refused")
    script = Script(3, lost, 2, ValueError("at rtsp://user:secret@camera"), lost, 1)
    with StreamReader(CAMERA, backoff=quick(), connect=script) as reader:
        assert script.ready.wait(LONG)
        assert reader.newest().index == 5
        numbers = reader.statistics
        assert (numbers.received, numbers.attempts, numbers.connections) == (6, 7, 3)
        assert reader.trouble == "the source ended the stream"
        script.release.set()


def test_errors_of_libraries_become_reasons_without_secrets():
    script = Script(ValueError("at rtsp://user:secret@camera"))
    with StreamReader(CAMERA, backoff=quick(), connect=script) as reader:
        assert script.ready.wait(LONG)
        assert reader.trouble == "ValueError: at rtsp://***@camera"
        script.release.set()


def test_a_connection_that_hangs_is_given_up_and_too_many_are_waited_for():
    script = Script()
    with StreamReader(CAMERA, patience=0.01, backoff=quick(), connect=script) as reader:
        changed = threading.Event()
        while "4 connections hang" not in reader.trouble:
            changed.wait(0.01)
        attempts = reader.statistics.attempts
        assert attempts == reader.statistics.stalls == 4
        changed.wait(0.7)
        assert reader.statistics.attempts == attempts
        script.release.set()


def test_frames_of_a_connection_that_was_given_up_are_not_delivered():
    late = threading.Event()

    class Late(Script):
        def frames(self):
            self.release.wait(LONG)
            yield FakeFrame(9)
            late.set()

    script = Late("wait")
    with StreamReader(CAMERA, patience=0.01, backoff=Backoff(LONG, LONG), connect=script) as reader:
        while not reader.statistics.stalls:
            late.wait(0.01)
        script.release.set()
        late.wait(1.0)
        assert reader.newest() is None


def test_a_stream_that_falls_behind_is_opened_anew():
    class Slow(FakeFrame):
        def __init__(self, index):
            super().__init__(index)
            self.seconds, self.waited = -float(index), 0.0

    class Script2(Script):
        def frames(self):
            if self.steps:
                yield from map(Slow, range(20))
            else:
                yield from super().frames()

    script = Script2(20, "wait")
    with StreamReader(CAMERA, most_lag=5, backoff=quick(), connect=script) as reader:
        assert script.ready.wait(LONG)
        assert "behind" in reader.trouble and 5 < reader.statistics.most_lag < 8
        script.release.set()


@pytest.mark.parametrize("wrong", ["patience", "most_lag"])
def test_numbers_out_of_range(wrong):
    with pytest.raises(InputError, match=wrong):
        StreamReader(CAMERA, **{wrong: 0})


@pytest.mark.parametrize("kind", ["mjpeg", "mpegts", "rtsp"])
def test_a_stream_that_is_killed_and_comes_back(kind):
    server_of = {"rtsp": RtspServer}.get(kind, StreamServer)
    with streaming(kind, server_of) as server, StreamReader(parse_source(server.url), backoff=quick()) as reader:
        for _ in range(3):
            frame = reader.newest(LONG)
            assert frame.image.shape == (120, 160, 3) and 0 <= place(frame.image) < 50
            server.kill()
            while not reader.trouble:
                threading.Event().wait(0.01)
            assert "secret" not in reader.trouble
            reader.newest()
            server.start()
        assert reader.newest(LONG) is not None
        assert reader.statistics.connections == 4


def test_a_server_that_hangs_is_given_up_and_the_reader_ends_at_once():
    with streaming(hang="nothing") as server:
        with StreamReader(parse_source(server.url), patience=0.3, backoff=quick()) as reader:
            while server.connections < 3:
                threading.Event().wait(0.01)
        assert "0.3 s" in reader.trouble and reader.newest() is None


def test_a_file_is_played_once_at_its_own_pace(tmp_path):
    path = write_video(tmp_path / "walk.mp4", [frame_image(index) for index in range(10)], "mpeg4")
    with StreamReader(parse_source(str(path))) as reader:
        indices = []
        while not reader.ended:
            if frame := reader.newest(0.05):
                indices.append(frame.index)
                assert place(frame.image) == frame.index
    assert indices[-1] == 9 and reader.trouble == "" and reader.statistics.received == 10


def test_a_file_that_is_no_video_ends_with_a_reason(tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    with StreamReader(parse_source(str(tmp_path / "notes.mp4"))) as reader:
        assert reader.newest(LONG) is None
        assert reader.ended and reader.trouble


def test_a_playlist_does_not_open_files_of_this_machine(tmp_path):
    path = write_video(tmp_path / "private.ts", [frame_image(0)] * 30, "mpeg2video")
    with streaming() as server:
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{path}\n#EXT-X-ENDLIST\n"
        server.answer = f"HTTP/1.0 200 OK\r\nContent-Type: application/x-mpegurl\r\n\r\n{playlist}".encode()
        address = server.url.replace("/live", "/live.m3u8")
        with StreamReader(parse_source(address), patience=2, backoff=quick()) as reader:
            while reader.statistics.attempts < 3:
                threading.Event().wait(0.01)
            assert reader.newest() is None
