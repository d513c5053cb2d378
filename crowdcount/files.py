"""Files that are complete or absent."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside its own and rename it, so that no half of it is ever seen.

    Args:
        path: its folder is made where it is missing; an older file is replaced.
        content: bytes, or text to be written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
