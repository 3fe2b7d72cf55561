"""The devices of one machine: their processes, what they have in memory, and the requests that they work on.

A process that ends is started again, after a longer delay each time. One that does not answer its health check for
HUNG_AFTER seconds is killed. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from tintype.v1 import image_service_pb2 as pb

from ..errors import ModelNotFound, Unavailable
from ..rpc.listen import ServeError
from .placement import DeviceView, Running, bytes_of, choose, waiting_for
from .process import FAILED, LISTENING, READY, Connection, child_config, device_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

    from tintype.v1.replicas.delivery import Delivery

    from ..config import ServiceConfig
    from .inventory import DeviceSpec
    from .process import DeviceProcess

log = logging.getLogger(__name__)

POLL = 1.0  # seconds between two health checks of a process
HUNG_AFTER = 30.0  # seconds without an answer: loading a model may keep Python busy for some of them
RESTART_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds; the last one for all further restarts
STABLE_AFTER = 60.0  # seconds after which earlier crashes no longer count
IN_MEMORY = (pb.MODEL_STATE_LOADED, pb.MODEL_STATE_LOADING)


class State(Enum):
    """What a device's process can do."""

    ENDED = "has no process"
    LOADING = "loads its default model"
    SERVING = "serves"


@dataclass(eq=False, slots=True)
class Attempt:
    """A request on one device.

    `connection` is the one that it was sent on, and `cancel` ends its call. `may_move`: an idle device may take it over
    while it waits, but none of `excluded`. `moved`: one does. `lost`: its device was lost.
    """

    number: int
    device: Device
    model: str
    work: float
    priority: int
    delivery: Delivery
    connection: Connection | None
    cancel: Callable[[], object] = lambda: None
    may_move: bool = True
    moved: bool = False
    lost: bool = False
    excluded: Collection[Device] = ()

    def view(self, idle: Device | None = None) -> Running:
        """Return what placement knows about it; it only waits for an `idle` device that may take it over."""
        work = self.work * self.delivery.remaining
        waiting = self.delivery.waiting and self.may_move and not self.moved and idle not in self.excluded
        return Running(self.number, self.model, work, waiting, self.priority)


@dataclass(eq=False, slots=True)
class Device:
    """One device and its present process."""

    spec: DeviceSpec
    memory: int
    state: State = State.ENDED
    problem: str = "its process starts"
    dropped: str = ""  # why its process was killed
    connection: Connection | None = None
    process: DeviceProcess | None = None
    models: dict[str, pb.Model] = field(default_factory=dict)
    running: dict[int, Attempt] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)  # models whose lists of adapters have changed on disk
    last_use: int = 0
    answered: float = 0.0  # time of the last answer to a health check, on the loop's clock
    is_answering: bool = True

    @property
    def name(self) -> str:
        """Its name in the setting and in the log."""
        return self.spec.name

    def view(self, idle: Device | None = None) -> DeviceView:
        """Return what placement knows about it, for the choice of a request that an `idle` device takes over."""
        used = {attempt.model for attempt in self.running.values()}
        held = [model for model in self.models.values() if model.state in IN_MEMORY or model.name in used]
        failed = frozenset(name for name, model in self.models.items() if model.state == pb.MODEL_STATE_FAILED)
        return DeviceView(
            name=self.name,
            memory=self.memory,
            models={model.name: bytes_of(model) for model in held},
            failed=failed,
            running=tuple(attempt.view(idle) for attempt in self.running.values()),
            last_use=self.last_use,
        )


