"""Peak memory of a block of code; it needs no torch, so that processes without it can be measured."""

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Peak memory of a block of code above the memory in use before it, in MiB.

    On a GPU it is the memory that torch allocates. On a CPU it is the peak of the resident memory (VmHWM) minus the
    resident memory at the start; freed memory is first returned to the system (malloc_trim of glibc), since its reuse
    would not be measured. The peak is reset by writing 5 to /proc/self/clear_refs; if that is forbidden, an earlier
    peak, such as that of loading the model, remains, and the figure is too high rather than too low. NaN without /proc.

    Args:
        device: a GPU; None for the CPU.
    """

    mebibytes = float("nan")

    def __init__(self, device: "torch.device | None" = None) -> None:
        self.device = device if device is not None and device.type == "cuda" else None

    def __enter__(self) -> "Peak":
        if self.device is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            _forget_peak()
            self._before = resident("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        most = resident("VmHWM")
        if self.device is not None:
            import torch

            most = torch.cuda.max_memory_allocated(self.device)
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
