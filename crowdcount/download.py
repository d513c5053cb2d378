"""Downloads that survive broken connections: a file has its final name when it is whole and right, or not at all."""

import hashlib
import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from crowdcount.errors import InputError

logger = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds a server may stay silent."""
ATTEMPTS = 5
"""Requests in a row that may bring nothing new before a server is given up."""
BACKOFF = 1.0
"""Seconds of the first pause; each further one is twice as long."""

_CHUNK = 1 << 20
_SPARE = 64 << 20  # bytes left free on the disk
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # what a later request may not meet any more
_HUB = "https://huggingface.co/"


class _Refused(Exception):
    """This server will not give the file, however often it is asked."""


def download(urls: Sequence[str], target: Path, sha256: str | None, size: int | None) -> str:
    """Fetch a file and return its SHA-256.

    An interrupted transfer is resumed, in this call or in a later one; the bytes so far are in TARGET.part. One process
    at a time may fetch a target. Proxies are those of the environment (https_proxy, no_proxy), and HF_ENDPOINT replaces
    huggingface.co.

    Args:
        urls: where the file is, tried in this order.
        target: final name; its folder exists.
        sha256: what the file must have; None takes what comes.
        size: bytes that the file must have, None where that is not known.

    Raises:
        InputError: no server gave the right file, or the disk is too small; says what each of them did.
    """
    part = target.with_name(f"{target.name}.part")
    said = []
    for url in map(_mirrored, urls):
        try:
            digest = _checked(url, part, sha256, size)
        except _Refused as reason:
            said.append(f"{url}: {reason}")
            continue
        part.replace(target)
        _tag_of(part).unlink(missing_ok=True)
        return digest
    raise InputError(f"{target.name} could not be downloaded:\n  " + "\n  ".join(said))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        InputError: names the folder and both sizes.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise InputError(
            f"{folder}: {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; make room, or set "
            "CROWDCOUNT_CACHE to a folder on another disk"
        )


def _mirrored(url: str) -> str:
    mirror = os.environ.get("HF_ENDPOINT")
    return url.replace(_HUB, mirror.rstrip("/") + "/", 1) if mirror and url.startswith(_HUB) else url


def _checked(url: str, part: Path, sha256: str | None, size: int | None) -> str:
    """Bring `part` to the whole file and return its digest; what was pieced together wrongly is fetched anew."""
    while True:
        pieces = _fetch(url, part, sha256, size)
        digest = file_sha256(part)
        if sha256 in (None, digest):
            return digest
        part.unlink()
        if pieces == 1:
            raise _Refused(f"gave other bytes than it should: SHA-256 {digest} instead of {sha256}")
        logger.warning("%s: the pieces do not fit together; starting over", part.name)


def _fetch(url: str, part: Path, sha256: str | None, size: int | None) -> int:
    """Bring `part` to the whole file; return in how many pieces it came, counting what was there before as one."""
    pieces, failures, furthest = int(part.exists()), 0, 0
    while True:
        try:
            if _complete(part, size):
                return pieces
            pieces += 1
            if _receive(url, part, sha256, size):
                return pieces
            reason = "the connection ended too early"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # there is nothing behind the bytes we have: they are of another file
                part.unlink()
            elif error.code not in _PASSING:
                raise _Refused(f"answered {error.code} {error.reason}") from error
            reason = f"it answered {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        reached = part.stat().st_size if part.exists() else 0
        # a server that starts over each time brings nothing new
        failures = 0 if reached > furthest else failures + 1
        furthest = max(furthest, reached)
        if failures == ATTEMPTS:
            raise _Refused(f"gave nothing new in {ATTEMPTS} requests; the last time {reason}")
        time.sleep(BACKOFF * 2**failures)


def _complete(part: Path, size: int | None) -> bool:
    """Whether all bytes are there already; too many are of another file."""
    if size is None or not part.exists():
        return False
    if part.stat().st_size > size:
        part.unlink()
    return part.exists() and part.stat().st_size == size


def _receive(url: str, part: Path, sha256: str | None, size: int | None) -> bool:
    """Append what one request gives; return whether the file is whole."""
    have, tag = (part.stat().st_size if part.exists() else 0), _tag_of(part)
    if have and sha256 is None and not tag.exists():
        have = 0  # nothing would show that the rest is of another version
    request = urllib.request.Request(url, headers={"User-Agent": "crowdcount", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag.exists():
            request.add_header("If-Range", tag.read_text())
    opener = urllib.request.build_opener()  # reads the proxies of the environment as it is now
    with opener.open(request, timeout=TIMEOUT) as response:
        start, total = _extent(response, have)
        if size is not None and total not in (None, size):
            raise _Refused(f"offers {total} bytes instead of {size}")
        require_space(part.parent, (total or size or 0) - start)
        _note_version(tag, response)
        return _append(response, part, start, total or size)


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return where the answer begins in the file, and how long the whole file is."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise _Refused(f"gave another part than the one from byte {have} on")
        return have, None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _note_version(tag: Path, response: http.client.HTTPResponse) -> None:
    """Keep what tells this version of the file from others, if the server says it, for the next request."""
    version = response.headers.get("ETag", "")
    if version.startswith('"'):  # a weak one does not promise equal bytes
        tag.write_text(version)
    else:
        tag.unlink(missing_ok=True)


def _append(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> bool:
    """Write what comes from byte `start` on; return whether nothing is missing."""
    reached = start
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, unit_divisor=1024, desc=part.stem, leave=False)
    with bar, part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        while block := response.read1(_CHUNK):  # what has come, so that a stall loses nothing
            reached += len(block)
            if total is not None and reached > total:
                raise _Refused(f"sends more than the {total} bytes there should be")
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise InputError(f"{part}: {error.strerror}; the download goes on from here next time") from error
            bar.update(len(block))
    return total is None or reached == total


def _tag_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")
