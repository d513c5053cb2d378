"""Downloads that survive broken connections; a file gets its final name once it is complete and verified."""

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
"""Timeout of a server in seconds."""
ATTEMPTS = 5
"""Maximum number of consecutive requests to a server without progress."""
BACKOFF = 1.0
"""Duration of the first pause in seconds; it doubles with each further request without progress."""

HUB = "https://huggingface.co/"
"""Begin of the addresses of the Hugging Face hub."""

_CHUNK = 1 << 20
_SPARE = 64 << 20  # bytes left free on the disk
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # what a later request may not meet any more


class _Refused(Exception):
    """Error that a further request to the same server would not resolve."""


def download(urls: Sequence[str], target: Path, sha256: str | None, size: int | None) -> str:
    """Download a file and return its SHA-256.

    An interrupted transfer is resumed, in this call or a later one; the bytes so far are in TARGET.part. Only one
    process at a time may download a target. Proxies are taken from the environment (https_proxy, no_proxy), and
    HF_ENDPOINT replaces huggingface.co.

    Args:
        urls: addresses of the file, tried in this order.
        target: final name, in an existing folder.
        sha256: expected SHA-256; None accepts any.
        size: expected size in bytes, None if unknown.

    Raises:
        InputError: if no server sends the expected file (the message lists the reasons), or the disk is full.
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
    """Check that the disk has room for a file.

    Raises:
        InputError: if it has not; the message names the folder and both sizes.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise InputError(
            f"{folder}: {needed / 1e6:.0f} MB are needed, with {_SPARE / 1e6:.0f} MB to spare, and "
            f"{free / 1e6:.0f} MB are free; make room, or choose another disk (CROWDCOUNT_CACHE for the cache)"
        )


def mirror() -> str | None:
    """Return the address in HF_ENDPOINT, which replaces huggingface.co; None if it is not set.

    Raises:
        InputError: it is no address.
    """
    found = os.environ.get("HF_ENDPOINT")
    if found and not re.match("https?://", found):
        raise InputError(f"HF_ENDPOINT: {found!r} is no address; it should begin with https://")
    return found.rstrip("/") if found else None


def _mirrored(url: str) -> str:
    other = mirror() if url.startswith(HUB) else None
    return url.replace(HUB, f"{other}/", 1) if other else url


def _checked(url: str, part: Path, sha256: str | None, size: int | None) -> str:
    """Complete `part` and return its digest; a wrongly resumed file is downloaded once more."""
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
    """Complete `part`; return the number of pieces it consists of, bytes from earlier calls being one."""
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
    """Return whether all bytes are present; too many belong to another file."""
    if size is None or not part.exists():
        return False
    if part.stat().st_size > size:
        part.unlink()
    return part.exists() and part.stat().st_size == size


def _receive(url: str, part: Path, sha256: str | None, size: int | None) -> bool:
    """Append the response to one request; return whether the file is complete."""
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
    """Return the offset of the response in the file and the size of the file; None if it is another part."""
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
    """Store the ETag of this version of the file, if the server sends one, for the next request."""
    version = response.headers.get("ETag", "")
    if re.fullmatch('"[!#-~]*"', version):  # a weak one does not promise equal bytes
        tag.write_text(f"{url}\n{version}")
    else:
        tag.unlink(missing_ok=True)


def _version(tag: Path, url: str) -> str:
    """Return the version of the existing part if it came from this address, otherwise ""."""
    if not tag.is_file():
        return ""
    source, _, version = tag.read_bytes().decode("latin-1").partition("\n")
    return version if source == url and re.fullmatch('"[!#-~]*"', version) else ""


def _append(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> bool:
    """Write the response from byte `start` on; return whether the file is complete."""
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
    """Convert failures of the disk, which, unlike those of the network, are not tried again."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{part}: {error.strerror}; the download goes on from here next time") from error


def _etag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")
