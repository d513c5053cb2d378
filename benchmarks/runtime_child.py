"""One runtime in its own process. Nothing here imports torch for those that do without it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.peak import Peak, resident
from crowdcount.images.read import read_image
from crowdcount.inference.base_predictor import BasePredictor

PRECISIONS = {"torch float32": "float32", "torch bfloat16": "bfloat16", "torch compiled": "float32"}


@dataclass(frozen=True)
class Measurement:
    """A runtime, measured.

    Attributes:
        runtime: its name.
        rate: images per second; None if it could not run.
        count: count of the image.
        peak: peak of the memory above that of the model, in MiB.
        whole: peak of the memory of the process, in MiB.
        ready: seconds from the file until the first small image was counted.
        remark: why it could not run.
    """

    runtime: str
    rate: float | None = None
    count: float | None = None
    peak: float | None = None
    whole: float | None = None
    ready: float | None = None
    remark: str = ""


def measured(source: str, runtime: str, file: Path, options: dict[str, Any]) -> Measurement:
    """Return the measurement of a runtime.

    Args:
        source: the model, for torch.
        runtime: a name of `PRECISIONS`, or of an exported file.
        file: the image.
        options: threads, repeats, and `files`, the exported file of each other runtime.
    """
    os.environ["OMP_NUM_THREADS"] = str(options["threads"])
    cv2.setNumThreads(options["threads"])
    image = np.asarray(read_image(file))
    start = time.perf_counter()
    predictor = _in_torch(source, runtime, options) if runtime in PRECISIONS else _exported(runtime, options)
    if runtime == "torch compiled" and (reason := _compile(predictor, image[:128, :128])):
        return Measurement(runtime, remark=reason)
    predictor.predict(image[:128, :128])
    ready, loaded = time.perf_counter() - start, resident("VmHWM")
    with Peak() as peak:
        best, count = _timed(predictor, image, options)
    best = min([best, *(_timed(predictor, image, options)[0] for _ in range(options["repeats"] - 1))])
    whole = max(loaded, resident("VmHWM")) / 2**20
    return Measurement(runtime, 1 / best, count, peak.mebibytes, whole, ready)


def _timed(predictor: BasePredictor, image: Any, options: dict[str, Any]) -> tuple[float, float]:
    # CPU time of one thread does not depend on the load of the machine
    clock = time.process_time if options["threads"] == 1 else time.perf_counter
    start = clock()
    count = predictor.predict(image).count
    return clock() - start, count


def _in_torch(source: str, runtime: str, options: dict[str, Any]) -> BasePredictor:
    import torch

    from crowdcount.predictor import Predictor

    torch.set_num_threads(options["threads"])
    return Predictor(source, device="cpu", precision=PRECISIONS[runtime])  # type: ignore[arg-type]


def _compile(predictor: Any, image: Any) -> str:
    """Compile the network of a predictor in torch; return why that is not possible, "" if it is."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InvalidCxxCompiler

    predictor.model.network.compile(dynamic=True)
    try:
        predictor.predict(image)
    except (TorchDynamoException, InvalidCxxCompiler) as error:
        return f"cannot be compiled: {str(error).strip().splitlines()[0][:120]}"
    return ""


def _exported(runtime: str, options: dict[str, Any]) -> BasePredictor:
    from crowdcount.runtimes.predictor import RuntimePredictor

    return RuntimePredictor(options["files"][runtime], threads=options["threads"])
