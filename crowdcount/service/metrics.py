"""Measurements of the service in the format of Prometheus."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS: Final = (0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_PEOPLE: Final = (0, 1, 10, 30, 100, 300, 1000, 3000, 10000)


class Metrics:
    """Counters of one service; several in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.answers = Counter("crowdcount_answers", "HTTP answers.", ("path", "status"), registry=self._registry)
        self.refused = Counter(
            "crowdcount_refused", "Requests that were refused, by reason.", ("reason",), registry=self._registry
        )
        self.people = Histogram(
            "crowdcount_people", "Predicted counts of images.", buckets=_PEOPLE, registry=self._registry
        )
        self.uploaded = Counter("crowdcount_uploaded_bytes", "Bytes of uploads.", registry=self._registry)
        self._seconds = Histogram(
            "crowdcount_seconds",
            "Seconds that images wait, and that counting takes.",
            ("step",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._jobs = Gauge("crowdcount_jobs", "Images that are counted or wait.", registry=self._registry)

    def watch_jobs(self, number: Callable[[], float]) -> None:
        """Report the number of jobs by a function."""
        self._jobs.set_function(number)

    def observe(self, step: str, seconds: float) -> None:
        """Add the duration of a step."""
        self._seconds.labels(step).observe(seconds)

    def text(self) -> bytes:
        """Return all measurements in Prometheus' text format."""
        return generate_latest(self._registry)
