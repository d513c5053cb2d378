"""Engines, what they may use, and what they report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from crowdcount.checks import check_number

Engine = Literal["local", "ray"]

Report = tuple[int, Sequence[str], int]
"""Number of images that an engine has counted, their errors, and the number of the process."""

PARTITION: Final = 256
"""Images of a partition."""


@dataclass(frozen=True)
class Cluster:
    """Processes of Ray and what each of them may use.

    Attributes:
        workers: number of processes that count.
        cpus: CPUs of each; a process has as many threads, at least one.
        gpus: GPUs of each, or a fraction of one.
        address: of a running cluster, such as "auto"; None starts Ray on this machine, where it is not running.

    Raises:
        InputError: a number is out of its range.
    """

    workers: int = 1
    cpus: float = 1
    gpus: float = 0
    address: str | None = None

    def __post_init__(self) -> None:
        check_number("workers", self.workers, 1)
        check_number("cpus", self.cpus, 0, above=True)
        check_number("gpus", self.gpus, 0)

    @property
    def threads(self) -> int:
        """Threads of a process."""
        return max(1, math.floor(self.cpus))


@dataclass(frozen=True)
class Progress:
    """Images that have been counted since the last report.

    Attributes:
        images: their number.
        errors: why some of them could not be counted.
        worker: number of the process that did it.
        total: number of all images that this call is to count.
    """

    images: int
    errors: Sequence[str]
    worker: int
    total: int


@dataclass
class DatasetReport:
    """The outcome of `crowdcount.count_dataset`.

    Attributes:
        output: folder or address of the table.
        images: number of images of the source, each of which has a row there.
        kept: number of images that an earlier call had counted.
        errors: number of images that could not be counted; the column `error` of the table says why.
        left_out: what the folders hold beside images.
    """

    output: str
    images: int
    kept: int
    errors: int = 0
    left_out: list[str] = field(default_factory=list)
