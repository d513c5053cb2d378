"""Several data sets as one."""

from collections.abc import Mapping
from dataclasses import replace

from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError


class Concat(CrowdSource):
    """Several data sets, one after the other: each split is the splits of that name of all of them.

    The name of a record is that of its data set, a slash and its own name there; its attribute `source` is the name of
    the data set. Where some of the data sets have a validation split, that is the validation split of the whole: no
    part of the others is held out.

        source:
          class_path: crowdcount.data.Joined
          init_args:
            sources:
              sha: {class_path: crowdcount.data.ShanghaiTech, init_args: {root: data/ShanghaiTech, part: A}}
              qnrf: {class_path: crowdcount.data.UcfQnrf, init_args: {root: data/UCF-QNRF}}

    Args:
        sources: the data sets by the names you give them, in the order of the records.
    """

    def __init__(self, sources: Mapping[str, CrowdSource]) -> None:
        if not sources:
            raise InputError("sources: give at least one data set")
        for name in sources:
            if not name or "/" in name:
                raise InputError(f"sources: {name!r} is no name of a data set; use letters and digits, no slash")
        self.sources = dict(sources)

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split of all data sets."""
        return [_named(name, record) for name, source in self.sources.items() for record in source.records(split)]


def _named(name: str, record: Record) -> Record:
    return replace(record, name=f"{name}/{record.name}", attributes={**record.attributes, "source": name})
