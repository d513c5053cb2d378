"""Sessions: the graph of an exported model in the runtime of its file, fed with arrays."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.weights.file_kind import EXPORTED_SUFFIXES

Array = NDArray[np.float32]


class Session(Protocol):
    """A graph in a runtime.

    Attributes:
        metadata: texts that the file stores; see `Description`.
    """

    @property
    def metadata(self) -> Mapping[str, str]: ...  # noqa: D102

    def run(self, images: Array) -> dict[str, Array]:
        """Return the outputs by name for an input (N, 3, H, W); see `Description`.

        Raises:
            InputError: the memory is too small.
        """


def is_exported(path: Path) -> bool:
    """Return whether a file is named like an exported model that is counted with here: .onnx, or OpenVINO's .xml."""
    return path.suffix.lower() in EXPORTED_SUFFIXES


def open_session(path: Path, device: str = "auto", threads: int | None = None) -> Session:
    """Open the graph of a file in its runtime.

    Args:
        path: an .onnx file, or an .xml file of OpenVINO with its .bin beside it.
        device: "auto" or "cpu"; "cuda" or "cuda:1" for onnxruntime-gpu, OpenVINO's own names for OpenVINO.
        threads: threads of the runtime; None takes the environment's OMP_NUM_THREADS, as torch does, and without it
            leaves the number to the runtime.

    Raises:
        InputError: the file, the runtime or the device is missing, or the file is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such model")
    if not is_exported(path):
        raise InputError(f"{path}: an exported model ends in {' or '.join(EXPORTED_SUFFIXES)}")
    threads = threads or _environment_threads()
    if path.suffix.lower() == ".onnx":
        from crowdcount.runtimes.onnx_session import OnnxSession

        return OnnxSession(path, device, threads)
    from crowdcount.runtimes.openvino_session import OpenVinoSession

    return OpenVinoSession(path, device, threads)


def require(package: str, extra: str) -> None:
    """Check that an optional package is installed.

    Raises:
        InputError: it is not; the message names the extra that brings it.
    """
    if find_spec(package) is None:
        raise InputError(f"{package} is not installed; pip install 'crowdcount-zoo[{extra}]' brings it")


def first_line(error: Exception) -> str:
    """Return the first line of an error of a runtime; the rest are the places in its sources."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def out_of_memory(error: Exception) -> bool:
    """Return whether an error of a runtime means that memory ran out."""
    return isinstance(error, MemoryError) or "alloc" in str(error).lower()


def _environment_threads() -> int | None:
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) else None
