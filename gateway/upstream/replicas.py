"""The replicas of the service: which ones there are, which ones are healthy, and which one gets a request.

- Each replica is checked every second (`replica.CHECK_INTERVAL`). One that does not answer a check for some seconds is
  silent: it gets no requests, and those that run there are interrupted if another replica can take them.
- Names of `dns:///` are looked up every LOOKUP_INTERVAL seconds. A replica whose address is gone gets no new requests,
  and its channel is closed after its last one. If a lookup fails, the addresses stay.
- Requests that find no healthy replica wait for one, up to PATIENCE seconds.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ..errors import StartError
from . import placement
from .replica import CHECK_INTERVAL, SILENCE, UNCHECKED, Replica
from .targets import look_up, parse_targets

if TYPE_CHECKING:
    from collections.abc import Container, Coroutine
    from typing import Any

    from .channel import Route
    from .targets import Resolver, Target

log = logging.getLogger(__name__)

LOOKUP_INTERVAL = 5.0  # seconds between two lookups of a name
LOOKUP_TIMEOUT = 10.0  # seconds for one of them
PATIENCE = 2.0  # seconds that a request waits for a healthy replica
UNKNOWN_HOST = "the host name of the image service is unknown"


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One replica as metrics show it; `repeats` counts requests that were repeated because it was lost."""

    address: str
    healthy: bool
    in_flight: int
    repeats: int


T = TypeVar("T")


class NoReplica(Exception):
    """No replica can take the request; the message says why, without addresses."""


