"""An open video file: its packets, its announced length, and what is missing from it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import av

from crowdcount.errors import InputError
from crowdcount.video.matroska import find_cut
from crowdcount.visualize.drawing_mark import MARK

ADVICE: Final = "copy the file again from its source"

_ATOMS: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
"""Kinds of the first atom of MP4 and MOV."""
_STARTS: Final = (b"RIFF", b"\x1a\x45", b"FLV\x01", b"\x30\x26\xb2\x75", b"\0\0\1\xba", b"OggS")
"""First bytes of AVI, Matroska, Flash, WMV, MPEG and Ogg."""

_LOCAL: Final = {"protocol_whitelist": "file"}
"""Otherwise a playlist named like a video could open network addresses."""
_MOST_FPS: Final = 1000.0
"""A higher value is the clock rate of a container without a frame rate, such as MPEG's 90,000."""
_USUAL_FPS: Final = 25.0
_MOST_SECONDS: Final = 1e7
_SLACK: Final = 0.15
"""Seconds by which durations may exceed the content: sound is rounded to packets, a last frame may have no length."""


class VideoFile:
    """A video file, opened by `open_video`.

    Attributes:
        stream: the video stream; of several, the one that a player shows.
        path: path of the file.
        fps: mean number of frames per second; 25 if the container gives none.
    """

    def __init__(self, container: "av.container.InputContainer", stream: av.VideoStream, path: Path) -> None:
        self.stream, self.path = stream, path
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        if not 0 < self.fps <= _MOST_FPS:
            self.fps = _USUAL_FPS
        self._container = container
        self._packets, self._end, self._error = 0, 0.0, ""
        self._last_is_whole = True

    @property
    def comment(self) -> str:
        """The comment in the container."""
        return self._container.metadata.get("comment", "")

    @property
    def seconds(self) -> float | None:
        """Announced duration of the longest stream; None if unknown."""
        seconds = [self.stream.frames / self.fps, (self._container.duration or 0) / av.time_base]
        return max(seconds) if 0 < max(seconds) < _MOST_SECONDS else None

    @property
    def frames(self) -> int | None:
        """Announced number of frames, or the number that follows from `seconds`."""
        if self.stream.frames or self.seconds is None:
            return self.stream.frames or None
        return max(1, round(self.seconds * self.fps))

    def packets(self) -> Iterator["av.Packet[Any] | None"]:
        """Yield the packets of the video stream, then None."""
        guessed = self._container.format.name == "avi"  # which stores no time of showing
        try:
            for packet in self._container.demux():
                times = [time for time in (None if guessed else packet.pts, packet.dts) if time is not None]
                if times:
                    self._end = max(self._end, float((max(times) + (packet.duration or 0)) * packet.time_base))
                if packet.size:
                    self._last_is_whole = not packet.is_corrupt
                if packet.stream_index == self.stream.index and packet.size:
                    self._packets += 1
                    yield packet
        except (av.FFmpegError, OSError) as error:
            self._error = f" ({error.strerror})"
        yield None

    def missing(self) -> str:
        """Return how long the video was meant to be if packets are missing or unreadable before that; otherwise "".

        MP4 and MOV list their packets. Other containers announce the duration of the longest stream, sound included,
        and Matroska has elements of known sizes.
        """
        announced = f"of {self.stream.frames} frames announced" if self.stream.frames else self._announced()
        if self.stream.frames and "mp4" in self._container.format.name:
            listed = len(self.stream.index_entries)  # without those that a trimmed video does not show
            announced, short = f"of {listed} frames announced", self._packets < listed
        else:
            cut = find_cut(self.path) if "matroska" in self._container.format.name else "no"
            reached = self._end - min(0.0, (self._container.start_time or 0) / av.time_base) + 0.5 / self.fps
            duration = (self._container.duration or 0) / av.time_base
            short = reached < max(self.stream.frames / self.fps, duration - (_SLACK if cut == "no" else 0))
            short |= not self._last_is_whole or cut == "frames" or (cut == "other" and not duration)
        return f"{announced}{self._error}" if short or self._error else ""

    def _announced(self) -> str:
        return "the file ends too early" if self.seconds is None else f"of {self.seconds:.1f} s announced"


def is_annotated(path: Path) -> bool:
    """Return whether a video was written by `VideoWriter`; False if it cannot be read."""
    try:
        with open_video(path) as video:
            return video.comment == MARK
    except InputError:  # whoever decodes it says why
        return False


def _advice(path: Path) -> str:
    """Return what helps with a file that FFmpeg does not open: only a known format can be incomplete."""
    with path.open("rb") as file:
        start = file.read(16)
    if not start.strip(b"\0"):
        return f"it is empty: {ADVICE}"
    if start[4:8] in _ATOMS or start.startswith(_STARTS):
        return f"it is incomplete: {ADVICE}"
    return "FFmpeg does not know its content; if a player shows it, convert it there to MP4 with H.264"


@contextmanager
def open_video(path: Path) -> Iterator[VideoFile]:
    """Open a video file.

    Raises:
        InputError: the file is missing or not a video.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such video", path)
    with ExitStack() as stack:
        name = str(path.absolute())  # FFmpeg reads text before a colon in a relative path as a protocol
        try:
            container = stack.enter_context(av.open(name, "r", options=dict(_LOCAL), metadata_errors="replace"))
        except av.FFmpegError as error:
            found = f"{path.stat().st_size} bytes: {error.strerror}"
            raise InputError(f"{path}: not a readable video ({found}); {_advice(path)}", path) from error
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
            found = "holds no video" if stream is None else "FFmpeg has no decoder for its codec"
            raise InputError(f"{path}: {found}; convert it to MP4 with H.264", path)
        yield VideoFile(container, stream, path)
