"""Counts and times for Prometheus, of one server."""

from __future__ import annotations

import os
from time import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from carrossel.online.serving import COUNTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.online.serving.models import Served

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class Metrics:
    """What `GET /metrics` tells."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "carrossel_forecast_requests", "Requests for a forecast.", ["dataset", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "carrossel_forecast_seconds",
            "Time from a whole body to its answer.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._champion = Gauge(
            "carrossel_champion_version",
            "Registered version that serves; 0 for persistence.",
            ["dataset"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._problem = Gauge(
            "carrossel_champion_problem",
            "1 while what serves isn't what the alias names.",
            ["dataset"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._refreshed = Gauge(
            "carrossel_refreshed_timestamp_seconds",
            "When the aliases were last looked at.",
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )

    def count(self, dataset: str, status: int, seconds: float | None) -> None:
        """One request answered.

        Args:
            dataset: one that is served, or empty: a label must not take whatever a client sends.
            seconds: from a whole body to the answer; None where the body was refused before.
        """
        self._requests.labels(dataset, status).inc()
        if seconds is not None:
            self._seconds.observe(seconds)

    def refresh(self, served: Mapping[str, Served]) -> None:
        """The aliases were looked at."""
        for name, each in served.items():
            version = each.champion.version if each.forecaster is not None else None
            self._champion.labels(name).set(int(version) if version is not None and version.isdigit() else 0)
            self._problem.labels(name).set(int(each.problem is not None))
        self._refreshed.set(time())

    def text(self) -> bytes:
        """In Prometheus' text format; of all workers where there are several."""
        registry = self.registry
        if folder := os.environ.get(COUNTS):
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # its constructor has no types
        return generate_latest(registry)
