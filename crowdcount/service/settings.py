"""Settings of the service: who may ask, how much, and how long it may take."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.files import read_text

LEAST_TOKEN: Final = 16
"""Minimum length of a token in characters; shorter ones can be guessed."""

_MIB: Final = 2**20


@dataclass(frozen=True)
class Settings:
    """Settings of the service.

    Attributes:
        token: what clients must send as `Authorization: Bearer TOKEN`; None lets everyone in.
        host_names: names under which the service is asked for, besides localhost and addresses. A page of another site
            cannot reach it by pointing a name of its own at this machine (DNS rebinding).
        max_bytes: maximum size of an upload in bytes.
        max_pixels: maximum number of pixels of an image.
        max_memory: limit in GiB of the memory for decoding an image.
        upload_memory: maximum size in bytes of all uploads in memory.
        rate: requests per minute that a client may make, all at once or spread; 0 for no limit.
        workers: images counted at the same time.
        queue: images that may wait.
        upload_seconds: time for an upload to arrive.
        count_seconds: time for waiting and counting.
        level: level of the intervals, where the model is calibrated.

    Raises:
        InputError: a number is out of its range, or the token is too short.
    """

    token: str | None = None
    host_names: tuple[str, ...] = ()
    max_bytes: int = 32 * _MIB
    max_pixels: int = 50_000_000
    max_memory: float = 1.0
    upload_memory: int = 256 * _MIB
    rate: float = 240
    workers: int = 1
    queue: int = 64
    upload_seconds: float = 30.0
    count_seconds: float = 60.0
    level: float = 0.9

    def __post_init__(self) -> None:
        for key, low in {"max_bytes": 1, "max_pixels": 1, "workers": 1, "queue": 0, "rate": 0}.items():
            check_number(key, getattr(self, key), low)
        for key in ("max_memory", "upload_seconds", "count_seconds"):
            check_number(key, getattr(self, key), 0, above=True)
        check_number("level", self.level, 0, 1, above=True)
        if self.token is not None and (len(self.token) < LEAST_TOKEN or not self.token.isascii()):
            raise InputError(
                f"the token: has {len(self.token)} characters; give {LEAST_TOKEN} or more, without accents, such as "
                "those of: openssl rand -base64 24"
            )


def read_token(file: Path | None, variable: str | None) -> str | None:
    """Return the token of a file, otherwise that of the environment, otherwise None.

    Args:
        file: file that holds the token alone.
        variable: value of the environment variable.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    if file is None:
        return variable or None
    token = read_text(file).strip()
    if not token:
        raise InputError(f"{file}: is empty; write the token into it", file)
    return token


def is_loopback(host: str) -> bool:
    """Return whether an address or name to bind to is reachable from this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, token: str | None, open_to_all: bool = False) -> None:
    """Refuse an address that other machines reach while nobody is asked for a token.

    Args:
        host: address or name to bind to.
        token: the token.
        open_to_all: whether this is meant, for instance behind a proxy that checks who asks.

    Raises:
        InputError: it is reachable, and neither a token nor `open_to_all` is given.
    """
    if token is None and not open_to_all and not is_loopback(host):
        raise InputError(
            f"--host {host}: other machines reach this address, and nobody is asked for a token; set CROWDCOUNT_TOKEN, "
            "give --token-file FILE, or, where something in front of it checks who asks, --no-token"
        )
