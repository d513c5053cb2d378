"""Results of a call that are on disk as soon as they are made, and are there for the call that goes on from them."""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from crowdcount.cli.dataset_run import DATASET_OPTIONS
from crowdcount.cli.output_folder import OutputFolder
from crowdcount.cli.tables import CountResult, counts_csv, counts_json, counts_row, json_entry, read_entry
from crowdcount.errors import InputError
from crowdcount.files import LineFile, atomic_write, read_text
from crowdcount.geometry import as_points
from crowdcount.inference.base_predictor import BasePredictor

RECORD: Final = "counts.jsonl"
"""The record of a call: its settings, then a line for each file."""

_NO_SETTINGS: Final = frozenset(
    ["sources", "output", "resume", "packages", "batch", "device", "weights", "zones", "camera", *DATASET_OPTIONS]
)
"""Arguments that change no number beyond rounding, or whose content is a setting instead."""


def call_settings(args: argparse.Namespace, predictor: BasePredictor) -> dict[str, Any]:
    """Return what decides about the numbers of a call and its outputs, as JSON has it."""
    given = {name: value for name, value in vars(args).items() if name not in _NO_SETTINGS}
    zones = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in args.zones}
    weights = predictor.hash_weights()
    model = {"model": predictor.label, "protocol": predictor.protocol, "weights": weights}
    settings = {**given, **model, "zones": zones}
    if args.camera is not None:
        settings["camera"] = hashlib.sha256(args.camera.read_bytes()).hexdigest()
    if predictor.intervals is not None:
        settings["intervals"] = predictor.intervals.fingerprint
    parsed: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return parsed


class Results:
    """The tables of a call: `counts.jsonl`, and `counts.csv` and `counts.json` where they are asked for.

    The first two grow by a line as soon as a file is counted, so that they hold every finished file whatever ends the
    call; `counts.json` is written at its end. A call that resumes keeps the files that were counted without an error,
    with the same settings, and have not changed since.

    Args:
        output: the folder, taken by this call; None writes nothing.
        settings: see `call_settings`.
        parts: names of zones or expressions, for the columns of the CSV.

    Attributes:
        found: all results, those of an earlier call first.
    """

    def __init__(self, output: OutputFolder | None, settings: Mapping[str, Any], parts: Sequence[str]) -> None:
        self.output, self.settings, self.parts = output, settings, parts
        self.kinds = tuple(settings.get("save", ()))
        self._more = settings.get("interval") is not None, settings.get("camera") is not None
        self.found: list[CountResult] = []
        self._states: dict[str, list[int]] = {}
        self._tables: list[LineFile] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Begin the tables, with what the earlier call left.

        Raises:
            OSError: they cannot be written.
        """
        if self.output is None:
            return self
        for name in (name for each in self.found for name in each.outputs):
            self.output.take(name)
        start = json.dumps({"settings": self.settings}) + "\n" + "".join(map(self._record_line, self.found))
        self._begin(RECORD, start)
        if "csv" in self.kinds:
            self._begin("counts.csv", counts_csv(self.found, self.parts, *self._more))
        if "json" in self.kinds:
            self._stack.callback(self._write_json, self.output.table("counts.json"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the tables.

        Raises:
            OSError: they could not be written in full.
        """
        self._stack.close()

    def is_done(self, path: Path) -> bool:
        """Return whether an earlier call has counted a file."""
        return self._states.get(str(path)) == _state(path) is not None

    def add(self, path: Path, result: CountResult) -> None:
        """Append a result to the tables.

        Raises:
            OSError: it cannot be written now; it is tried again with the next one and at the end.
        """
        if self.output is None:
            return
        if (state := _state(path)) is not None:
            self._states[result.image] = state
        points = result.points if "json" in self.kinds else as_points([])
        self.found.append(replace(result, points=points))
        lines = [self._record_line(self.found[-1]), counts_row(result, self.parts, *self._more)]
        failed: OSError | None = None
        for table, line in zip(self._tables, lines, strict=False):
            try:
                table.append(line)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def _begin(self, name: str, start: str) -> None:
        assert self.output is not None
        table = self._stack.enter_context(LineFile(self.output.table(name), start))
        table.append()
        self._tables.append(table)

    def _write_json(self, path: Path) -> None:
        atomic_write(path, counts_json(self.found, str(self.settings["model"])))

    def _record_line(self, result: CountResult) -> str:
        return json.dumps({"state": self._states.get(result.image), **json_entry(result)}) + "\n"

    def resume(self) -> None:
        """Take over the results of the earlier call in the folder, where there was one.

        Raises:
            InputError: its record is damaged, or its settings are others.
        """
        if self.output is None or not (path := self.output.table(RECORD)).exists():
            return
        *lines, _ = read_text(path).split("\n")  # a line without its end was being written when the call ended
        try:
            settings = json.loads(lines[0])["settings"]
            entries = [json.loads(line) for line in lines[1:]]
            found = {entry["image"]: (read_entry(entry), entry["state"]) for entry in entries}
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"--resume: {path} is damaged ({error!r}); leave --resume out to count anew") from error
        self._check(path, settings)
        for image, (result, state) in found.items():
            if not result.error and state is not None and state == _state(Path(image)):
                self.found.append(result)
                self._states[image] = state

    def _check(self, path: Path, settings: Mapping[str, Any]) -> None:
        for name in sorted({*settings, *self.settings}):
            old, new = settings.get(name), self.settings.get(name)
            if old != new:
                raise InputError(
                    f"--resume: {path} was made with another {name} ({old!r}, now {new!r}); give the same, another "
                    "--output, or leave --resume out to count anew"
                )


def _state(path: Path) -> list[int] | None:
    """Return size and time of a file, by which a changed one is known; None if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]