class Replicas:
    """The replicas at the addresses of a route. `run` follows them; `close` ends it.

    `resolve` looks up names. Raises StartError for invalid addresses and certificates that can't be read.
    """

    def __init__(self, route: Route, resolve: Resolver = look_up) -> None:
        self._route = route
        self._resolve = resolve
        self._targets = parse_targets(route.target)
        self._wanted = {target: [] if target.host else [target.address] for target in self._targets}
        self._by_address: dict[str, Replica] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watches: dict[Replica, asyncio.Task[None]] = {}  # also of replicas that are drained
        self._refresh: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._uses = 0
        self.stopping = False
        self._problem = UNCHECKED
        for target in self._targets:
            if not target.host:
                self._by_address[target.address] = Replica(route.at(target.address))
        if not self._by_address:
            route.credentials()  # raises now rather than after the first lookup

    @property
    def all(self) -> list[Replica]:
        """All replicas, in the order of their addresses."""
        return list(self._by_address.values())

    @property
    def healthy(self) -> list[Replica]:
        """The replicas that can take requests."""
        return [replica for replica in self._by_address.values() if replica.healthy]

    @property
    def problem(self) -> str:
        """Why no replica is healthy: the problem of the first one."""
        return next((replica.problem for replica in self.all if replica.problem), self._problem)

    @property
    def are_several(self) -> bool:
        """Whether there may be more than one replica."""
        return len(self._by_address) > 1 or any(target.host for target in self._targets)

    @property
    def default(self) -> str:
        """Name of the default model: that of the first replica whose models are known; empty if none are."""
        return next((replica.default for replica in self.all if replica.default), "")

    def model_to_send(self, name: str) -> str:
        """Return the name of a request's model: that of the default model if replicas have different ones."""
        differ = len({replica.default for replica in self.all if replica.default}) > 1
        return name or (self.default if differ else "")

    def others(self, excluded: Container[Replica]) -> list[Replica]:
        """Return the replicas outside `excluded`."""
        return [replica for replica in self.all if replica not in excluded]

    def is_elsewhere(self, model: str, replica: Replica) -> bool:
        """Whether a healthy replica other than `replica` may have the model."""
        return any(other is not replica and other.lists(model) for other in self.healthy)

    def states(self) -> list[ReplicaState]:
        """Return the state of each replica."""
        return [ReplicaState(each.address, each.healthy, each.in_flight, each.repeats) for each in self.all]

    def run(self) -> None:
        """Follow the replicas and names, in the running event loop, until `close`."""
        for replica in self.all:
            self._watch(replica)
        for target in self._targets:
            if target.host:
                self._start(self._follow(target))

    async def close(self) -> None:
        """Stop following, and close all channels; running calls are cancelled."""
        tasks = (*self._tasks, *self._watches.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in {*self.all, *self._watches}:
            await replica.close()

    def renew(self) -> None:
        """Open new channels, with the certificates as they are now; the previous ones end after their last calls."""
        for address, old in list(self._by_address.items()):
            self._by_address[address] = replica = Replica(old.route)
            replica.healthy, replica.default = old.healthy, old.default
            replica.models, replica.listed = old.models, old.listed
            self._watch(replica)
            self._start(self._drain(old))

    def stop_requests(self) -> None:
        """Stop all requests for images, also on replicas that are drained."""
        self.stopping = True
        for replica in {*self.all, *self._watches}:
            replica.stop_requests()

    async def choose(self, model: str, avoided: Container[Replica] = (), refused: Container[Replica] = ()) -> Replica:
        """Return the replica for a request. Waits up to PATIENCE seconds for one. Raises NoReplica.

        Those in `avoided` come last, those in `refused` not at all. A replica that lists the model is preferred even if
        it has to become healthy first.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while True:
            candidates = self.others(refused)
            if self.all and not candidates:
                raise NoReplica(self.problem)
            chosen = self._chosen(model or self.default, candidates, avoided)
            if chosen:
                self._uses += 1
                chosen.last_use = self._uses
                return chosen
            self._changed.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                raise NoReplica(self.problem) from None

    async def find_problem(self, timeout: float) -> str:  # noqa: ASYNC109
        """Return why no replica can take requests now, without addresses; empty if one can. Asks them."""
        for answer in asyncio.as_completed([self.start_check(replica, timeout) for replica in self.healthy]):
            if not await answer:
                return ""
        problems = await asyncio.gather(*(each.check(timeout, with_models=self.are_several) for each in self.all))
        return "" if not all(problems) else next(iter(problems), self._problem)

    async def refresh(self) -> None:
        """List the models of all healthy replicas again, once for all requests that wait for it."""
        if self._refresh is None or self._refresh.done():
            self._refresh = self._start(self._list_all())
        await asyncio.shield(self._refresh)

    def _chosen(self, model: str, candidates: list[Replica], avoided: Container[Replica]) -> Replica | None:
        healthy = [replica for replica in candidates if replica.healthy]
        preferred = [replica for replica in healthy if replica not in avoided] or healthy
        listing = [replica for replica in preferred if replica.lists(model)]
        if listing:
            return placement.choose(model, listing)
        if any(replica.lists(model) and replica.models is not None for replica in candidates):
            return next((replica for replica in healthy if replica.lists(model)), None)
        return placement.choose(model, preferred) if preferred else None

    async def _list_all(self) -> None:
        await asyncio.gather(*(each.list_models(SILENCE) for each in self.healthy), return_exceptions=True)

    def start_check(self, replica: Replica, timeout: float) -> asyncio.Task[str]:
        """Check a replica, up to `timeout` seconds; the result is its problem."""
        return self._start(replica.check(timeout, with_models=False))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _watch(self, replica: Replica) -> None:
        self._watches[replica] = asyncio.create_task(self._check_repeatedly(replica))

    async def _check_repeatedly(self, replica: Replica) -> None:
        logged = ""
        while True:
            await replica.check(SILENCE, with_models=self.are_several)
            if replica.problem != logged and self.are_several:
                level = logging.WARNING if replica.problem else logging.INFO
                log.log(level, "replica %s: %s", replica.address, replica.problem or "healthy again")
            logged = replica.problem
            self._changed.set()
            if not replica.healthy:
                replica.give_up_calls(partial(self.is_elsewhere, replica=replica))
            replica.woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL):
                    await replica.woken.wait()

    async def _follow(self, target: Target) -> None:
        """Look up the addresses of a name repeatedly; a problem is logged when it is new."""
        logged = ""
        while True:
            problem = await self._look_up(target)
            if problem and problem != logged:
                log.warning("%s", problem)
            logged = problem
            self._changed.set()
            await asyncio.sleep(LOOKUP_INTERVAL)

    async def _look_up(self, target: Target) -> str:
        """Look up the addresses of a name and use them. Return the problem; empty if there is none."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                addresses = await self._resolve(target.host, target.port)
            self._update(target, addresses)
        except (OSError, UnicodeError, TimeoutError) as error:  # UnicodeError: it is not a name
            self._problem = UNKNOWN_HOST
            return f"cannot look up {target.host}: {error or 'no answer'}; its addresses stay as they are"
        except StartError as error:  # the certificates are being replaced
            return f"new addresses of {target.host} are not used yet: {error}"
        return ""

    def _update(self, target: Target, addresses: list[str]) -> None:
        """Add replicas for new addresses of a name, and drain those whose addresses are gone."""
        self._wanted[target] = addresses or self._wanted[target]
        wanted = {
            address: target.address if target.host else ""
            for target, found in self._wanted.items()
            for address in found
        }
        for address in [address for address in self._by_address if address not in wanted]:
            log.info("replica %s: its address is gone", address)
            self._start(self._drain(self._by_address.pop(address)))
        for address, authority in wanted.items():
            if address not in self._by_address:
                log.info("replica %s: new address of %s", address, target.host)
                self._by_address[address] = replica = Replica(self._route.at(address, authority))
                self._watch(replica)
        self._by_address = {address: self._by_address[address] for address in wanted}

    async def _drain(self, replica: Replica) -> None:
        """Close a replica after its last call; its checks go on until then."""
        while replica.calls:  # noqa: ASYNC110 - its checks go on, and may interrupt them
            await asyncio.sleep(CHECK_INTERVAL)
        self._watches.pop(replica).cancel()
        await replica.close()
