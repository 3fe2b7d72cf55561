"""Metrics of the gateway, in Prometheus' format at `/metrics`.

Labels have a small, fixed set of values: declared routes (never requested paths), dialects, statuses, the service's
names of models and reasons, and the addresses of its replicas. No metric reveals prompts, images or callers.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from litestar.enums import ScopeType
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from .errors import ServiceError
from .upstream.client import ClientLayer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from litestar.types import ASGIApp, Message, Receive, Scope, Send
    from prometheus_client import Metric

    from tintype.v1 import image_service_pb2 as pb

    from .dialects import Dialect
    from .upstream.client import ImageClient, ServiceClient

# Without its charset: the server adds one to every text type, and strict scrapers reject a type with two.
PROMETHEUS = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")
PREFIX = "tintype_gateway"
# Seconds; the range is from a lookup to a large image on a slow CPU.
BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
UNKNOWN_ROUTE = "other"  # the route of paths that are not served
DISCONNECTED = 499  # the status of requests whose client disconnected before the response began


class Metrics:
    """The metrics of one gateway."""

    def __init__(self) -> None:
        self.registry = new = CollectorRegistry()
        labels = ["route", "dialect", "status"]
        self.requests = Counter(f"{PREFIX}_requests", "Answered requests.", labels, registry=new)
        self.seconds = Histogram(
            f"{PREFIX}_request_seconds", "Time to an answer's last byte.", ["route"], buckets=BUCKETS, registry=new
        )
        self.in_flight = Gauge(f"{PREFIX}_requests_in_flight", "Requests that are being answered.", registry=new)
        self.images = Counter(f"{PREFIX}_images", "Images of finished requests.", ["model"], registry=new)
        self.failures = Counter(
            f"{PREFIX}_service_errors", "Calls that the service failed.", ["reason", "status"], registry=new
        )
        self.moderation = Counter(
            f"{PREFIX}_moderation_checks", "Checks of prompts and images.", ["subject", "outcome"], registry=new
        )
        self.open_jobs = Gauge(
            f"{PREFIX}_jobs", "Open jobs of all gateways with this data folder.", ["state"], registry=new
        )
        self.ended_jobs = Counter(f"{PREFIX}_jobs_ended", "Jobs that ended in this gateway.", ["state"], registry=new)
        ProcessCollector(registry=new)

    @property
    def requests_in_flight(self) -> int:
        """Number of requests that are being answered."""
        return int(sum(sample.value for metric in self.in_flight.collect() for sample in metric.samples))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def count_check(self, subject: str, outcome: str) -> None:
        """Count a check by the moderation service."""
        self.moderation.labels(subject.replace(" ", "_"), outcome).inc()

    @contextmanager
    def count_errors(self) -> Iterator[None]:
        """Count a ServiceError raised in the block."""
        try:
            yield
        except ServiceError as error:
            self.failures.labels(error.reason, error.status).inc()
            raise


class RequestMetrics:
    """ASGI middleware that counts the responses of `app`; `dialects` are by path."""

    def __init__(self, app: ASGIApp, metrics: Metrics, dialects: Mapping[str, Dialect]) -> None:
        self.app = app
        self._metrics = metrics
        self._dialect_names = {path: dialect.name for path, dialect in dialects.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `app`, and count its response."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        started, status = perf_counter(), DISCONNECTED

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self._metrics.in_flight.track_inprogress():
                await self.app(scope, receive, send_and_record)
        finally:
            # The router stores the matched route's path there.
            self._count(str(scope.get("path_template") or UNKNOWN_ROUTE), status, perf_counter() - started)

    def _count(self, route: str, status: int, seconds: float) -> None:
        self._metrics.requests.labels(route, self._dialect_names.get(route, ""), status).inc()
        self._metrics.seconds.labels(route).observe(seconds)


class CountedClient(ClientLayer):
    """An ImageClient that counts the images and errors of `client`."""

    def __init__(self, client: ImageClient, metrics: Metrics) -> None:
        super().__init__(client)
        self._metrics = metrics

    async def generate(self, request: pb.StreamImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images of a request, ordered by index. Raises ServiceError."""
        with self._metrics.count_errors():
            response = await self._client.generate(request, request_id)
        self._metrics.images.labels(response.model).inc(len(response.images))
        return response

    async def stream(
        self, request: pb.StreamImagesRequest, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, the last one `completed`; closing the generator cancels the request. Raises ServiceError."""
        count = 0
        with self._metrics.count_errors():
            async with aclosing(self._client.stream(request, request_id)) as events:
                async for event in events:
                    count += event.HasField("image")
                    if event.HasField("completed"):
                        self._metrics.images.labels(event.completed.model).inc(count)
                    yield event

    async def models(self) -> list[pb.Model]:
        """Return the models, the default model first. Raises ServiceError."""
        with self._metrics.count_errors():
            return await self._client.models()

    async def model(self, name: str) -> pb.Model:
        """Return one model; the default model for an empty name. Raises ServiceError."""
        with self._metrics.count_errors():
            return await self._client.model(name)

    async def upscale(self, request: pb.UpscaleImageRequest, request_id: str = "") -> pb.UpscaleImageResponse:
        """Return an enlarged image. Raises ServiceError."""
        with self._metrics.count_errors():
            return await self._client.upscale(request, request_id)


class ReplicaMetrics(Collector):
    """The state of each replica when metrics are read, so that replicas that are gone leave no series behind."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        healthy, in_flight = (
            GaugeMetricFamily(f"{PREFIX}_replica_{name}", text, labels=["replica"])
            for name, text in (
                ("healthy", "1 if the replica takes requests, otherwise 0."),
                ("requests_in_flight", "Requests for images that run on the replica."),
            )
        )
        repeats = CounterMetricFamily(
            f"{PREFIX}_replica_repeats", "Requests that were repeated because the replica was lost.", labels=["replica"]
        )
        for state in self._client.replica_states():
            healthy.add_metric([state.address], int(state.healthy))
            in_flight.add_metric([state.address], state.in_flight)
            repeats.add_metric([state.address], state.repeats)
        yield from (healthy, in_flight, repeats)
