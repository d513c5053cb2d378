"""Parquet tables with a column of images: their paths, or the bytes of image files."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from crowdcount.batch.filesystems import reason, resolve
from crowdcount.errors import InputError

Kind = Literal["paths", "bytes"]

_ROWS: Final = 16
"""Rows decoded together; images are large."""


class Column:
    """A column of a Parquet table with paths or addresses of images, or the bytes of image files.

    Bytes may also be in structures with a field `bytes`, as the data sets of the Hugging Face Hub have them.

    Args:
        table: path or address of the table.
        name: of the column.

    Attributes:
        kind: "paths" or "bytes".
        rows: number of rows.

    Raises:
        InputError: the table cannot be read, or has no such column.
    """

    def __init__(self, table: str, name: str) -> None:
        self.table, self.name = table, name
        with self._opened() as file:
            self.rows: int = file.metadata.num_rows
            self.kind = self._kind(file.schema_arrow)
        self._values: Iterator[Any] = iter(())
        self._next = 0

    def paths(self) -> list[str | None]:
        """Return the paths of all rows."""
        return list(self._iterate())

    def image(self, row: int) -> bytes:
        """Return the bytes of the image in a row; rows in ascending order are read in one go.

        Raises:
            InputError: the row is empty, or the table cannot be read.
        """
        if self.kind == "paths":
            raise self._empty(row)
        if row < self._next or self._next == 0:
            self._values, self._next = self._iterate(), 0
        skipped, self._next = row - self._next, 0  # after an error the table is read from its start again
        value = next(islice(self._values, skipped, None))
        self._next = row + 1
        data = value["bytes"] if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise self._empty(row)
        return data

    def _empty(self, row: int) -> InputError:
        return InputError(f"{self.table}#{row}: column {self.name} is empty in this row")

    def _iterate(self) -> Iterator[Any]:
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=[self.name]):
                yield from batch.column(0).to_pylist()

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        filesystem, path = resolve(self.table)
        try:
            with filesystem.open_input_file(path) as source:
                yield pq.ParquetFile(source)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.table}: is no readable Parquet table ({reason(error)})") from error

    def _kind(self, schema: Any) -> Kind:
        if self.name not in schema.names:
            raise InputError(f"{self.table}: has no column {self.name!r}; name one of {', '.join(schema.names)}")
        kind = schema.field(self.name).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return "paths"
        structure = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if structure or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return "bytes"
        raise InputError(f"{self.table}: column {self.name} is {kind}; paths are strings, images are binary")
