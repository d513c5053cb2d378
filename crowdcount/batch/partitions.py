"""The table of counts: Parquet partitions in a folder or an object store, each written whole or not at all."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from crowdcount.batch.filesystems import reason, resolve
from crowdcount.batch.rows import Row
from crowdcount.errors import InputError
from crowdcount.files import atomic_write, write_error

SETTINGS: Final = "_settings.json"
"""Settings of the counts; readers of Parquet folders pass over names that begin so."""

SCHEMA: Final = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("count", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("exact", pa.bool_()),
        pa.field("doubt", pa.float64()),
        pa.field("error", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.int64()),
    ]
)
"""Columns: the image as it was named; people in it; its size in pixels; `exact` and `doubt` of the prediction; why it
could not be counted; size in bytes and time of change in nanoseconds of its file, or of the table that it is in."""


class Partitions:
    """Partitions of a table of counts.

    Args:
        output: a folder, or an address in an object store.

    Attributes:
        folder: the folder; None in an object store.
    """

    def __init__(self, output: str) -> None:
        self.output = output
        self._filesystem, path = resolve(output)
        self._path = path.rstrip("/") or path  # in a store a//b is another place than a/b
        self.folder = Path(self._path) if isinstance(self._filesystem, fs.LocalFileSystem) else None

    def names(self) -> list[str]:
        """Return the names of the partitions.

        Raises:
            InputError: the folder or prefix cannot be listed.
        """
        return sorted(name for name in self._entries() if name.endswith(".parquet"))

    def others(self) -> list[str]:
        """Return the names of what else is there and no reader of Parquet folders passes over.

        Raises:
            InputError: the folder or prefix cannot be listed.
        """
        return sorted(name for name in self._entries() if not name.endswith(".parquet") and name[0] not in "._")

    def _entries(self) -> list[str]:
        selector = fs.FileSelector(self._path, allow_not_found=True)
        try:
            found = self._filesystem.get_file_info(selector)
        except Exception as error:  # the libraries of object stores raise nearly anything
            raise InputError(f"{self.output}: cannot be listed ({reason(error)})") from error
        return [each.base_name for each in found if each.base_name]  # stores may mark a folder by an empty object

    def has(self, name: str) -> bool:
        """Return whether there is such a partition."""
        found = self._filesystem.get_file_info(f"{self._path}/{name}")
        return bool(found.type is fs.FileType.File)

    def write(self, rows: Sequence[Row]) -> str:
        """Write a partition and return its name, which follows from the images: written again, it replaces itself.

        Raises:
            InputError: it cannot be written.
        """
        name = self.name([(row["image"], row.get("bytes"), row.get("modified")) for row in rows])
        self._write_table(name, pa.Table.from_pylist(list(rows), SCHEMA))
        return name

    @staticmethod
    def name(keys: Iterable[tuple[str, int | None, int | None]]) -> str:
        """Return the name of the partition of images: names with sizes and times of their files."""
        text = json.dumps(list(keys))
        return f"part-{hashlib.sha256(text.encode()).hexdigest()[:20]}.parquet"

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a partition.

        Raises:
            InputError: it is damaged.
        """
        try:
            with self._filesystem.open_input_file(f"{self._path}/{name}") as file:
                return pq.read_table(file, columns=None if columns is None else list(columns))
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{self.output}/{name}: is damaged ({reason(error)}); remove it, then its images are counted anew"
            ) from error

    def keep(self, name: str, table: pa.Table) -> None:
        """Replace a partition by a part of it, or remove it if nothing of it is kept."""
        if table.num_rows:
            self._write_table(name, table)
        else:
            self._filesystem.delete_file(f"{self._path}/{name}")

    def settings(self) -> dict[str, Any] | None:
        """Return the settings of the counts, None where there are none.

        Raises:
            InputError: they are damaged.
        """
        try:
            with self._filesystem.open_input_file(f"{self._path}/{SETTINGS}") as file:
                found: dict[str, Any] = json.loads(file.readall())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.output}/{SETTINGS}: is damaged ({reason(error)}); give another output") from error
        return found

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of the counts."""
        self._write(SETTINGS, json.dumps(settings, indent=1).encode())

    def _write_table(self, name: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._write(name, sink.getvalue().to_pybytes())

    def _write(self, name: str, content: bytes) -> None:
        """Write a file that is there in full or not at all: stores show an object when it has been sent."""
        if self.folder is not None:
            try:
                atomic_write(self.folder / name, content, sync=True)
            except OSError as error:
                raise write_error(self.folder / name, error) from error
            return
        try:
            self._filesystem.create_dir(self._path, recursive=True)
            with self._filesystem.open_output_stream(f"{self._path}/{name}") as file:
                file.write(content)
        except Exception as error:  # as above
            raise InputError(f"{self.output}/{name}: cannot be written ({reason(error)})") from error
