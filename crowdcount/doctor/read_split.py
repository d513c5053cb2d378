"""Reading a split whose files are incomplete: adapters stop at the first fault, the doctor wants all of them."""

from crowdcount.data.annotations.error_collection import collect_errors
from crowdcount.data.sample import Record, Split
from crowdcount.doctor.datasets import DataSet
from crowdcount.doctor.finding import Finding
from crowdcount.errors import InputError, error_path


def read_split(data: DataSet, split: Split) -> tuple[list[Record], list[Finding]]:
    """Return the records of a split whose files are in order, and a finding for each file that is not.

    One reading gives all of them. A fault without which nothing can be read (of a list of images, or a folder that is
    not there) leaves no record, and a finding of the check "split".
    """
    with collect_errors() as faults:
        try:
            records = data.source().records(split)
        except InputError as error:
            return [], [
                *(_finding("file", data, split, each) for each in faults),
                _finding("split", data, split, error),
            ]
    return records, [_finding("file", data, split, each) for each in faults]


def _finding(check: str, data: DataSet, split: Split, error: InputError) -> Finding:
    path = error_path(error) or data.root
    message = str(error)
    if check == "file":  # its line of the report begins with the path
        message = message.removeprefix(f"{path}: ").removeprefix(f"{path.parent}: ")
    return Finding(check, split, path.name, message, str(path))
