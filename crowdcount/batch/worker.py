"""The work on a few images at a time, whose rows become one partition; an engine decides where it is done."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from crowdcount.batch.items import Item
from crowdcount.batch.partitions import Partitions
from crowdcount.batch.rows import Row, count_items
from crowdcount.files import printable
from crowdcount.predictor import Predictor


@dataclass(frozen=True)
class Worker:
    """A predictor that writes partitions.

    Attributes:
        predictor: a model of density.
        partitions: of the table.
        batch: images of one size counted together.
        column: of tables.
    """

    predictor: Predictor
    partitions: Partitions
    batch: int
    column: str

    def count(self, items: Sequence[Item]) -> Generator[Row, None, None]:
        """Yield the rows of images, and write them as a partition at the end, also at an early one."""
        rows: list[Row] = []
        try:
            with closing(count_items(self.predictor, items, self.batch, self.column)) as counted:
                for row in counted:
                    rows.append(row)
                    yield row
        finally:
            if rows:
                self.partitions.write(in_order(rows, items))

    def count_whole(self, items: Sequence[Item]) -> list[Row]:
        """Return the rows of images, and write them as a partition; one that is there already is only read.

        A distributed engine does again what a process was doing that died, and perhaps what it had done.
        """
        keys = [(printable(item.name), *(item.state or (None, None))) for item in items]
        name = self.partitions.name(keys)
        if self.partitions.has(name):
            found: list[Row] = self.partitions.read(name).to_pylist()
            return found
        rows = in_order(list(count_items(self.predictor, items, self.batch, self.column)), items)
        self.partitions.write(rows)
        return rows


def in_order(rows: Sequence[Row], items: Sequence[Item]) -> list[Row]:
    """Return rows in the order of their images."""
    place = {printable(item.name): number for number, item in enumerate(items)}
    return sorted(rows, key=lambda row: place[row["image"]])


def errors_of(rows: Sequence[Row]) -> list[str]:
    """Return why images could not be counted."""
    return [row["error"] for row in rows if row.get("error")]
