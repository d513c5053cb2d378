"""Sources of live frames: addresses of streams, cameras of this machine, and files played as streams."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from crowdcount.errors import InputError
from crowdcount.live.masking import mask_address
from crowdcount.local_path import local_path

Kind = Literal["network", "camera", "file"]

SCHEMES: Final = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "srt", "tcp")
"""Schemes of addresses that are opened."""

_NAMED: Final = re.compile(r"([\w-]+)=(.+)", re.DOTALL)
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]*)://.+", re.IGNORECASE | re.DOTALL)
_CAMERA: Final = re.compile(r"\d{1,3}|/dev/video\d+")


@dataclass(frozen=True)
class Source:
    """A source of live frames.

    Attributes:
        name: its name in readings and messages; without credentials.
        kind: network, camera or file.
        address: text that FFmpeg opens; it may hold credentials, and is in no `repr`.
        format: input format of FFmpeg where the address does not say it.
    """

    name: str
    kind: Kind
    address: str = field(repr=False)
    format: str | None = None

    @property
    def masked(self) -> str:
        """The address without credentials."""
        return mask_address(self.address)


def parse_source(word: str) -> Source:
    """Return the source that a word means: NAME=SOURCE, or SOURCE alone, which then is its own name.

    A source is an address such as rtsp://user:password@camera/stream, the number or device of a camera of this machine
    (0, /dev/video0), or a video file.

    Raises:
        InputError: the scheme of an address is not known, or there is no such file.

    Example:
        >>> parse_source("gate=rtsp://admin:secret@10.0.0.7/1")
        Source(name='gate', kind='network', format=None)
        >>> parse_source("rtsp://admin:secret@10.0.0.7/1").name
        'rtsp://***@10.0.0.7/1'
    """
    named = None if _is_file(word) else _NAMED.fullmatch(word)
    name, place = (named[1], named[2]) if named else (None, word)
    if address := _ADDRESS.fullmatch(place):
        if address[1].lower() not in SCHEMES:
            raise InputError(f"{mask_address(place)}: streams have one of the schemes {', '.join(SCHEMES)}")
        return Source(name or mask_address(place), "network", place)
    if _CAMERA.fullmatch(place) and not _is_file(place):
        return _camera(name or place, place)
    path = local_path(place)
    if not path.is_file():
        raise InputError(f"{place}: no such video, and no address such as rtsp://camera/stream", path)
    return Source(name or path.stem, "file", str(path.absolute()))


def parse_sources(words: list[str]) -> list[Source]:
    """Return the sources of several words; see `parse_source`.

    Raises:
        InputError: see `parse_source`; or two have one name.
    """
    sources = [parse_source(word) for word in words]
    for number, source in enumerate(sources):
        if source.name in [each.name for each in sources[:number]]:
            raise InputError(f"{source.name}: two sources have this name; write NAME=SOURCE for one of them")
    return sources


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def _camera(name: str, place: str) -> Source:
    if sys.platform == "linux":
        return Source(name, "camera", f"/dev/video{place}" if place.isdigit() else place, "v4l2")
    if sys.platform == "darwin":
        return Source(name, "camera", place, "avfoundation")
    raise InputError(f"{place}: cameras of this machine are read on Linux and macOS; give the address of a stream")
