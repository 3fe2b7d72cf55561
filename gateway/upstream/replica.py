"""One replica of the service: its channel, its health and models as last seen, and the calls that run there.

A replica is healthy while it answers checks with SERVING. It is silent when a check gets no answer at all, as with a
stopped process or a lost network, where connections stay open and calls would wait for their deadlines: then keepalive
pings end its calls.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.limits import MESSAGE_OPTIONS, SERVICE
from tintype.v1.replicas.failures import reason_of

from .channel import KEY_REJECTED, NOT_SERVING, call_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .channel import Route

log = logging.getLogger(__name__)

CHECK_INTERVAL = 1.0  # seconds between two checks
SILENCE = 5.0  # seconds without an answer to a check, after which a replica gets no requests
FAILOVER = 30.0  # seconds of silence, after which its calls are given up; a load may hold Python's lock so long
STALL = 60.0  # seconds without health and without an event, after which a call is given up
LIST_INTERVAL = 5.0  # seconds between two looks at the models of a replica
UNCHECKED = "the image service does not answer"
PROXY_HEALTH = "/ray.serve.RayServeAPIService/Healthz"

OPTIONS = (
    *MESSAGE_OPTIONS,
    # A process that is stopped, or whose network is lost, answers no pings: its calls fail within 10 s. One that holds
    # Python's lock answers them. Servers other than ours allow a ping every 5 minutes, but the answers to checks reset
    # that limit.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # of all pings; its default of a minute precedes keepalive's own timeout
    ("grpc.http2.max_pings_without_data", 0),
    # The minimum also limits the time of a connection attempt; the default of the maximum is 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
    # Without this, channels to equal addresses share a connection, even if one of them is closed and opened again.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"pick_first": {}}]})),
)


@dataclass(slots=True, eq=False)
class RunningCall:
    """A call on a replica, and why it was cancelled, if it was. `seen` is the time of its last event."""

    call: grpc.aio.Call
    model: str
    is_generation: bool
    seen: float
    interrupted: bool = False
    stopped: bool = False


class Replica:
    """A replica at one address. `models` are the states of its `listed` models by name; both are None at first."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.address = route.target
        self.healthy = False
        self.checked = False
        self.silent = False
        self.problem = UNCHECKED
        self.models: dict[str, pb.ModelState] | None = None
        self.listed: pb.ListModelsResponse | None = None
        self.default = ""
        # Below every use, and random: gateways that start together would take the replicas in one order.
        self.last_use = random.random()  # noqa: S311 - not for security
        self.repeats = 0
        self.calls: set[RunningCall] = set()
        self.woken = asyncio.Event()
        self._since = self._listed_at = 0.0
        self._closed = asyncio.Event()
        self._channel = route.channel(OPTIONS)
        self.images: Any = pb_grpc.ImageServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self._proxy_health: Any = self._channel.unary_unary(PROXY_HEALTH)

    @property
    def in_flight(self) -> int:
        """The number of requests for images that run here."""
        return sum(call.is_generation for call in self.calls)

    def lists(self, model: str) -> bool:
        """Whether it has the model on its list, or may have it."""
        return self.models is None or not model or model in self.models

    def has_loaded(self, model: str) -> bool:
        """Whether the model is in its memory."""
        return self.models is not None and self.models.get(model) == pb.MODEL_STATE_LOADED

    def is_loading(self, model: str) -> bool:
        """Whether the model is on its way into memory: by its list, or because a request for it runs here."""
        is_listed = self.models is not None and self.models.get(model) == pb.MODEL_STATE_LOADING
        return is_listed or any(call.is_generation and call.model == model for call in self.calls)

    @contextmanager
    def running(self, call: grpc.aio.Call, model: str = "", *, is_generation: bool = False) -> Iterator[RunningCall]:
        """Count a call as running here while inside the block, then end it."""
        running = RunningCall(call, model, is_generation, monotonic())
        self.calls.add(running)
        try:
            yield running
        finally:
            self.calls.discard(running)
            call.cancel()

    def suspect(self, problem: str = "") -> None:
        """Take the replica for unhealthy until its next check, which follows at once."""
        self._set(problem or UNCHECKED)
        self.woken.set()

    def mark_loaded(self, model: str) -> None:
        """Record that a request for the model has begun here."""
        if self.models is not None and model in self.models:
            self.models[model] = pb.MODEL_STATE_LOADED

    async def check(self, timeout: float, *, with_models: bool) -> str:  # noqa: ASYNC109
        """Ask for its health and, if `with_models` and it is time, its models. Return the problem; empty if healthy.

        A replica that does not answer is silent after SILENCE seconds; a shorter `timeout` leaves its state unchanged.
        One that is closed, also during the check, does not answer.
        """
        is_silent = False
        if self._closed.is_set():
            return UNCHECKED
        try:
            problem = await self._probe(timeout)
            is_listed = with_models and not self.route.ray_serve  # the models of Ray's replicas are Ray's concern
            if not problem and is_listed and (not self.healthy or monotonic() - self._listed_at >= LIST_INTERVAL):
                await self.list_models(timeout)
        except grpc.aio.AioRpcError as error:
            log.debug("replica %s: %s: %s", self.address, error.code().name, error.details())
            is_key = error.code() is grpc.StatusCode.UNAUTHENTICATED
            problem = KEY_REJECTED if is_key else self.route.failure_reason(error) or UNCHECKED
            is_silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if is_silent and timeout < SILENCE:
                return problem
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed.is_set() or (task and task.cancelling()):
                raise
            return UNCHECKED
        self._set(problem, silent=is_silent)
        return problem

    async def list_models(self, timeout: float) -> pb.ListModelsResponse:  # noqa: ASYNC109
        """Return the models of this replica, and remember their states. Raises AioRpcError."""
        response: pb.ListModelsResponse = await self.images.ListModels(
            pb.ListModelsRequest(), timeout=timeout, metadata=call_metadata(self.route)
        )
        self.listed = response
        self.models = {model.name: model.state for model in response.models}
        self.default = next((model.name for model in response.models if model.is_default), "")
        self._listed_at = monotonic()
        return response

    def give_up_calls(self, can_move: Callable[[str], bool]) -> None:
        """Interrupt calls that this replica will not answer: all after FAILOVER seconds of silence, those that stall.

        `can_move` says whether another replica can serve a model; without one, calls keep waiting.
        """
        now = monotonic()
        is_lost = self.silent and now - self._since >= FAILOVER - SILENCE
        is_stalled = not self.healthy and now - self._since >= STALL
        for call in tuple(self.calls):
            if (is_lost or (is_stalled and now - call.seen >= STALL)) and can_move(call.model):
                call.interrupted = True
                call.call.cancel()

    def stop_requests(self) -> None:
        """Stop the requests for images that run here, because the gateway stops."""
        for call in tuple(self.calls):
            if call.is_generation:
                call.stopped = True
                call.call.cancel()

    async def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        self._closed.set()
        await self._channel.close()

    async def _probe(self, timeout: float) -> str:  # noqa: ASYNC109
        """Return why it is not healthy, by its own account. Raises AioRpcError.

        A server without health checks, as some proxies are, is asked for its default model. A proxy of Ray Serve is
        asked for its own health: a check by a replica would start one, and keep it.
        """
        if self.route.ray_serve:
            await self._proxy_health(b"", timeout=timeout)
            return ""
        try:
            health = await self._health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
                raise
        else:
            return "" if health.status == health_pb2.HealthCheckResponse.SERVING else NOT_SERVING
        try:
            await self.images.GetModel(pb.GetModelRequest(), timeout=timeout, metadata=call_metadata(self.route))
        except grpc.aio.AioRpcError as error:
            if not reason_of(error):
                raise
        return ""

    def _set(self, problem: str, *, silent: bool = False) -> None:
        if self.healthy or not self.checked:
            self._since = monotonic()
        self.healthy, self.checked, self.problem, self.silent = not problem, True, problem, silent
