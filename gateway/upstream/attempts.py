"""The attempts of one call: what the end of an attempt means, and whether there is another one.

An error that the service explains (ErrorInfo) is its answer. If it says that the replica drains, has a full queue or
lacks the model, another replica is asked. An error without an explanation comes from the connection: the replica is
lost.
"""

from __future__ import annotations

import asyncio
import logging
import re
from enum import Enum
from typing import TYPE_CHECKING

import grpc

from tintype.v1.reasons import Reason
from tintype.v1.replicas.failures import reason_of

from ..errors import GatewayStopping, ServiceError
from .replicas import NoReplica
from .status import from_rpc, is_too_large, no_replica

if TYPE_CHECKING:
    from .replica import Replica, RunningCall
    from .replicas import Replicas

log = logging.getLogger(__name__)

MAX_LOSSES = 2  # replicas that may be lost under one call: it may be the reason
DEATH_TIMEOUT = 2.0  # seconds for the check after a loss
MAX_ATTEMPTS = 8  # on several replicas
MAX_REFUSALS = 4  # if there is only one
FIRST_PAUSE = 0.1  # seconds before replicas that drain are asked again; doubled each time
pause = asyncio.sleep
# Parts of gRPC's messages for calls that never reached a server.
_UNREACHED = re.compile(
    r"failed to connect|connection refused|name not found|lookup failed|resolution failed|empty address list",
    re.IGNORECASE,
)
_FINAL_CODES = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
)


class Outcome(Enum):
    """The meaning of an error."""

    LOST = "the replica, or the connection to it, is lost"
    UNREACHED = "the replica can't be reached, and has not seen the call"
    REFUSED = "the replica drains"
    FULL = "the queue of the replica is full"
    UNKNOWN_MODEL = "the replica does not have the model"
    FINAL = "the call itself fails"


_BY_REASON = {
    Reason.UNAVAILABLE: Outcome.REFUSED,
    Reason.QUEUE_FULL: Outcome.FULL,
    Reason.MODEL_NOT_FOUND: Outcome.UNKNOWN_MODEL,
}


class Interrupted(Exception):
    """An attempt has ended without an answer; `error` is what the client gets if there is no other attempt."""

    def __init__(self, outcome: Outcome, error: ServiceError) -> None:
        super().__init__(error.message)
        self.outcome = outcome
        self.error = error


def classify(error: grpc.aio.AioRpcError) -> Outcome:
    """Return the meaning of an error."""
    reason = reason_of(error)
    if reason:
        return _BY_REASON.get(Reason.named(reason), Outcome.FINAL)  # type: ignore[call-overload, no-any-return]
    if error.code() in _FINAL_CODES or is_too_large(error.code(), error.details() or ""):
        return Outcome.FINAL
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Outcome.FULL
    is_unreached = error.code() is grpc.StatusCode.UNAVAILABLE and _UNREACHED.search(error.details() or "")
    return Outcome.UNREACHED if is_unreached else Outcome.LOST


def interruption(error: grpc.aio.AioRpcError) -> Interrupted:
    """Return the end of an attempt by an error."""
    return Interrupted(classify(error), from_rpc(error))


def cancellation(call: RunningCall, error: asyncio.CancelledError) -> BaseException:
    """Return what ends an attempt whose call was cancelled: the shutdown, the loss of its replica, or its task."""
    task = asyncio.current_task()
    if call.stopped:
        return GatewayStopping()
    if call.interrupted and not (task and task.cancelling()):
        return Interrupted(Outcome.LOST, no_replica("its replica does not answer"))
    return error


class Attempts:
    """The attempts of one call for `model`.

    `killed` is the error of a call under which replicas died, by default that of the last loss. A loss is a death if
    the replica does not answer a check then.
    """

    def __init__(
        self, replicas: Replicas, model: str, request_id: str = "", *, killed: ServiceError | None = None
    ) -> None:
        self._replicas = replicas
        self._model = model
        self._id = request_id or "-"
        self._killed = killed
        self._avoided: set[Replica] = set()
        self._refused: set[Replica] = set()
        self._error: ServiceError | None = None
        self._count = self._losses = self._rounds = 0
        self._checks: list[asyncio.Task[str]] = []  # of replicas that were lost; problems

    async def choose(self) -> Replica:
        """Return the replica for the next attempt. Raises ServiceError, GatewayStopping."""
        if self._replicas.stopping:
            raise GatewayStopping
        try:
            replica = await self._replicas.choose(self._model, self._avoided, self._refused)
        except NoReplica as error:
            log.warning("id=%s: no replica can take the call: %s", self._id, error)
            raise self._error or no_replica(str(error)) from None
        if self._replicas.stopping:  # meanwhile
            raise GatewayStopping
        return replica

    async def prepare_next(self, replica: Replica, interrupted: Interrupted) -> None:
        """Prepare another attempt. Raises the error of the call if there must not be one."""
        self._count += 1
        outcome, error = interrupted.outcome, interrupted.error
        is_alone = not self._replicas.is_elsewhere(self._model, replica)
        if outcome is Outcome.FINAL or self._count >= (MAX_REFUSALS if is_alone else MAX_ATTEMPTS):
            raise error
        if outcome in (Outcome.LOST, Outcome.UNREACHED):
            replica.suspect()
        if outcome is Outcome.LOST:
            await self._add_loss(replica, error)
        if outcome in (Outcome.FULL, Outcome.UNKNOWN_MODEL):
            await self._refuse(replica, interrupted)
        self._avoided.add(replica)
        if outcome is Outcome.REFUSED:
            self._error = self._error or error
            await self._pause_after_a_round()

    async def _pause_after_a_round(self) -> None:
        """Wait, longer each time, if every replica that can take the call has been asked; then all are asked again."""
        if any(replica.healthy and replica.lists(self._model) for replica in self._replicas.others(self._avoided)):
            return
        self._avoided.clear()
        await pause(FIRST_PAUSE * 2**self._rounds)
        self._rounds += 1

    async def _add_loss(self, replica: Replica, error: ServiceError) -> None:
        self._losses += 1
        self._checks.append(self._replicas.start_check(replica, DEATH_TIMEOUT))
        if self._losses >= MAX_LOSSES:
            log.warning("id=%s: replica %s is lost, too; the request is not repeated again", self._id, replica.address)
            raise self._killed if self._killed and all(await asyncio.gather(*self._checks)) else error
        log.warning("id=%s: replica %s is lost; the request is repeated", self._id, replica.address)
        replica.repeats += 1

    async def _refuse(self, replica: Replica, interrupted: Interrupted) -> None:
        """Leave a replica out. Raises the error if no other one can help: a full queue rather than a missing model."""
        self._refused.add(replica)
        if interrupted.outcome is Outcome.FULL:
            self._error = interrupted.error
            return
        if self._replicas.are_several:
            await self._replicas.refresh()
        others = self._replicas.others(self._refused)
        if not any(each.models and self._model in each.models for each in others):
            if any(each.models is None and not each.route.ray_serve for each in others):
                raise self._error or no_replica("a replica whose models are not known yet may have the model")
            raise self._error or interrupted.error
        self._error = self._error or interrupted.error
