"""The engine of one process."""

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

from crowdcount.batch.items import Item
from crowdcount.batch.report import Report
from crowdcount.batch.worker import Worker, errors_of


def count_locally(worker: Worker, chunks: Iterable[Sequence[Item]]) -> Generator[Report, None, None]:
    """Count images, and yield a report of each; what was counted when the call ends early is kept.

    Args:
        worker: with the model.
        chunks: the images of each partition.
    """
    for chunk in chunks:
        with closing(worker.count(chunk)) as rows:
            for row in rows:
                yield 1, errors_of([row]), os.getpid()
