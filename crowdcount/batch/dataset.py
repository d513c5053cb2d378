"""Counting in a whole data set, behind `crowdcount.count_dataset` and `crowdcount predict --engine`."""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Unpack, get_args

from crowdcount.batch.report import PARTITION, Cluster, DatasetReport, Engine, Progress
from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.inference.model import CrowdModel
from crowdcount.predictor import Options


def count_dataset(
    source: str | Path | Iterable[str | Path],
    output: str | Path,
    model: str | Path | CrowdModel | None = None,
    *,
    engine: Engine = "local",
    resume: bool = False,
    column: str = "image",
    batch: int = 1,
    partition: int = PARTITION,
    workers: int = 1,
    cpus: float = 1,
    gpus: float = 0,
    address: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[Options],
) -> DatasetReport:
    """Count people in all images of a data set, and write a table of Parquet partitions.

    The table has a row for each image: `image`, `count`, `width`, `height`, `exact`, `doubt`, `error`, `bytes` and
    `modified`; `pandas.read_parquet(output)` reads it. An image that cannot be counted is a row with an error. Both
    engines give the same counts, bit for bit with the same number of threads. Partitions are written whole, so that a
    call with `resume` goes on where another one was ended by whatever it was: it counts the images that have no row,
    those with an error and those whose file has changed. At the end each image is checked to have one row.

    Args:
        source: a file, folder, pattern, list (.txt), Parquet table, or the address of a file or prefix in an object
            store (s3://, gs://, and what fsspec knows), or several of them; see
            `crowdcount.batch.items.find_items`.
        output: folder, or address in an object store. The machines of a cluster must share it.
        model: see `crowdcount.Predictor`.
        engine: "local" counts in this process, "ray" in the processes of Ray Data on this machine or a cluster.
        resume: go on with the table that is there; without it there must be none.
        column: of Parquet tables: paths or addresses of images, or the bytes of image files.
        batch: images of one size counted together. With 1 a count does not depend on other images; with more it may in
            the last digits.
        partition: images of a partition; so much work is lost at most where a process is killed.
        workers: processes of Ray that count, each with a copy of the model.
        cpus: CPUs of each process, and threads, at least one.
        gpus: GPUs of each process; 0.5 has two of them share one.
        address: of a running Ray cluster, such as "auto"; by default Ray is started on this machine.
        progress: called with each report of progress.
        **options: weights, device, precision, max_memory, long_side, image_scale, ignore and value_range, as for
            `Predictor`.

    Raises:
        InputError: the source holds no image, the model or the output cannot be had, the output was counted with other
            settings, or a package is missing: pyarrow (extra `parquet`) or Ray (extra `ray`).
    """
    check_choice("engine", engine, get_args(Engine))
    check_number("batch", batch, 1)
    check_number("partition", partition, 1)
    cluster = Cluster(workers, cpus, gpus, address)
    if engine == "local" and cluster != Cluster():
        raise InputError("workers, cpus, gpus and address: are for the engine ray; the local engine is this process")
    if find_spec("pyarrow") is None:
        raise InputError("count_dataset needs another package: pip install 'crowdcount-zoo[parquet]'")
    from crowdcount.batch.job import Job  # needs pyarrow

    words = [source] if isinstance(source, str | Path) else source
    job = Job(words, str(output), model, engine, resume, column, batch, partition, cluster, options)
    return job.run(progress or (lambda _: None))
