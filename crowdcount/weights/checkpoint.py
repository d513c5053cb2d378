"""Reading of checkpoints without running code in them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from crowdcount.errors import InputError
from crowdcount.files import is_file
from crowdcount.weights.file_kind import mistaken_kind
from crowdcount.weights.torch_archive import check_archive, check_tensors
from crowdcount.weights.torchscript import is_torchscript, read_torchscript


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint: tensors and plain values by name.

    Supported are safetensors files, files of torch.save (including NumPy scalars, in which published checkpoints often
    hold their best error) and the weights of TorchScript archives.

    Raises:
        InputError: if the file is missing or damaged, or holds more than tensors and plain values.
    """
    if not is_file(path):
        raise InputError(f"{path}: no such checkpoint")
    if mistaken := mistaken_kind(path):
        raise InputError(f"{path}: cannot be read as a checkpoint: it is {mistaken}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        check_archive(path)
        content = read_torchscript(path) if is_torchscript(path) else _load_plain(path)
    except InputError:
        raise
    except Exception as error:  # whatever the formats raise: pickle, zip, header, key and runtime errors
        raise InputError(f"{path}: cannot be read as a checkpoint ({_why(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path}: holds no state dict, but {type(content).__name__}")
    check_tensors(content, path)
    return content


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty for other files.

    Raises:
        InputError: if the file is damaged.
    """
    if path.suffix != ".safetensors":
        return {}
    if mistaken := mistaken_kind(path):
        raise InputError(f"{path}: cannot be read as a checkpoint: it is {mistaken}")
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # the library has an exception of its own
        raise InputError(f"{path}: cannot be read as a checkpoint ({_why(error)})") from error


def _load_plain(path: Path) -> Any:
    # numpy 1 kept the constructor elsewhere
    numbers: list[Any] = [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    numbers += [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
    with torch.serialization.safe_globals(numbers):
        return torch.load(path, map_location="cpu", weights_only=True)


def _scalar(dtype: Any, content: Any) -> Any:
    """Return a NumPy scalar of the given bytes; NumPy's own constructor allocates any size where none are given."""
    return np.frombuffer(content if isinstance(content, bytes) else content.encode("latin-1"), dtype)[0]


def _why(error: Exception) -> str:
    """Return the reason of a reading error, without torch's advice to load unsafely."""
    strange = re.search(r"unsupported (?:global:? ?GLOBAL|global|class) (\S+)", str(error), re.IGNORECASE)
    if strange:
        return (
            f"it holds {strange[1]} beside tensors and plain values, and whoever reads that runs the code of it; "
            "ask for the state dict alone"
        )
    inner = re.search(r"WeightsUnpickler error: (.+)", str(error))
    first = inner[1] if inner else str(error).split("\n")[0].split(". ")[0]
    return f"{type(error).__name__}: {first}"
