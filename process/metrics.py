"""The figures of a process, in Prometheus' format.

Counters that a part keeps for itself are read when the page is asked for (``watch``); what has a
distribution is observed as it happens.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

Reading = tuple[str, str, dict[str, str], float]
"""(name, help, labels, value)."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class _Watched(Collector):
    def __init__(self) -> None:
        self.sources: list[Callable[[], Iterable[Reading]]] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for source in self.sources:
            for name, text, labels, value in source():
                family = families.setdefault(name, GaugeMetricFamily(name, text, labels=sorted(labels)))
                family.add_metric([labels[key] for key in sorted(labels)], value)
        yield from families.values()


class Metrics:
    """One process's registry."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._watched = _Watched()
        self._registry.register(self._watched)
        self._batch_turns = Histogram(
            "starling_batch_turns", "Turns per batch", buckets=_SIZES, registry=self._registry
        )
        self._batch_seconds = Histogram(
            "starling_batch_seconds", "From input to commit", buckets=_SECONDS, registry=self._registry
        )
        self._operations = Histogram(
            "starling_operation_seconds", "Operations that ended", ("name", "outcome"), buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._requests = Histogram(
            "starling_http_request_seconds", "HTTP requests", ("api", "route", "method", "status"),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._turns = Counter("starling_turns", "Turns run", registry=self._registry)

    def watch(self, source: Callable[[], Iterable[Reading]]) -> None:
        """Read these figures whenever the page is asked for."""
        self._watched.sources.append(source)

    def batch(self, turns: int, seconds: float) -> None:
        """One batch of a worker."""
        self._batch_turns.observe(turns)
        self._batch_seconds.observe(seconds)
        self._turns.inc(turns)

    def operation(self, name: str, outcome: str, seconds: float) -> None:
        """One operation that ended."""
        self._operations.labels(name, outcome).observe(seconds)

    def request(self, api: str, route: str, method: str, status: int, seconds: float) -> None:
        """One HTTP request; ``route`` is the path's template."""
        self._requests.labels(api, route, method, str(status)).observe(seconds)

    def page(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)
