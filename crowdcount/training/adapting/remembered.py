"""Outputs of a frozen backbone, computed once for each crop and frame: most of a training's time is spent in it."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

ROOM: Final = 2**30
"""Bytes of the outputs that are kept; the ones longest unused go first."""

Maps = tuple[Tensor, ...]


class Remembered:
    """Memory of the outputs of a module that is deterministic and does not change.

    Args:
        module: takes a batch (B, ...) and returns a tensor (B, ...), or a list of such tensors.
        room: see `ROOM`.
    """

    def __init__(self, module: nn.Module, room: int = ROOM) -> None:
        self.module = module
        self._room, self._used = room, 0
        self._kept: OrderedDict[bytes, Maps] = OrderedDict()
        self._plain: Callable[[Tensor], Any] = module.forward
        self._lists = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the module answer from memory inside the context; its weights may not differ between contexts."""
        self.module.forward = self._forward
        try:
            yield
        finally:
            del self.module.forward  # the method of the class shows again

    def _forward(self, batch: Tensor) -> Any:
        if batch.device.type != "cpu":  # elsewhere hashing takes longer than computing
            return self._plain(batch)
        keys = [_key(sample) for sample in batch]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: number for number, key in enumerate(keys) if key not in found}
        if missing:
            found |= zip(missing, self._computed(batch[list(missing.values())]), strict=True)
        self._keep(found)
        maps = [torch.stack(samples) for samples in zip(*(found[key] for key in keys), strict=True)]
        return maps if self._lists else maps[0]

    def _computed(self, batch: Tensor) -> list[Maps]:
        """Return the maps of each sample."""
        with torch.inference_mode(False), torch.no_grad():  # tensors of inference mode could not serve a training
            output = self._plain(batch.clone())
        self._lists = not isinstance(output, Tensor)
        levels = output if self._lists else [output]
        return [tuple(each.clone() for each in maps) for maps in zip(*levels, strict=True)]

    def _keep(self, found: dict[bytes, Maps]) -> None:
        for key, maps in found.items():
            if key not in self._kept:
                self._used += _bytes(maps)
            self._kept[key] = maps
            self._kept.move_to_end(key)
        while self._used > self._room and len(self._kept) > 1:
            _, maps = self._kept.popitem(last=False)
            self._used -= _bytes(maps)


def _key(sample: Tensor) -> bytes:
    digest = hashlib.blake2b(sample.detach().contiguous().numpy().data.cast("B"), digest_size=16)
    digest.update(repr(tuple(sample.shape)).encode())
    return digest.digest()


def _bytes(maps: Maps) -> int:
    return sum(each.nbytes for each in maps)
