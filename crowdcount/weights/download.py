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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from crowdcount.errors import InputError

logger = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds a server may stay silent."""
ATTEMPTS = 5
"""Requests in a row that may bring nothing new before a server is given up."""
BACKOFF = 1.0
"""Seconds of the first pause; each further one without progress is twice as long."""

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
        _etag_file(part).unlink(missing_ok=True)
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
            f"{folder}: {needed / 1e6:.0f} MB are needed, with {_SPARE / 1e6:.0f} MB to spare, and "
            f"{free / 1e6:.0f} MB are free; make room, or choose another disk (CROWDCOUNT_CACHE for the cache)"
        )


def _mirrored(url: str) -> str:
    mirror = os.environ.get("HF_ENDPOINT")
    if not mirror or not url.startswith(_HUB):
        return url
    if not re.match("https?://", mirror):
        raise InputError(f"HF_ENDPOINT: {mirror!r} is no address; it should begin with https://")
    return url.replace(_HUB, mirror.rstrip("/") + "/", 1)


def _checked(url: str, part: Path, sha256: str | None, size: int | None) -> str:
    """Bring `part` to the whole file and return its digest; what was pieced together wrongly is fetched anew, once."""
    for last in (False, True):
        pieces = _fetch(url, part, sha256, size)
        digest = file_sha256(part)
        if sha256 in (None, digest):
            return digest
        part.unlink()
        if last or pieces == 1:
            break
        logger.warning("%s: the pieces do not fit together; starting over", part.name)
    raise _Refused(f"gave other bytes than it should: SHA-256 {digest} instead of {sha256}")


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
            if error.code == 416:  # there is nothing behind the bytes we have
                if sha256 is not None and part.exists() and file_sha256(part) == sha256:
                    return pieces
                part.unlink(missing_ok=True)  # they are of another file
            elif error.code not in _PASSING:
                raise _Refused(f"answered {error.code} {error.reason}") from error
            reason = f"it answered {error.code} {error.reason}"
        except InputError:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        except ValueError as error:  # an address that is none: here, of a proxy or of where a server sends us
            raise _Refused(f"is no address that can be asked ({error})") from error
        reached = part.stat().st_size if part.exists() else 0
        # a server that starts over each time brings nothing new
        failures = 0 if reached > furthest else failures + 1
        furthest = max(furthest, reached)
        if failures == ATTEMPTS:
            raise _Refused(f"gave nothing new in {ATTEMPTS} requests; the last time {reason}")
        pause = BACKOFF * 2 ** max(failures - 1, 0)
        logger.warning("%s; trying again in %.1f s", reason, pause)
        time.sleep(pause)


def _complete(part: Path, size: int | None) -> bool:
    """Return whether all bytes are there already; too many are of another file."""
    if size is None or not part.exists():
        return False
    if part.stat().st_size > size:
        part.unlink()
    return part.exists() and part.stat().st_size == size


def _receive(url: str, part: Path, sha256: str | None, size: int | None) -> bool:
    """Append what one request gives; return whether the file is whole."""
    have, tag = (part.stat().st_size if part.exists() else 0), _etag_file(part)
    version = _version(tag, url)
    if have and sha256 is None and not version:
        have = 0  # nothing would show that the rest is of another version
    request = urllib.request.Request(url, headers={"User-Agent": "crowdcount", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if version:
            request.add_header("If-Range", version)
    opener = urllib.request.build_opener()  # reads the proxies of the environment as it is now
    with opener.open(request, timeout=TIMEOUT) as response:
        extent = _extent(response, have, version)
        if extent is None:  # of no use; without a part the next request asks for the whole file
            part.unlink(missing_ok=True)
            return False
        start, total = extent
        if size is not None and total not in (None, size):
            raise _Refused(f"offers {total} bytes instead of {size}")
        known = size if total is None else total
        require_space(part.parent, (known or 0) - start)
        with _on_disk(part):
            _note_version(tag, url, response)
        return _append(response, part, start, known)


def _extent(response: http.client.HTTPResponse, have: int, version: str) -> tuple[int, int | None] | None:
    """Return where the answer begins in the file and how long the whole file is; None if it is another part."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _Refused(f"packs what it sends ({response.headers['Content-Encoding']}), unasked")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        changed = version and response.headers.get("ETag", version) != version
        if match is None or int(match[1]) != have or changed:
            return None
        return have, None if match[2] == "*" else int(match[2])
    if response.status != 200:
        raise _Refused(f"answered {response.status} {response.reason}")
    length = response.headers.get("Content-Length", "")
    if length == "0":
        raise _Refused("sends an empty file")
    return 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None


def _note_version(tag: Path, url: str, response: http.client.HTTPResponse) -> None:
    """Keep what tells this version of the file from others, if the server says it, for the next request."""
    version = response.headers.get("ETag", "")
    if re.fullmatch('"[!#-~]*"', version):  # a weak one does not promise equal bytes
        tag.write_text(f"{url}\n{version}")
    else:
        tag.unlink(missing_ok=True)


def _version(tag: Path, url: str) -> str:
    """Return the version of the part that is there, if it came from this address; "" where that is not known."""
    if not tag.is_file():
        return ""
    source, _, version = tag.read_bytes().decode("latin-1").partition("\n")
    return version if source == url and re.fullmatch('"[!#-~]*"', version) else ""


def _append(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> bool:
    """Write what comes from byte `start` on; return whether nothing is missing."""
    reached = start
    with _on_disk(part):
        file = part.open("r+b" if start else "wb", buffering=0)  # nothing is left to be written when it closes
        file.seek(start)
        file.truncate()
    with file, tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.name[:20], leave=False) as bar:
        while block := response.read1(_CHUNK):  # what has come, so that a stall loses nothing
            reached += len(block)
            if total is not None and reached > total:
                raise _Refused(f"sends more than the {total} bytes there should be")
            with _on_disk(part):
                left = memoryview(block)
                while left:
                    left = left[file.write(left) :]
            bar.update(len(block))
    return reached == total if total is not None else reached > 0


@contextmanager
def _on_disk(part: Path) -> Iterator[None]:
    """Tell failures of this machine from those of the network, which are tried again."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{part}: {error.strerror}; the download goes on from here next time") from error


def _etag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")
