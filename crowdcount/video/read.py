"""Reading video files: frames and their times, damaged frames, and files that are cut off.

`annotate` draws annotated frames, `writer` writes them, `smoothing` smooths counts and tabulates them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.local_path import local_path
from crowdcount.video.container import ADVICE, VideoFile, open_video
from crowdcount.video.decode import Decoder

VIDEO_SUFFIXES: Final = tuple(
    ".mp4 .m4v .mov .qt .avi .divx .mkv .webm .wmv .asf .flv .f4v .mpg .mpeg .m2v .vob .ts .mts .m2ts .3gp .3g2 .ogv "
    ".mxf .dav .h264 .264 .avc .h265 .265 .hevc .mjpeg .mjpg".split()
)
"""File name suffixes, in lower case, by which videos are recognised; the last ones are those of recorders."""
_MOST_RANGES: Final = 5


@dataclass(frozen=True)
class VideoInfo:
    """Facts a container states about its video.

    Attributes:
        width: in pixels, of the upright frame.
        height: in pixels, of the upright frame.
        fps: mean number of frames per second; 25 if the container gives none.
        frames: number of frames, None if unknown. It may be too large: many containers give only a duration, which
            includes the sound, and trimmed videos hold frames that are not shown.
    """

    width: int
    height: int
    fps: float
    frames: int | None


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: index among all frames of the file, from 0.
        seconds: time from the start of the video.
        image: (H, W, 3) uint8, RGB, upright.
    """

    index: int
    seconds: float
    image: Image


def is_video(path: Path | str) -> bool:
    """Return whether a file is a video, judged by its name."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def video_info(path: Path | str) -> VideoInfo:
    """Return the facts that the container states; only the first frame is decoded.

    Raises:
        InputError: the file is missing or not a video.
    """
    with open_video(local_path(path)) as video:
        first = next((frame for _, frame in _whole_frames(video, Decoder(video.stream))), None)
        width, height = video.stream.width, video.stream.height
        if first is not None and _quarters(first) % 2:
            width, height = height, width
        return VideoInfo(width, height, video.fps, video.frames)


def read_frames(path: Path | str, every: int = 1) -> Iterator[Frame]:
    """Yield every n-th frame from the first on, rotated upright as the file specifies.

    Compressed frames depend on each other, so the frames in between are decoded too, but not converted to images.
    Times are the container's timestamps as long as they increase, otherwise index / fps.

    Damage raises an error only after the last intact frame was yielded. Frames that are damaged, or depend on damaged
    ones, are left out. Missing frames at the end are detected if the container announces the number of frames or the
    duration; MPEG streams do not. Where a video breaks off, decoded frames that may follow missing ones are left out
    too; the error says how many.

    Args:
        path: path of the video.
        every: distance of the yielded frames.

    Raises:
        InputError: `every` is below 1 (raised at once); or, while iterating, the file is missing, is not a video, has
            no frames or damaged ones, or is cut off.
    """
    check_number("every", every, 1, hint="which yields all frames")
    return _read(local_path(path), every)


def _read(path: Path, every: int) -> Iterator[Frame]:
    with open_video(path) as video:
        decoder = Decoder(video.stream)
        following, seconds = 0, -1.0
        damaged: list[tuple[int, int]] = []
        for index, frame in _whole_frames(video, decoder):
            if index > following:
                damaged.append((following, index - 1))
            following, seconds = index + 1, _seconds(_stamp(frame, video), index, video.fps, seconds)
            if index % every == 0:
                yield Frame(index, seconds, upright(frame))
        if following == 0:
            reason = _unplaced(decoder) or decoder.reason or "there is none"
            raise InputError(f"{path}: no frame can be decoded ({reason}); {ADVICE}", path)
        missing = video.missing()
        if decoder.total > following and not missing:
            damaged.append((following, decoder.total - 1))
    found = [_ranges(damaged)] if damaged else []
    if missing:
        found.append(f"breaks off after frame {following - 1} at {seconds:.1f} s, {missing}")
        found += [_unplaced(decoder)] if decoder.unplaced else []
    if found:
        raise InputError(f"{path}: {'; '.join(found)}; the other frames are intact; for these {ADVICE}", path)


def _unplaced(decoder: Decoder) -> str:
    """Name the frames that a cut leaves without an index."""
    number = decoder.unplaced
    which, them = ("frame is", "it") if number == 1 else ("frames are", "them")
    return f"{number} {which} left out, as others before {them} may be missing" if number else ""


def _whole_frames(video: VideoFile, decoder: Decoder) -> Iterator[tuple[int, av.VideoFrame]]:
    for packet in video.packets():
        yield from decoder.decode(packet, cut=packet is None and bool(video.missing()))


def _stamp(frame: av.VideoFrame, video: VideoFile) -> float | None:
    """Return the container's timestamp of a frame in seconds, or None."""
    base = video.stream.time_base  # the last frames of a stream have none of their own
    return None if frame.pts is None or base is None else float((frame.pts - (video.stream.start_time or 0)) * base)


def _seconds(stamp: float | None, index: int, fps: float, last: float) -> float:
    """Return the time of a frame: its timestamp if plausible, otherwise index / fps; never before the last one.

    Args:
        stamp: the container's timestamp in seconds, or None.
        index: index of the frame among all.
        fps: frames per second.
        last: time of the previous frame, negative for the first.
    """
    return stamp if stamp is not None and stamp >= 0 and stamp > last else max(index / fps, last)


def _quarters(frame: av.VideoFrame) -> int:
    """Return the number of quarter turns to the left that make a frame upright."""
    return round(frame.rotation / 90) % 4


def upright(frame: av.VideoFrame) -> Image:
    """Return a decoded frame as (H, W, 3) uint8 RGB, rotated as it specifies."""
    image = np.asarray(frame.to_ndarray(format="rgb24", interpolation="BICUBIC"), np.uint8)
    return np.ascontiguousarray(np.rot90(image, _quarters(frame)))


def _ranges(damaged: Sequence[tuple[int, int]]) -> str:
    words = [f"{first}" if first == last else f"{first} to {last}" for first, last in damaged]
    if len(words) > _MOST_RANGES:
        words[_MOST_RANGES:] = [f"others in {len(words) - _MOST_RANGES} more places"]
    return f"damaged, frames {', '.join(words)} are left out"
