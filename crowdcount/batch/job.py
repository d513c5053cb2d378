"""A call of `count_dataset`: what is to be counted, by whom, into which table."""

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crowdcount.batch.items import Item, find_items
from crowdcount.batch.local import count_locally
from crowdcount.batch.output import Output
from crowdcount.batch.partitions import Partitions
from crowdcount.batch.ray_engine import count_with_ray
from crowdcount.batch.report import Cluster, DatasetReport, Engine, Progress, Report
from crowdcount.batch.worker import Worker
from crowdcount.inference.model import CrowdModel
from crowdcount.predictor import Options, Predictor
from crowdcount.weights.state_dict import state_digest

_NUMBERS: Final = ("precision", "max_memory", "value_range")
"""Options that decide about the numbers, beside those that the protocol of the model states."""

_OF_THE_MODEL: Final = ("weights", "intervals", "long_side", "image_scale", "ignore")
"""Options that a model has once it is loaded."""


@dataclass(frozen=True)
class Job:
    """The arguments of `count_dataset`, see there."""

    words: Iterable[str | Path]
    output: str
    model: str | Path | CrowdModel | None
    engine: Engine
    resume: bool
    column: str
    batch: int
    partition: int
    cluster: Cluster
    options: Options

    def run(self, progress: Callable[[Progress], None]) -> DatasetReport:
        """Count, report progress and return the outcome."""
        found = find_items(self.words, self.column, self.output)
        # with Ray the workers have the devices
        options: Options = self.options if self.engine == "local" else {**self.options, "device": "cpu"}
        predictor = Predictor(self.model, **options)
        predictor.model.density_model()
        with Output(Partitions(self.output), self._settings(predictor.model), self.resume) as table:
            pending = table.pending(found.items)
            kept = len(found.items) - len(pending)
            report = DatasetReport(self.output, len(found.items), kept, left_out=found.left_out)
            with closing(self._counted(predictor, table.partitions, pending)) as counted:
                for images, errors, worker in counted:
                    report.errors += len(errors)
                    progress(Progress(images, errors, worker, len(pending)))
            table.check_whole(found.items)
        return report

    def _counted(self, predictor: Predictor, table: Partitions, items: Sequence[Item]) -> Generator[Report, None, None]:
        """Yield numbers of images that have been counted, with the errors and the process."""
        chunks = [items[start : start + self.partition] for start in range(0, len(items), self.partition)]
        if self.engine == "local":
            return count_locally(Worker(predictor, table, self.batch, self.column), chunks)
        own: Any = {key: value for key, value in self.options.items() if key not in _OF_THE_MODEL}
        return count_with_ray(predictor.model, own, table.output, chunks, self.cluster, self.batch, self.column)

    def _settings(self, model: CrowdModel) -> dict[str, Any]:
        """Return what decides about the numbers, as JSON has it."""
        own = {key: self.options.get(key) for key in _NUMBERS}
        weights = state_digest(model.network.state_dict())
        asked = {"column": self.column, "batch": self.batch}  # a batch decides about the last digits
        settings = {"model": model.name, "protocol": model.protocol, "weights": weights, **asked, **own}
        parsed: dict[str, Any] = json.loads(json.dumps(settings))
        return parsed
