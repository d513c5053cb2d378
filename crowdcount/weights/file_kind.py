"""Recognition of files that are given as weights by mistake, by their first bytes."""

import re
from pathlib import Path
from typing import Final

EXPORTED_SUFFIXES: Final = (".onnx", ".xml")
"""Ends of the names of exported models that are counted with: of onnxruntime, and of OpenVINO."""

_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_KINDS: Final = (  # first bytes in lower case, and what they belong to
    (rb"\s*(<!doctype html|<html|<head|<\?xml[^>]*>\s*<!doctype html)", "a web page (HTML), as servers send in place"
     " of a file: download the file itself, in a browser if the server asks for a login"),
    (rb"\s*<\?xml", "an XML text, as servers send with an error; download the file again"),
    (rb'\s*\{\s*"', "a JSON text, as servers send with an error; download the file again"),
    (rb"\x1f\x8b|bzh|\xfd7zxz|\x28\xb5\x2f\xfd|7z\xbc\xaf|rar!", "packed; unpack it, and give the weights in it"),
    (rb"\x89hdf", "an HDF5 file, as Keras and MATLAB write; weights of PyTorch are needed"),
    (rb"gguf", "a GGUF file; weights of PyTorch are needed"),
    (rb"\x89png|\xff\xd8\xff|gif8|%pdf", "an image or a document, not weights"),
)  # fmt: skip


def mistaken_kind(path: Path) -> str | None:
    """Return the kind of a file that holds no weights, with advice, to follow "is"; None if it may hold some.

    The safetensors header is JSON behind eight bytes of length, so that a file in that format never begins as a text.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "empty (0 bytes); download or copy it again"
    if start.startswith(_POINTER):
        size = re.search(rb"\nsize (\d{1,18})", start)
        whole = f" of {int(size[1]) / 1e6:.1f} MB" if size else ""
        return (
            f"the Git LFS pointer to a file{whole}, not the file; fetch it with `git lfs pull`, or download it from "
            "the page of the repository"
        )
    return next((kind for pattern, kind in _KINDS if re.match(pattern, start.lower())), None)
