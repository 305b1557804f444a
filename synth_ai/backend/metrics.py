"""What a backend counts of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from synth_ai.backend.usage import UsageRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST

# From a refused request to a long answer, in seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counts of one app.

    Attributes:
        in_flight: the requests that are being answered.
        streams: the streams that are open.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "synth_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "synth_request_seconds",
            "Seconds to the last byte of an answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "synth_tokens", "Tokens of finished responses.", ["kind"], registry=registry
        )
        self._responses = Counter(
            "synth_responses", "Responses, by how they ended.", ["status"], registry=registry
        )
        self.in_flight = Gauge(
            "synth_requests_in_flight", "Requests being answered.", registry=registry
        )
        self.streams = Gauge("synth_streams_open", "Streams that are open.", registry=registry)

    def note_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def note_response(self, record: UsageRecord) -> None:
        """Count a response that is over."""
        self._responses.labels(record.status).inc()
        for kind, count in (("input", record.input_tokens), ("output", record.output_tokens)):
            if count is not None:
                self._tokens.labels(kind).inc(count)

    def write(self) -> bytes:
        """Write them all in the text format of Prometheus."""
        return generate_latest(self._registry)
