"""What a server counts about itself, as Prometheus reads it; a registry of its own, nothing global."""

from __future__ import annotations

from tutelage.errors import MissingExtra

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
except ImportError as error:
    raise MissingExtra("prometheus-client", "serve") from error

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
POWERS = tuple(float(2**n) for n in range(0, 17, 2))
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measures:
    """Counters of one server.

    Attributes:
        requests: by route and status.
        seconds: from the first byte of a request to the last of its answer, by route.
        positions: distributions that were sent or scored.
        tokens: tokens that were read, and those that were written.
        passes: seconds that the teacher worked at one piece of work.
        batch_requests, batch_rows, batch_tokens: what one piece of work was joined from.
        waiting: requests in the queue now.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        name = "tutelage_"
        self.requests = Counter(f"{name}requests", "Requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            f"{name}request_seconds", "Time of a request.", ["route"], buckets=SECONDS, registry=registry
        )
        self.positions = Counter(f"{name}positions", "Distributions answered.", registry=registry)
        self.tokens = Counter(f"{name}tokens", "Tokens read or written.", ["direction"], registry=registry)
        self.passes = Histogram(
            f"{name}work_seconds",
            "Time of the teacher for one piece of work.",
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_requests = Histogram(
            f"{name}batch_requests",
            "Requests joined into one piece of work.",
            buckets=POWERS,
            registry=registry,
        )
        self.batch_rows = Histogram(
            f"{name}batch_rows", "Rows of text in one piece of work.", buckets=POWERS, registry=registry
        )
        self.batch_tokens = Histogram(
            f"{name}batch_tokens", "Tokens in one piece of work.", buckets=POWERS, registry=registry
        )
        self.waiting = Gauge(f"{name}waiting_requests", "Requests in the queue.", registry=registry)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
