"""Addresses without their secrets: credentials are neither printed nor stored."""

import re
from typing import Final

HIDDEN: Final = "***"
"""Text in place of a secret."""

_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
_PARTS: Final = re.compile(r"([^:]+://)(.*@)?([^?#]*)([?#].*)?", re.DOTALL)


def mask_address(address: str) -> str:
    """Return an address without user, password, query and fragment; a text that is no address as it is.

    Cameras take passwords in queries under many names, so the query is hidden as a whole. What stands before the last
    "@" is hidden, so that passwords with a slash that is not escaped are, too; if a query begins before it, all is.

    Example:
        >>> mask_address("rtsp://admin:secret@10.0.0.7:554/stream?channel=1&token=abc")
        'rtsp://***@10.0.0.7:554/stream?***'
    """
    parts = _PARTS.fullmatch(address)
    if parts is None:
        return address
    scheme, secret, place, query = parts.groups()
    if secret and re.search("[?#]", secret):
        return f"{scheme}{HIDDEN}"
    return f"{scheme}{HIDDEN + '@' if secret else ''}{place}{query[0] + HIDDEN if query else ''}"


def mask_text(text: str) -> str:
    """Return a text, such as an error message, with every address in it masked.

    Example:
        >>> mask_text("cannot open http://me:secret@host/a")
        'cannot open http://***@host/a'
    """
    return _ADDRESS.sub(lambda found: mask_address(found[0]), text)


def mask_all_but_host(address: str) -> str:
    """Return scheme and host of an address alone: paths of webhooks are secrets.

    Example:
        >>> mask_all_but_host("https://hooks.example.org/services/T0/B1/xyz")
        'https://hooks.example.org/***'
    """
    scheme, _, rest = mask_address(address).partition("://")
    host, slash, _ = rest.partition("/")
    return f"{scheme}://{host.partition('?')[0]}{slash and slash + HIDDEN}"