class DevicePool:
    """Keeps a process running for each of `specs` while inside `running`."""

    def __init__(self, config: ServiceConfig, specs: Sequence[DeviceSpec]) -> None:
        self.config = config
        self._key = secrets.token_urlsafe(32)
        self._numbers = count(1)
        self._ready = {spec.name: asyncio.get_running_loop().create_future() for spec in specs}
        self.listed = asyncio.Event()  # a device has listed the models
        self.models: dict[str, pb.Model] = {}
        self.devices = [Device(spec, config.memory or spec.memory) for spec in specs]

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Start the processes; leaving the block ends them."""
        with tempfile.TemporaryDirectory(prefix="tintype-", ignore_cleanup_errors=True) as folder:
            tasks = [asyncio.create_task(self._supervise(device, Path(folder))) for device in self.devices]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_until_ready(self) -> None:
        """Wait until every device serves. Raises ServeError if one can't."""
        await asyncio.gather(*self._ready.values())

    @property
    def is_serving(self) -> bool:
        """Whether at least one device serves."""
        return any(device.state is State.SERVING for device in self.devices)

    @property
    def default(self) -> str:
        """Name of the default model; empty until a device has listed the models."""
        return next((model.name for model in self.models.values() if model.is_default), "")

    def model(self, name: str) -> pb.Model:
        """Return a model as a device has described it; the default for an empty name. Raises ModelNotFound."""
        model = self.models.get(name or self.default)
        if model is None:
            raise ModelNotFound(name, list(self.models))
        return model

    def answering(self) -> list[Device]:
        """Return the devices that have answered their last health check, or are connected without one."""
        return [device for device in self.devices if device.connection and device.is_answering]

    def available(self, excluded: Collection[Device] = ()) -> list[Device]:
        """Return the devices that take requests, except `excluded`: of those that answer, the ones that serve."""
        connected = [device for device in self.devices if device.connection and device not in excluded]
        answering = [device for device in connected if device.is_answering] or connected
        return [device for device in answering if device.state is State.SERVING] or answering

    def choose(self, model: pb.Model, excluded: Collection[Device] = ()) -> Device:
        """Return the device for a request. Raises Unavailable."""
        devices = {device.name: device for device in self.available(excluded)}
        if not devices:
            problems = "; ".join(f"device {each.name}: {each.problem}" for each in self.devices if each.problem)
            raise Unavailable(f"no device can take the request now ({problems or 'all were tried'})", retry_after=5.0)
        return devices[choose(model.name, bytes_of(model), [each.view() for each in devices.values()]).name]

    @contextmanager
    def working(self, device: Device, model: str, work: float, priority: int, delivery: Delivery) -> Iterator[Attempt]:
        """Count a request among those of a device; afterwards an idle device takes over a waiting one."""
        attempt = Attempt(next(self._numbers), device, model, work, priority, delivery, device.connection)
        device.running[attempt.number], device.last_use = attempt, attempt.number
        try:
            yield attempt
        finally:
            del device.running[attempt.number]
            if not attempt.lost:
                self._move_waiting(device)

    def drop(self, device: Device, problem: str, connection: Connection | None) -> None:
        """End the process behind `connection`, which can't use its device any more; not one that was started since."""
        if device.connection is not connection:
            return
        log.error("device %s is lost: %s", device.name, problem)
        device.state, device.problem, device.dropped = State.ENDED, problem, problem
        if device.process:
            device.process.kill()

    def _move_waiting(self, device: Device) -> None:
        if device.state is not State.SERVING or device.running:
            return
        others = [other for other in self.devices if other is not device]
        found = waiting_for(device.view(), [other.view(device) for other in others])
        for other in others:
            if found and found.number in other.running:
                other.running[found.number].moved = True
                other.running[found.number].cancel()

    async def _supervise(self, device: Device, folder: Path) -> None:
        """Run processes of a device, one after the other, unless the first one can't start."""
        clock, crashes = asyncio.get_running_loop().time, 0
        while True:
            began = clock()
            try:
                problem = await self._run(device, folder)
            except Exception as error:  # noqa: BLE001 - such as OSError, if no process can be started
                problem = f"its process can't be run: {type(error).__name__}: {error}"
            ready = self._ready[device.name]
            if not ready.done():
                ready.set_exception(ServeError(f"device {device.name}: {problem}"))
                ready.exception()  # it may be that nothing waits for it
                device.problem = problem
                return
            crashes = 0 if clock() - began >= STABLE_AFTER else crashes
            delay = RESTART_DELAYS[min(crashes, len(RESTART_DELAYS) - 1)]
            crashes += 1
            log.error("device %s: %s; starting it again in %g s", device.name, problem, delay)
            device.problem = f"{problem}; it is started again"
            await asyncio.sleep(delay)

    async def _run(self, device: Device, folder: Path) -> str:
        """Run a process of a device until it ends, and return the reason."""
        problem, socket, device.dropped = "", folder / f"{next(self._numbers)}.sock", ""
        config = child_config(self.config, device.spec, socket, self._key)
        async with device_process(device.spec, config) as process:
            device.process = process
            watch = asyncio.create_task(self._watch(device))
            try:
                async for word, text in process.announcements():
                    if word == LISTENING:
                        device.connection = Connection(text, self._key)
                        device.state, device.is_answering = State.LOADING, True
                        device.answered = asyncio.get_running_loop().time()
                    elif word == READY:
                        device.state, device.problem = State.SERVING, ""
                        self._set_ready(device)
                    elif word == FAILED:
                        problem = text
                return problem or device.dropped or await process.end()
            finally:
                watch.cancel()
                await self._disconnect(device)

    def _set_ready(self, device: Device) -> None:
        log.info("device %s serves, in process %d", device.spec, device.process.pid if device.process else 0)
        if not self._ready[device.name].done():
            self._ready[device.name].set_result(None)

    async def _disconnect(self, device: Device) -> None:
        connection, device.connection, device.process = device.connection, None, None
        device.state, device.models = State.ENDED, {}
        if connection:
            await connection.close(1.0)  # its calls fail by themselves before

    async def _watch(self, device: Device) -> None:
        """Ask the process of a device for health and models, and kill it if it does not answer, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            if device.connection:
                device.is_answering = await self._poll(device, device.connection)
                device.answered = clock() if device.is_answering else device.answered
                if clock() - device.answered > HUNG_AFTER:
                    self.drop(device, f"its process has not answered for {HUNG_AFTER:g} s", device.connection)
            await asyncio.sleep(POLL if device.state is State.SERVING else POLL / 20)

    async def _poll(self, device: Device, connection: Connection) -> bool:
        """Update what is known about a device; return whether it has answered."""
        try:
            serving = await connection.is_serving()
            models = {model.name: model for model in (await connection.list_models()).models}
        except grpc.aio.AioRpcError:
            return False
        except Exception:
            log.exception("device %s: its health check failed", device.name)
            return False
        if device.connection is connection and device.state is not State.ENDED:
            device.state = State.SERVING if serving else State.LOADING
            device.problem = "" if serving else "it loads its default model, hangs, or can load no model"
            device.models = self.models = models
            self.listed.set()
            self._move_waiting(device)
        return True
