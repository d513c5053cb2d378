"""Properties of the processor that decide how fast a training runs on it: reuse of memory, and bfloat16."""

import ctypes
import sys
from contextlib import suppress
from typing import Final

import torch

_TRIM_THRESHOLD: Final = -1  # parameters of mallopt in malloc.h of glibc
_MMAP_MAX: Final = -4
_NEVER: Final = 2**31 - 1


def keep_memory() -> bool:
    """Let glibc keep freed memory for the next tensors, and return whether it does.

    By default, it returns every tensor above 32 MiB to the system, which clears the pages again at the next use: the
    maps of 8 crops of 448 pixels are larger, and the forward and backward pass of a small network then takes up to
    twice the time. The memory in use does not grow beyond its peak. Only this process is affected, until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    with suppress(AttributeError, OSError):  # another C library, such as musl
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, _NEVER))
    return False


def emulates_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 by way of float32, which is slower than float32 itself.

    That is so on x86 processors without AVX512_BF16 and AMX; of other processors nothing is known.
    """
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    able = torch.cpu.get_capabilities()
    return able.get("architecture") == "x86_64" and not (able.get("avx512_bf16") or able.get("amx_bf16"))
