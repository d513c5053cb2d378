"""Models and their peak memory in a fresh process, where no earlier work affects the peak."""

import ctypes
import gc
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import cv2
import torch

from crowdcount.errors import InputError
from crowdcount.inference.model import Model
from crowdcount.zoo.config import build, read_config
from crowdcount.zoo.models import load_model

Result = TypeVar("Result")

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def in_child(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a module-level function in a fresh process of the same Python and return its result.

    Raises:
        InputError: the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise InputError(
                f"{arguments[0]}: its process was killed, most likely because the memory ran out"
            ) from error


def opened(source: str, threads: int) -> tuple[Model, str]:
    """Set the threads; return a model without its size rule, and whether its weights are "trained" or "random".

    A model given by name gets its weights if they are on this computer, otherwise random ones; nothing is downloaded.
    Memory and speed do not depend on the weights.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    os.environ["CROWDCOUNT_OFFLINE"] = "1"
    try:
        model = load_model(source).density_model()
    except InputError:
        if Path(source).exists():
            raise
        return _untrained(source), "random"
    model.resize = None
    return model, "trained"


def _untrained(name: str) -> Model:
    """Return a model of the zoo like `load_model`, with random weights."""
    torch.manual_seed(0)
    model = build(read_config(name), name).density_model()
    model.network.to(memory_format=model.memory_format)
    model.resize = None
    return model


class Peak:
    """Peak memory of a block of code above the memory in use before it, in MiB.

    On a GPU it is the memory that torch allocates. On a CPU it is the peak of the resident memory (VmHWM) minus the
    resident memory at the start; freed memory is first returned to the system (malloc_trim of glibc), since its reuse
    would not be measured. The peak is reset by writing 5 to /proc/self/clear_refs; if that is forbidden, an earlier
    peak, such as that of loading the model, remains, and the figure is too high rather than too low. NaN without /proc.
    """

    mebibytes = float("nan")

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> "Peak":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            _forget_peak()
            self._before = resident("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        on_gpu = self.device.type == "cuda"
        most = torch.cuda.max_memory_allocated(self.device) if on_gpu else resident("VmHWM")
        self.mebibytes = (most - self._before) / 2**20 if most else float("nan")


def _forget_peak() -> None:
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        _CLEAR.write_text("5")


def resident(key: str) -> int:
    """Return an entry of /proc/self/status in bytes, 0 if it is missing."""
    lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)
