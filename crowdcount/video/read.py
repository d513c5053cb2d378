"""Reading video files: which frames, when they are shown, and where a file breaks off.

`frame` draws annotated frames, `writer` writes them, `series` smooths counts and tabulates them.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.video.truncation import is_cut

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES: Final = tuple(".mp4 .m4v .mov .avi .mkv .webm .wmv .flv .mpg .mpeg .ts .mts .m2ts .3gp".split())
"""What counts as a video in a user's folder, in small letters."""

_USUAL_FPS: Final = 25.0
_MOST_FPS: Final = 1000.0
"""More is the tick of a container that knows no frame rate, such as the 90,000 of MPEG."""
_MOST_FRAMES: Final = 1e9
"""More, or fewer than one, is what ffmpeg makes of an unknown duration."""
_LEAST_SLACK: Final = 5


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of its video.

    Attributes:
        width: in pixels, of the upright picture.
        height: in pixels, of the upright picture.
        fps: frames per second; 25 where the container gives none.
        frames: number of frames, None where unknown. It may be too large: many containers give a duration alone, that
            of the sound included, and trimmed videos hold frames that are not shown.
    """

    width: int
    height: int
    fps: float
    frames: int | None


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: place among all frames of the file, from 0.
        seconds: when it is shown, from the start of the video.
        image: (H, W, 3) uint8, RGB, upright.
    """

    index: int
    seconds: float
    image: Image


def is_video(path: Path | str) -> bool:
    """Tell from the name alone whether a file is a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def video_info(path: Path | str) -> VideoInfo:
    """Return what the container says, without decoding the video.

    Raises:
        InputError: the file is missing or no video.
    """
    with _opened(Path(path)) as capture:
        return _info(capture)


def read_frames(path: Path | str, every: int = 1) -> Iterator[Frame]:
    """Yield every n-th frame, the first one included, turned upright as the file asks.

    Compressed frames build on each other, so those between are decoded too; what they are spared is the conversion to
    a picture. Times are the container's timestamps as long as they rise, otherwise index / fps.

    A file that breaks off is an error only after its last whole frame was yielded: what was made of the frames before
    is good. Such a file lacks frames and also bytes, which MP4, MOV, AVI, MKV and WebM count. Where frames alone are
    missing, as in trimmed videos, a warning is logged; a cut file of another kind may pass for a shorter one.

    Args:
        path: a video file.
        every: distance of the yielded frames.

    Raises:
        InputError: `every` is below 1, at once; while iterating: the file is missing, is no video, has no frames, or
            breaks off.
    """
    if every < 1:
        raise InputError(f"every: {every} must be at least 1, which yields all frames")
    return _read(Path(path), every)


def _read(path: Path, every: int) -> Iterator[Frame]:
    with _opened(path) as capture:
        info = _info(capture)
        read, seconds = 0, -1.0
        while capture.grab():
            seconds = _seconds(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, read, info.fps, seconds)
            if read % every == 0:
                yield Frame(read, seconds, _picture(capture, path, read))
            read += 1
        _check_end(path, info, read, seconds)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise InputError(f"{path}: no such video", path)
    # An absolute path: ffmpeg takes what stands before a colon in a relative one for a protocol.
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            why = "it breaks off before its end" if is_cut(path) else f"{path.stat().st_size} bytes"
            raise InputError(f"{path}: not a readable video ({why}); copy it again from its source", path)
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture
    finally:
        capture.release()


def _info(capture: cv2.VideoCapture) -> VideoInfo:
    frames, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    return VideoInfo(
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        fps=fps if 0 < fps <= _MOST_FPS else _USUAL_FPS,
        frames=int(frames) if 1 <= frames < _MOST_FRAMES else None,
    )


def _seconds(stamp: float, index: int, fps: float, last: float) -> float:
    """Return when a frame is shown: its timestamp if that can be, otherwise by counting; never before the last one.

    Args:
        stamp: the container's time in seconds; 0 where it has none.
        index: place of the frame among all.
        fps: frames per second.
        last: time of the frame before, negative for the first.
    """
    return stamp if 0 <= stamp < math.inf and stamp > last else max(index / fps, last)


def _picture(capture: cv2.VideoCapture, path: Path, index: int) -> Image:
    whole, picture = capture.retrieve()
    if not whole:
        raise InputError(f"{path}: frame {index} cannot be decoded; copy the file again from its source", path)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _check_end(path: Path, info: VideoInfo, read: int, seconds: float) -> None:
    """Refuse a video that ended too early.

    Half a second may be missing: where a container gives a duration alone, the end of the sound and rounding make the
    number of frames a little too large.
    """
    if read == 0:
        raise InputError(f"{path}: not one frame can be decoded; copy the file again from its source", path)
    if info.frames is None or info.frames - read <= max(_LEAST_SLACK, info.fps / 2):
        return
    found = f"frame {read - 1} at {seconds:.1f} s is the last that can be decoded, of {info.frames} announced"
    if is_cut(path):
        raise InputError(
            f"{path}: breaks off, {found}; the frames before are good; for the others copy the file from its source",
            path,
        )
    logger.warning("%s: %s; no harm if the video was trimmed or its sound is longer", path, found)
