"""Reading of the weights in a TorchScript archive without running the program in it.

OpenAI published CLIP in this format. `torch.jit.load` would build the modules and compile their code, which is ignored
here: the archive is a zip file whose `data.pkl` maps each tensor to a range of a storage.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Module:
    """Placeholder for every class of the archive: attributes without behaviour."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = state


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive; zip files of torch.save have no constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the modules in a TorchScript archive, by their dotted names.

    Raises:
        pickle.UnpicklingError: if the archive holds more than modules, tensors and plain values.
        Exception: if it is damaged; zipfile, pickle and torch raise many types.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        content = archive.read(name)
        _check_memo(content)
        root = _Unpickler(io.BytesIO(content), archive, name.removesuffix("data.pkl") + "data/").load()
    return dict(_tensors(root, ""))


class _Unpickler(pickle.Unpickler):
    """Unpickler that builds modules without behaviour and tensors, and nothing else."""

    def __init__(self, stream: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self._archive = archive
        self._folder = folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the placeholder for a global of the archive, or reject it."""
        if module.startswith("__torch__"):
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return partial(_rebuild)  # a pickle may set attributes on what it was given
        if module == "torch.jit._pickle":  # typed lists; their elements suffice
            return list
        if module == "collections" and name == "OrderedDict":
            return dict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a module's weights")

    def persistent_load(self, pid: Any) -> Tensor:
        """Return a storage as a flat tensor."""
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._folder}{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _check_memo(content: bytes) -> None:
    """Refuse numbers of remembered objects that no pickle of this length has: Python allocates memory up to them."""
    for operation, number, _ in pickletools.genops(content):
        if operation.name == "LONG_BINPUT" and isinstance(number, int) and number > len(content):
            raise pickle.UnpicklingError(f"object number {number} in {len(content)} bytes")


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError(f"a tensor of size {size} in a storage of {storage.numel()} numbers")
    return storage.as_strided(size, stride, offset).clone()


def _tensors(module: _Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
