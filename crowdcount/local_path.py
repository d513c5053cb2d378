"""Paths as users write them: no addresses, and accents in whatever form the disk has them."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final
from unicodedata import normalize

from crowdcount.errors import InputError

_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}[^/]", re.IGNORECASE)
_STREAMS: Final = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "mms", "srt", "tcp")


def local_path(name: Path | str) -> Path:
    """Return the path of a file that a user named.

    Where no such file exists, one whose name differs in the form of accents alone is taken: "é" is one character or
    two, macOS and archives write two, keyboards one, and both look alike.

    Raises:
        InputError: it is an address such as https://host/photo.jpg or rtsp://camera, or several files are alike.

    Example:
        >>> local_path("photo.jpg").name
        'photo.jpg'
    """
    path = Path(name)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # too long, or no name of a file at all: whoever opens it says so
        return path
    if address := _ADDRESS.match(str(name)):
        stream = address[1].lower() in _STREAMS
        remedy = "record the stream and give the video" if stream else "download it and give the file"
        raise InputError(f"{name}: is an address, and files are read here; {remedy}")
    return _alike(path)


def is_address(name: str) -> bool:
    """Return whether a name is an address, such as s3://bucket/photos.

    Example:
        >>> is_address("s3://bucket/photos"), is_address("photos/a.jpg")
        (True, False)
    """
    return re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE) is not None


def spelled_as(name: str, known: Collection[str]) -> str:
    """Return the one of known names that a name looks like, in whatever form its accents are, or else the name.

    Example:
        >>> spelled_as("cafe\u0301.jpg", ["caf\u00e9.jpg"]) == "caf\u00e9.jpg"
        True
    """
    if name.isascii() or name in known:
        return name
    alike = [each for each in known if normalize("NFC", each) == normalize("NFC", name)]
    return alike[0] if len(alike) == 1 else name


def _alike(path: Path) -> Path:
    """Return the path of a file that does not exist, with the parts that look like entries of the disk as those."""
    if str(path).isascii():
        return path
    found = Path(path.anchor)
    for part in path.parts[bool(path.anchor) :]:
        found /= _entry(found, part)
    return found


def _entry(folder: Path, name: str) -> str:
    """Return the name of the entry of a folder that looks like this one, or else the name."""
    try:
        if (folder / name).exists():
            return name
        alike = [entry.name for entry in folder.iterdir() if normalize("NFC", entry.name) == normalize("NFC", name)]
    except OSError:
        return name
    if len(alike) > 1:
        raise InputError(f"{folder / name}: {len(alike)} entries of the folder look like this name; rename one of them")
    return alike[0] if alike else name
