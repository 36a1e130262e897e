"""What the process counts, and the whole answer of `/metrics`. Its own registry, never the library's global one."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from controller.clock import elapsed
from controller.errors import Unreachable
from controller.ports import Head, Standing, Telemetry, Ticked
from controller.rollout.observation import Ingested
from controller.rollout.record import Record, Sealed
from controller.rollout.status import Status
from controller.telemetry import catalogue
from controller.telemetry.catalogue import Family, Kind
from controller.telemetry.rollouts import RolloutMetrics

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Reading = tuple[Family, float, tuple[str, ...]]
"""A value that is read when somebody asks, with its labels' values."""


class Meters(Telemetry):
    """Counts what it is told; `expose` answers a scrape. Gauges are read from `sources` at that moment."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._counters = {one: self._counter(one) for one in _of(Kind.COUNTER, _TOLD)}
        self._histograms = {one: self._histogram(one) for one in _of(Kind.HISTOGRAM, _TOLD)}
        self._rollouts = RolloutMetrics()
        self._sources: list[Callable[[], Iterable[Reading]]] = [_build_info]
        self._render_s: float | None = None
        self._scraping = Lock()
        ProcessCollector(registry=self._registry)
        for result in Ticked:
            self._counters[catalogue.TICKS].labels(result.value)
        self._registry.register(_Gauges(self._readings))

    def read_from(self, source: Callable[[], Iterable[Reading]]) -> None:
        """Ask `source` at every scrape. One that raises Unreachable is left out of that answer."""
        self._sources.append(source)

    def expose(self) -> bytes:
        """The answer in the text format 0.0.4. Blocks for as long as it takes to write; one at a time."""
        with self._scraping:
            begun = elapsed()
            rollouts = self._rollouts.text().encode()
            self._render_s = elapsed() - begun
            return generate_latest(_Shown(self._registry)) + rollouts

    # As telemetry

    def running(self, rollouts: Iterable[str]) -> None:
        self._rollouts.keep(one.partition("/")[0] for one in rollouts)

    def ticked(self, rollout: str, ended: Ticked, *, took_s: float, waited_s: float | None) -> None:
        self._counters[catalogue.TICKS].labels(ended.value).inc()
        self._histograms[catalogue.TICK_SECONDS].observe(took_s)
        if waited_s is not None:
            self._histograms[catalogue.REACTION_SECONDS].observe(waited_s)

    def decided(self, record: Sealed[Record], *, took_s: float) -> None:
        value = record.value
        self._counters[catalogue.DECISIONS].labels(value.action.value, value.cause.value).inc()
        self._histograms[catalogue.DECISION_SECONDS].observe(took_s)

    def judged(self, head: Head, status: Status, standing: Standing | None) -> None:
        self._rollouts.judged(head, status, standing)

    def ingested(self, received: Ingested) -> None:
        for result in ("accepted", "duplicate", "waiting", "too_late", "unknown"):
            self._counters[catalogue.INGESTED].labels(result).inc(getattr(received, result))

    def refused(self, lines: int) -> None:
        self._counters[catalogue.INGESTED].labels("refused").inc(lines)

    def scheduled(self, job: str, what: str) -> None:
        self._counters[catalogue.SCHEDULER].labels(job, what).inc()

    def database_failed(self) -> None:
        self._counters[catalogue.DATABASE_ERRORS].inc()

    def delivered(self, destination: str, *, failed: bool) -> None:
        result = "failed" if failed else "delivered"
        self._counters[catalogue.DELIVERIES].labels(destination, result).inc()

    # Inside

    def _counter(self, family: Family) -> Counter:
        return Counter(
            family.name, family.meaning, labelnames=family.labels, registry=self._registry
        )

    def _histogram(self, family: Family) -> Histogram:
        return Histogram(
            family.name, family.meaning, buckets=family.buckets, registry=self._registry
        )

    def _readings(self) -> Iterator[Reading]:
        for source in self._sources:
            try:
                yield from list(source())
            except Unreachable:
                continue  # what is not known is absent
        if self._render_s is not None:
            yield catalogue.RENDER_SECONDS, self._render_s, ()


_TOLD: Final = (
    catalogue.TICK_SECONDS,
    catalogue.DECISION_SECONDS,
    catalogue.REACTION_SECONDS,
    catalogue.TICKS,
    catalogue.DECISIONS,
    catalogue.DATABASE_ERRORS,
    catalogue.INGESTED,
    catalogue.DELIVERIES,
    catalogue.SCHEDULER,
)


def _of(kind: Kind, families: Iterable[Family]) -> list[Family]:
    return [one for one in families if one.kind is kind]


def _build_info() -> Iterator[Reading]:
    yield catalogue.BUILD_INFO, 1, (version("canaryctl"), platform.python_version())


class _Gauges(Collector):
    """What is read at the moment of a scrape, as metrics of the library."""

    def __init__(self, readings: Callable[[], Iterable[Reading]]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        made: dict[Family, Metric] = {}
        for family, value, labels in self._readings():
            metric = made.setdefault(family, _metric(family))
            metric.add_sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
        yield from made.values()


def _metric(family: Family) -> Metric:
    if family.kind is Kind.COUNTER:
        return CounterMetricFamily(family.name, family.meaning, labels=family.labels)
    return GaugeMetricFamily(family.name, family.meaning, labels=family.labels)


class _Shown(Collector):
    """A registry without the library's `_created` samples: nothing here restarts but the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric
