"""One runtime in its own process. Nothing here imports torch for those that do without it."""

import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.peak import Peak, resident
from benchmarks.race import Row
from crowdcount.images.read import read_image
from crowdcount.inference.base_predictor import BasePredictor

PRECISIONS = {"torch float32": "float32", "torch bfloat16": "bfloat16", "torch compiled": "float32"}


def measured(source: str, runtime: str, file: Path, options: dict[str, Any]) -> Row:
    """Return the row of a runtime.

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
    predictor.predict(image[:128, :128])
    ready, loaded = time.perf_counter() - start, resident("VmHWM")
    with Peak() as peak:
        best, count = _timed(predictor, image, options)
    best = min([best, *(_timed(predictor, image, options)[0] for _ in range(options["repeats"] - 1))])
    return {
        "runtime": runtime,
        "images/s": 1 / best,
        "count": f"{count:.3f}",
        "peak MiB above the model": peak.mebibytes,
        "peak MiB of the process": max(loaded, resident("VmHWM")) / 2**20,
        "seconds until ready": ready,
    }


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
    predictor = Predictor(source, device="cpu", precision=PRECISIONS[runtime])  # type: ignore[arg-type]
    if runtime == "torch compiled":
        predictor.model.network.compile(dynamic=True)
    return predictor


def _exported(runtime: str, options: dict[str, Any]) -> BasePredictor:
    from crowdcount.runtimes.predictor import RuntimePredictor

    return RuntimePredictor(options["files"][runtime], threads=options["threads"])
