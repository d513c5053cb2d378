"""Gathering of values over the processes of a distributed evaluation."""

import sys
from typing import TypeVar

Value = TypeVar("Value")


def all_gather(own: list[Value]) -> list[Value]:
    """Return the values of all processes in the order of their ranks (a collective call)."""
    torch = sys.modules.get("torch")
    if torch is None:  # no process group is without it, and counting with an exported model needs no torch
        return own
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    gathered: list[list[Value]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, own)
    return [value for share in gathered for value in share]
