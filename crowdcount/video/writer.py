"""Writing video files that are complete or absent."""

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import cv2

from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.video.read import video_info

CODECS: Final = {".mp4": "mp4v", ".avi": "MJPG"}
"""The codec of each container, among those every wheel of OpenCV can write."""

_LEAST_FPS: Final = 0.005
_MOST_FPS: Final = 600.0


class VideoWriter:
    """Writes RGB pictures as a video, under a temporary name beside its own until the `with` block ends well.

    An exception inside the block leaves nothing behind, and an older file as it was. To keep what there is of a video
    that breaks off, catch the error of `read_frames` inside the block.

    Frames that are not counted have no place in an annotated video: for every n-th frame of a source give the source's
    fps / n, and the video is as long as the source.

        with VideoWriter("annotated.mp4", video_info(path).fps / every) as video:
            for frame in read_frames(path, every):
                video.write(...)

    Args:
        path: an .mp4 (MPEG-4 part 2) or .avi (Motion JPEG); its folder is made where it is missing.
        fps: frames per second, rounded to three decimals; above 65 to two, as MPEG-4 needs.

    Raises:
        InputError: the suffix is another one, or fps is not between 0.005 and 600.
    """

    def __init__(self, path: Path | str, fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"{path}: videos are written as {' or '.join(CODECS)}; change the suffix", self.path)
        if not _LEAST_FPS <= fps <= _MOST_FPS:
            raise InputError(f"{path}: {fps:g} frames per second, give {_LEAST_FPS} to {_MOST_FPS:g}", self.path)
        self.fps = round(fps, 3 if fps < 65 else 2)
        self.frames = 0
        self._size = (0, 0)
        self._video: cv2.VideoWriter | None = None
        # The suffix stays at the end: OpenCV takes the container from it.
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part{self.path.suffix}")

    def __enter__(self) -> Self:
        """Make the folder and the temporary file.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.touch()  # OpenCV would not say why it fails
        return self

    def write(self, image: Image) -> None:
        """Append a frame. An odd side is made even by repeating its last row or column, as codecs need.

        Args:
            image: (H, W, 3) uint8, RGB, of the size of the first one.

        Raises:
            InputError: the size is another one, or OpenCV has no such codec.
        """
        height, width = image.shape[:2]
        if self._video is None:
            self._size, self._video = (width, height), self._opened(width + width % 2, height + height % 2)
        if (width, height) != self._size:
            raise InputError(
                f"{self.path}: frame {self.frames} is {width} x {height} pixels, those before {self._size[0]} x "
                f"{self._size[1]}; convert the source to one size",
                self.path,
            )
        even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._video.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the video in its place, or remove what there is of it.

        Raises:
            InputError: no frame was written, or not all could be, as on a full disk.
        """
        try:
            if self._video is not None:
                self._video.release()
            if kind is None:
                self._check()
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _opened(self, width: int, height: int) -> cv2.VideoWriter:
        codec = CODECS[self.path.suffix.lower()]
        name, fourcc = str(self._temporary.absolute()), cv2.VideoWriter.fourcc(*codec)
        video = cv2.VideoWriter(name, cv2.CAP_FFMPEG, fourcc, self.fps, (width, height))
        if not video.isOpened():
            raise InputError(
                f"{self.path}: this OpenCV writes no {codec} of {width} x {height} pixels; install opencv-python from "
                f"PyPI, which has ffmpeg, or try another suffix among {', '.join(CODECS)}",
                self.path,
            )
        return video

    def _check(self) -> None:
        """Count the frames in the header: OpenCV says nothing when a write fails."""
        if self.frames == 0:
            raise InputError(f"{self.path}: no frame was given, so there is no video to write", self.path)
        try:
            found = video_info(self._temporary).frames or 0
        except InputError:
            found = 0
        if found != self.frames:
            raise InputError(f"{self.path}: could not be written in full; is there space on the disk?", self.path)
