"""Limits of files of torch.save and torch.jit.save: nothing in them is larger than the file itself.

PyTorch reads storages from the zip archive that such a file is. It writes them uncompressed, but also reads compressed
ones, of which four megabytes fill four gigabytes of memory.
"""

import mmap
import re
import zipfile
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from crowdcount.errors import InputError

_CODE: Final = re.compile(r"[^/]+/code/")  # of TorchScript; compressed, and never read
_ALLOCATION: Final = re.compile(rb"c(?:builtins|__builtin__)\nbytearray\n")  # takes a size, and torch calls it


def check_archive(path: Path) -> None:
    """Check that a file of torch.save or torch.jit.save holds no more than its size tells.

    Raises:
        InputError: an entry is compressed, entries overlap, or the pickle allocates memory by itself.
        zipfile.BadZipFile: if it is a damaged archive.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive, path)
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
            allocates = any(map(_ALLOCATION.search, pickles))
    else:  # the pickles of earlier versions of torch.save stand before the storages
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            allocates = _ALLOCATION.search(content) is not None
    if allocates:
        raise InputError(f"{path}: holds a bytearray beside tensors and plain values; ask for the state dict alone")


def check_tensors(content: Any, path: Path) -> None:
    """Check that no tensor in nested dicts and lists repeats its storage until it is larger than the file.

    Raises:
        InputError: names the tensor.
    """
    limit, seen, left = path.stat().st_size, set(), [("", content)]
    while left:
        name, value = left.pop()
        if isinstance(value, Tensor):
            if value.numel() * value.element_size() > limit:
                raise InputError(
                    f"{path}: {name or 'a tensor'} of size {tuple(value.shape)} is larger than the file; save its "
                    "contiguous() form"
                )
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            left += value.items() if isinstance(value, dict) else ((name, each) for each in value)


def _check_entries(archive: zipfile.ZipFile, path: Path) -> None:
    entries = [entry for entry in archive.infolist() if not _CODE.match(entry.filename)]
    packed = next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise InputError(
            f"{path}: {packed.filename[:80]} in it is compressed ({packed.file_size} bytes in "
            f"{packed.compress_size}), which PyTorch never does; unpack the archive if it is one, or ask for a file "
            "written by torch.save"
        )
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError(f"{path}: its parts overlap: they are larger than the file; download or copy it again")
