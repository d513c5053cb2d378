"""Shared parts of the benchmarks: timing in turns, and arguments."""

import argparse
import time
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from tqdm import tqdm

Row = dict[str, Any]
Result = TypeVar("Result")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def race(
    contestants: list[Callable[[], Result]], repeats: int, what: str
) -> tuple[tuple[float, ...], tuple[Result, ...]]:
    """Run the contestants in turns; return the best time in seconds and the result of each."""
    best = [float("inf")] * len(contestants)
    results: dict[int, Result] = {}
    for _ in tqdm(range(repeats), desc=what, leave=False, disable=None):
        for index, contestant in enumerate(contestants):
            start = time.perf_counter()
            results[index] = contestant()
            best[index] = min(best[index], time.perf_counter() - start)
    return tuple(best), tuple(results[index] for index in range(len(contestants)))


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value
