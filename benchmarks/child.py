"""Models in a fresh process, where no earlier work affects the peak of the memory; see `benchmarks.peak`."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch

from crowdcount.errors import InputError
from crowdcount.inference.model import Model
from crowdcount.zoo.config import build, read_config
from crowdcount.zoo.models import load_model

Result = TypeVar("Result")


def in_child(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a module-level function in a fresh process of the same Python and return its result.

    After SIGTERM or Ctrl-C the process ends as well.

    Raises:
        InputError: the process was killed.
    """
    others = active_children()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise InputError(
                f"{arguments[0]}: its process was killed, most likely because the memory ran out"
            ) from error
        except BaseException:
            # the pool would wait for the end of the call
            for process in active_children():
                if process not in others:
                    process.terminate()
            raise


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
