"""Reading of incomplete splits with all errors, where adapters alone would stop at the first one."""

from crowdcount.data.annotations.error_collection import Remark, collect_errors, collect_remarks
from crowdcount.data.sample import Record, Split
from crowdcount.doctor.datasets import DataSet
from crowdcount.doctor.finding import Finding
from crowdcount.errors import InputError, error_path
from crowdcount.plausibility import FrameError


def read_split(data: DataSet, split: Split) -> tuple[list[Record], list[Finding]]:
    """Return the records of the valid files of a split, and a finding for each invalid file.

    An error that makes the whole split unreadable (in a list of images, or a missing folder) gives no records and a
    finding of the check "split".
    """
    with collect_errors() as faults, collect_remarks() as remarks:
        try:
            records = data.source().records(split)
        except InputError as error:
            return [], [
                *(_of_error(data, split, each) for each in faults),
                _finding("split", data, split, error),
                *(_of_remark(split, each) for each in remarks),
            ]
    return records, [
        *(_of_error(data, split, each) for each in faults),
        *(_of_remark(split, each) for each in remarks),
    ]


def _of_error(data: DataSet, split: Split, error: InputError) -> Finding:
    return _finding("frame" if isinstance(error, FrameError) else "file", data, split, error)


def _of_remark(split: Split, remark: Remark) -> Finding:
    check = "doubt" if remark.kind == "frame" else remark.kind
    return Finding(check, split, remark.path.name, remark.text, str(remark.path))


def _finding(check: str, data: DataSet, split: Split, error: InputError) -> Finding:
    path = error_path(error) or data.root
    message = str(error)
    if check != "split":  # its line in the report begins with the path
        message = message.removeprefix(f"{path}: ").removeprefix(f"{path.parent}: ")
    return Finding(check, split, path.name, message, str(path))
