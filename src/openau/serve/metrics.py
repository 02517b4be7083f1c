"""Counters and histograms in the text format that Prometheus reads (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the histogram's buckets."""

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Counter:
    """A number that only grows, one for each set of labels."""

    name: str
    help: str
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, **labels: str) -> None:
        """One more."""
        key = tuple(labels.items())
        self.values[key] = self.values.get(key, 0.0) + 1

    def lines(self) -> Iterator[str]:
        """Its lines."""
        yield from _head(self.name, self.help, "counter")
        for labels, value in sorted(self.values.items()) or [((), 0.0)]:
            yield f"{self.name}{_labels(labels)} {value:g}"


@dataclass(slots=True)
class Histogram:
    """How many observations were at most so long, one for each route."""

    name: str
    help: str
    counts: dict[str, list[int]] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)

    def observe(self, route: str, seconds: float) -> None:
        """One observation."""
        counts = self.counts.setdefault(route, [0] * (len(SECONDS) + 1))
        for i, end in enumerate((*SECONDS, float("inf"))):
            counts[i] += seconds <= end
        self.sums[route] = self.sums.get(route, 0.0) + seconds

    def lines(self) -> Iterator[str]:
        """Its lines."""
        yield from _head(self.name, self.help, "histogram")
        for route, counts in sorted(self.counts.items()):
            for end, count in zip((*(f"{s:g}" for s in SECONDS), "+Inf"), counts, strict=True):
                yield f"{self.name}_bucket{_labels((('route', route), ('le', end)))} {count}"
            yield f"{self.name}_sum{_labels((('route', route),))} {self.sums[route]:.6f}"
            yield f"{self.name}_count{_labels((('route', route),))} {counts[-1]}"


@dataclass(slots=True)
class Gauge:
    """Numbers of this moment, asked for when they are written."""

    name: str
    help: str
    ask: Callable[[], Mapping[Labels, float]]

    def lines(self) -> Iterator[str]:
        """Its lines."""
        yield from _head(self.name, self.help, "gauge")
        for labels, value in self.ask().items():
            yield f"{self.name}{_labels(labels)} {value:g}"


class Metrics:
    """What is counted. Nothing here is about a person or a file."""

    def __init__(self) -> None:
        self.requests = Counter("openau_requests_total", "Requests answered, by method, route and status.")
        self.seconds = Histogram("openau_request_seconds", "Time from a request to the end of its answer.")
        self.jobs = Counter("openau_jobs_total", "Videos that came to an end, by outcome.")
        self.live_frames = Counter("openau_live_frames_total", "Live frames that were looked at.")
        self.live_dropped = Counter("openau_live_dropped_frames_total", "Live frames that a newer one replaced.")
        self.crashes = Counter("openau_worker_crashes_total", "Worker processes that died of a file or took too long.")
        self._gauges: list[Gauge] = []

    def gauge(self, name: str, help: str, ask: Callable[[], Mapping[Labels, float]]) -> None:
        """Add a number that is asked for."""
        self._gauges.append(Gauge(name, help, ask))

    def text(self) -> str:
        """Everything, for Prometheus."""
        all_of_them: tuple[Counter | Histogram | Gauge, ...] = (
            self.requests,
            self.seconds,
            self.jobs,
            self.live_frames,
            self.live_dropped,
            self.crashes,
            *self._gauges,
        )
        return "".join(f"{line}\n" for one in all_of_them for line in one.lines())


def _head(name: str, help: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {help}", f"# TYPE {name} {kind}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = ((key, value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")) for key, value in labels)
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
