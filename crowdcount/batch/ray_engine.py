"""The engine of many processes and machines: Ray Data hands partitions to workers, each with a model of its own."""

import json
import logging
import math
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import cv2
import torch

from crowdcount.batch.filesystems import State
from crowdcount.batch.items import Item
from crowdcount.batch.partitions import Partitions
from crowdcount.batch.report import Cluster, Report
from crowdcount.batch.worker import Worker, errors_of
from crowdcount.errors import InputError
from crowdcount.inference.model import CrowdModel
from crowdcount.predictor import Options, Predictor
from crowdcount.signals import restored_sigterm

_SMALLEST_STORE: Final = 2**28
"""Bytes of Ray's memory for objects: the model, and little else."""


class _Actor:
    """A process of Ray: a model, loaded once, and a worker with it."""

    def __init__(self, model: Any, options: Options, output: str, batch: int, column: str, threads: int) -> None:
        import ray

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        predictor = Predictor(ray.get(model), **options)
        self.worker = Worker(predictor, Partitions(output), batch, column)

    def __call__(self, table: dict[str, Any]) -> dict[str, list[Any]]:
        """Count the images of partitions and return how many there were, and the errors."""
        done = [self.worker.count_whole(_read(text)) for text in table["items"]]
        return {
            "images": [len(rows) for rows in done],
            "errors": [json.dumps(errors_of(rows)) for rows in done],
            "worker": [os.getpid()] * len(done),
        }


def count_with_ray(
    model: CrowdModel,
    options: Options,
    output: str,
    chunks: Sequence[Sequence[Item]],
    cluster: Cluster,
    batch: int,
    column: str,
) -> Generator[Report, None, None]:
    """Count images, and yield a report of each partition that has been written.

    A process that dies is started anew by Ray, and what it was doing is done again.

    Args:
        model: to be copied to each worker.
        options: of its `Predictor`.
        output: of the partitions.
        chunks: the images of each partition.
        cluster: the workers.
        batch: see `Worker`.
        column: see `Worker`.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    if not chunks:
        return
    with _running(cluster, model) as ray:
        given = [{"items": _text(chunk)} for chunk in chunks]
        counted = ray.data.from_items(given, override_num_blocks=len(given)).map_batches(
            _Actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(cluster.workers, len(given))),
            fn_constructor_args=(ray.put(model), options, output, batch, column, cluster.threads),
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
        )
        for row in counted.iter_rows():
            yield row["images"], json.loads(row["errors"]), row["worker"]


def _text(items: Sequence[Item]) -> str:
    return json.dumps(items)  # also names that are not UTF-8, which Arrow would not take


def _read(text: str) -> list[Item]:
    return [Item(name, state and State(*state), row) for name, state, row in json.loads(text)]


@contextmanager
def _running(cluster: Cluster, model: CrowdModel) -> Iterator[Any]:
    """Start Ray, or connect to it, and leave it as it was."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("engine: ray needs another package: pip install 'crowdcount-zoo[ray]'") from error
    started = not ray.is_initialized()
    try:
        if started:
            _start(ray, cluster, model)
        _quieten(ray)
        yield ray
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, cluster: Cluster, model: CrowdModel) -> None:
    size = sum(each.nbytes for each in model.network.state_dict().values())
    cores = os.cpu_count() or 1
    own = {
        "num_cpus": max(cores, math.ceil(cluster.workers * cluster.cpus)),
        "object_store_memory": _SMALLEST_STORE + 2 * size,
        "include_dashboard": False,
    }
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    with restored_sigterm():  # Ray would have it end the process in the middle of anything
        if cluster.address is None:
            ray.init(address="local", **own, **quiet)
        else:
            try:
                ray.init(address=cluster.address, **quiet)
            except (ConnectionError, ValueError) as error:
                raise InputError(f"address: {cluster.address}: no Ray cluster answers there ({error})") from error
    there = ray.cluster_resources().get("GPU", 0)
    if cluster.address is None and there < cluster.workers * cluster.gpus:
        raise InputError(f"gpus: {cluster.workers} workers with {cluster.gpus:g} each; this machine has {there:g}")


def _quieten(ray: Any) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
