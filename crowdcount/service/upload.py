"""Uploads: read within limits of size, memory and time, and never written to a disk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from crowdcount.service.limits import Memory, Refused
from crowdcount.service.settings import Settings

_MOST_ZONES: Final = 2**20
_LONGEST_NAME: Final = 200


@dataclass(frozen=True)
class Upload:
    """An upload.

    Attributes:
        data: bytes of the image file.
        name: of the file, as the client calls it.
        zones: JSON text of zones; None for none.
    """

    data: bytes
    name: str = "image"
    zones: str | None = None


class _InMemory(MultiPartParser):
    """A parser that keeps files in memory; Starlette's writes those above 1 MiB to a temporary file."""

    spool_max_size = 2**62


@asynccontextmanager
async def receive_upload(request: Request, settings: Settings, memory: Memory) -> AsyncIterator[Upload]:
    """Yield the upload of a request; its bytes count as taken from `memory` until the block ends.

    Args:
        request: multipart form with `image` and, if wanted, `zones`; or the bytes of the image alone.
        settings: of the service.
        memory: of all uploads.

    Raises:
        Refused: it is too large, too slow or damaged, or there is too little memory.
    """
    with memory.share() as take:
        async with _in_time(settings):
            upload = await _read(request, settings.max_bytes, take)
        yield upload


@asynccontextmanager
async def _in_time(settings: Settings) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(settings.upload_seconds):
            yield
    except TimeoutError as error:
        message = f"the upload took more than {settings.upload_seconds:g} seconds"
        raise Refused(408, "slow", message) from error


async def receive_zones(request: Request, settings: Settings, memory: Memory) -> str:
    """Return the zones that are the body of a request, as text.

    Raises:
        Refused: they are too large, too slow or no text, or there is too little memory.
    """
    data = bytearray()
    with memory.share() as take:
        async with _in_time(settings):
            async for piece in _limited(request, _MOST_ZONES, take, _too_many_corners()):
                data += piece
    return _text(bytes(data))


async def _read(request: Request, most: int, take: Callable[[int], None]) -> Upload:
    stream = _limited(request, most, take, _too_large(most))
    if request.headers.get("content-type", "").startswith("multipart/"):
        return await _read_form(request, stream)
    data = bytearray()
    async for piece in stream:
        data += piece
    name, zones = request.query_params.get("name", "image"), request.query_params.get("zones")
    return Upload(_checked(bytes(data)), _plain_name(name), zones)


async def _limited(
    request: Request, most: int, take: Callable[[int], None], refused: Refused
) -> AsyncGenerator[bytes, None]:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise refused
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise refused
        take(len(piece))
        yield piece


def _too_large(most: int) -> Refused:
    return Refused(413, "size", f"the upload is larger than {most / 1e6:.3g} MB; shrink the image")


def _too_many_corners() -> Refused:
    return Refused(413, "size", "the zones are larger than 1 MiB; draw them with fewer corners")


async def _read_form(request: Request, stream: AsyncGenerator[bytes, None]) -> Upload:
    parser = _InMemory(request.headers, stream, max_files=2, max_fields=8, max_part_size=_MOST_ZONES)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:  # a form without a boundary is a KeyError
        raise Refused(400, "form", f"the form cannot be read ({error})") from error
    try:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise Refused(400, "form", "the form has no file named image")
        return Upload(
            _checked(await image.read()), _plain_name(image.filename or "image"), await _zones(form.get("zones"))
        )
    finally:
        await form.close()


async def _zones(part: UploadFile | str | None) -> str | None:
    if not isinstance(part, UploadFile):
        return part or None
    data = await part.read(_MOST_ZONES + 1)
    if len(data) > _MOST_ZONES:
        raise _too_many_corners()
    return _text(data)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(422, "zones", "the zones are not text in UTF-8") from error


def _checked(data: bytes) -> bytes:
    if not data:
        raise Refused(400, "form", "the image is empty")
    return data


def _plain_name(name: str) -> str:
    """Return the last part of a file name without letters that do not print."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable())[:_LONGEST_NAME] or "image"
