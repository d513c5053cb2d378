"""Examination of a data set in several processes."""

import multiprocessing
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import cv2
from tqdm import tqdm

from crowdcount.checks import check_number
from crowdcount.data.sample import Record, Split
from crowdcount.doctor.checks import Item, check_duplicates, check_frames, check_image, check_totals, image_files
from crowdcount.doctor.datasets import DataSet, find_adapter
from crowdcount.doctor.finding import CHECKS, Finding
from crowdcount.doctor.inspect_image import Inspection, inspect_image
from crowdcount.doctor.read_split import read_split
from crowdcount.doctor.report import Report, SplitFacts
from crowdcount.errors import InputError


def examine(data: DataSet, jobs: int = 1) -> Report:
    """Examine a data set: files, images, points, duplicates and published totals.

    Args:
        data: the data set.
        jobs: number of processes that decode images; it does not affect the report.

    Raises:
        InputError: if `jobs` is below 1 or no split can be found.
    """
    check_number("jobs", jobs, 1)
    records, findings = _read(data)
    images = _inspected(image_files(records), jobs)
    items = {split: [_item(split, record, images) for record in each] for split, each in records.items()}
    everything = [item for each in items.values() for item in each]
    findings += [finding for item in everything for finding in check_image(item)]
    for split, each in items.items():
        if not any(finding.check in ("frame", "doubt") and finding.split == split for finding in findings):
            findings += check_frames(split, each, data.root, find_adapter(data.name).published)
    findings += check_duplicates(everything)
    faulty = {split: sum(each.check == "file" and each.split == split for each in findings) for split in items}
    findings += check_totals(data.key, items, faulty)
    order = {check: i for i, check in enumerate(CHECKS)}
    facts = [SplitFacts.of(split, each) for split, each in items.items() if each]
    return Report(data, facts, sorted(findings, key=lambda finding: order[finding.check]))


def _read(data: DataSet) -> tuple[dict[Split, list[Record]], list[Finding]]:
    """Return the records of the readable splits (none for a split that does not exist) and all errors found."""
    records: dict[Split, list[Record]] = {}
    findings: list[Finding] = []
    for split in get_args(Split):
        read, faults = read_split(data, split)
        # A fault of a file that several splits share is one fault.
        known = {(each.check, each.file, each.detail) for each in findings if each.check != "split"}
        findings += [each for each in faults if (each.check, each.file, each.detail) not in known]
        if not any(fault.check == "split" for fault in faults):
            records[split] = read
    if not any(records.values()) and not findings:
        raise InputError(f"{data.root}: {data.name} finds no split here; give the folder that holds the data set")
    return records, findings


def _item(split: Split, record: Record, images: Mapping[Path, Inspection]) -> Item:
    assert isinstance(record.image, Path), "data sets in a folder have files"
    return Item(split, record, images[record.image])


def _inspected(paths: list[Path], jobs: int) -> dict[Path, Inspection]:
    """Inspect images in several processes, with a progress bar."""
    try:
        with _mapped(paths, min(jobs, len(paths))) as results:
            bar = tqdm(results, total=len(paths), unit="image", disable=None)
            return {each.path: each for each in bar}
    except BrokenProcessPool as error:
        raise InputError(
            f"a process that decodes images was killed ({error}): for lack of memory? Use --jobs 1"
        ) from error


@contextmanager
def _mapped(paths: list[Path], jobs: int) -> Iterator[Iterable[Inspection]]:
    if jobs <= 1:
        yield map(inspect_image, paths)
        return
    # Not forked: OpenCV's threads and the bar's would not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield pool.map(inspect_image, paths, chunksize=8)
