"""The table of a call: taken for it alone, gone on with, and checked at the end."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from crowdcount.batch.filesystems import State
from crowdcount.batch.items import Item
from crowdcount.batch.partitions import SETTINGS, Partitions
from crowdcount.batch.rows import Row
from crowdcount.errors import InputError
from crowdcount.files import printable, write_error
from crowdcount.folder_lock import alone_in


class Output:
    """The table of a call, which goes on with what an earlier one has counted. A `with` block takes the folder.

    Args:
        partitions: of the table.
        settings: what decides about the numbers.
        resume: whether there may be partitions.
    """

    def __init__(self, partitions: Partitions, settings: Mapping[str, Any], resume: bool) -> None:
        self.partitions, self.settings, self.resume = partitions, dict(settings), resume
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Take the folder and check what it holds.

        Raises:
            InputError: another call has it, or its counts are not to be gone on with, or have other settings.
        """
        with ExitStack() as stack:
            if (folder := self.partitions.folder) is not None:
                stack.enter_context(_writable(folder))
            self._check()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others have the folder."""
        self._stack.close()

    def _check(self) -> None:
        output, there = self.partitions.output, self.partitions.names()
        if others := self.partitions.others():
            raise InputError(
                f"{output}: holds {others[0]}, which is no partition, so that the folder could not be read as a table; "
                "give a folder of its own"
            )
        if there and not self.resume:
            raise InputError(
                f"{output}: holds {len(there)} partitions of an earlier call; go on with them (resume), or give "
                "another output"
            )
        before = self.partitions.settings()
        if there and before is None:
            raise InputError(f"{output}: holds {len(there)} partitions without {SETTINGS}; give another output")
        if before is not None and there:
            for key in sorted({*before, *self.settings}):
                old, new = before.get(key), self.settings.get(key)
                if old != new:
                    raise InputError(
                        f"{output}: was counted with another {key} ({old!r}, now {new!r}); give the same, or another "
                        "output"
                    )
        self.partitions.write_settings(self.settings)

    def pending(self, items: Sequence[Item]) -> list[Item]:
        """Return the images that are still to be counted, and drop their rows: errors, and files that have changed."""
        wanted = {printable(item.name): item.state for item in items}
        done: set[str] = set()
        for name in self.partitions.names():
            table = self.partitions.read(name)
            kept = [_is_done(row, wanted) and row["image"] not in done for row in table.to_pylist()]
            done |= {image for image, keep in zip(table["image"].to_pylist(), kept, strict=True) if keep}
            if not all(kept):
                self.partitions.keep(name, table.filter(pa.array(kept)))
        return [item for item in items if printable(item.name) not in done]

    def check_whole(self, items: Sequence[Item]) -> None:
        """Check that each image has one row.

        Raises:
            InputError: it has none, or several.
        """
        seen = Counter(self._images())
        missing = [name for item in items if not seen[name := printable(item.name)]]
        twice = [name for name, number in seen.items() if number > 1]
        if missing or twice:
            which = f"{len(missing)} images have no row, such as {missing[0]}" if missing else ""
            more = f"{len(twice)} images have several rows, such as {twice[0]}" if twice else ""
            raise InputError(
                f"{self.partitions.output}: {which or more}; all machines of a cluster must write to the same place, "
                "and one call at a time; resume to mend it"
            )

    def _images(self) -> Iterator[str]:
        for name in self.partitions.names():
            yield from self.partitions.read(name, ["image"])["image"].to_pylist()


def _is_done(row: Row, wanted: Mapping[str, State | None]) -> bool:
    """Return whether a row need not be counted again; those of other images are kept."""
    if row["image"] not in wanted:
        return True
    state = wanted[row["image"]]
    return row["error"] is None and state is not None and (row["bytes"], row["modified"]) == tuple(state)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Take a folder.

    Raises:
        InputError: another call writes to it, or this one may not.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(folder))
        except OSError as error:
            raise write_error(folder, error) from error
        yield
