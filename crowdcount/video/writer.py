"""Writing video files that are complete or absent."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np

from crowdcount.errors import InputError
from crowdcount.files import temporary_path
from crowdcount.images.read import Image
from crowdcount.visualize.drawing_mark import MARK

_ENCODER: Final = "h264"
_OPTIONS: Final = {"crf": "20", "preset": "veryfast"}
_INDEX_FIRST: Final = {"movflags": "+faststart"}
_BT709: Final = 1
"""Code of BT.709 for colour primaries, transfer and matrix."""
_LIMITED: Final = 1
_LEAST_FPS: Final = 0.005
_MOST_FPS: Final = 600.0


class VideoWriter:
    """Writes RGB images as a video, under a temporary name until the `with` block ends without an exception.

    The video is H.264 in MP4, which browsers play. After an exception inside the block nothing is left behind and an
    existing file is unchanged. To keep the intact part of a damaged video, catch the error of `read_frames` inside the
    block.

    When writing only every n-th frame of a source, pass the source's fps / n to keep its duration.

        with VideoWriter("annotated.mp4", video_info(path).fps / every) as video:
            for frame in read_frames(path, every):
                video.write(...)

    Args:
        path: path ending in .mp4; a missing folder is created.
        fps: frames per second.

    Raises:
        InputError: the suffix is not .mp4, or fps is not between 0.005 and 600.
    """

    def __init__(self, path: Path | str, fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise InputError(f"{path}: videos are written as .mp4; change the suffix", self.path)
        if not _LEAST_FPS <= fps <= _MOST_FPS:
            raise InputError(f"{path}: {fps:g} frames per second, give {_LEAST_FPS} to {_MOST_FPS:g}", self.path)
        self.fps = Fraction(fps).limit_denominator(10_000)
        self.frames = 0
        self._size = (0, 0)
        self._stack = ExitStack()
        self._stream: av.VideoStream | None = None
        self._temporary = temporary_path(self.path, ".part.mp4")

    def __enter__(self) -> Self:
        """Create the folder and the temporary file.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.touch()
        return self

    def write(self, image: Image) -> None:
        """Append a frame; an odd side is made even, as the codec requires, by repeating the last row or column.

        Args:
            image: (H, W, 3) uint8, RGB, of the size of the first one.

        Raises:
            InputError: the size differs from the first frame's, FFmpeg has no H.264 encoder, or the disk is full.
        """
        height, width = image.shape[:2]
        if self._stream is None:
            self._size, self._stream = (width, height), self._opened(width + width % 2, height + height % 2)
        if (width, height) != self._size:
            raise InputError(
                f"{self.path}: frame {self.frames} is {width} x {height} pixels, those before {self._size[0]} x "
                f"{self._size[1]}; convert the source to one size",
                self.path,
            )
        even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(even, "rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts = self.frames
        with self._writing():
            self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Move the video to its final name, or remove it after an exception.

        Raises:
            InputError: no frame was written, or the disk is full.
        """
        try:
            if kind is not None:
                with suppress(av.FFmpegError):  # the first error counts
                    self._stack.close()
                return
            if self._stream is None:
                raise InputError(f"{self.path}: no frame was given, so there is no video to write", self.path)
            with self._writing(), self._stack:
                self._container.mux(self._stream.encode(None))
            self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _opened(self, width: int, height: int) -> av.VideoStream:
        name = str(self._temporary.absolute())  # FFmpeg reads text before a colon as a protocol
        self._container = self._stack.enter_context(av.open(name, "w", options=_INDEX_FIRST))
        self._container.metadata["comment"] = MARK
        try:
            stream = self._container.add_stream(_ENCODER, self.fps, options=dict(_OPTIONS))
        except av.codec.codec.UnknownCodecError as error:
            raise InputError(
                f"{self.path}: this FFmpeg writes no H.264; install av from PyPI, which does", self.path
            ) from error
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        return stream

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise InputError(
                f"{self.path}: could not be written in full ({error.strerror}); is there space on the disk?", self.path
            ) from error
