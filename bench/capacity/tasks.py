"""Requests, and the tasks and rows that a node makes of them: as many fields as the engine's policy reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tintype.service.engine.task import Phase
from tintype.service.models.residency.leases import Lease, LeaseState

from .profiles import BATCH_KEY

if TYPE_CHECKING:
    from tintype.service.engine.batch_width import BatchLimit, BatchWidths
    from tintype.service.engine.estimates import Estimates

    from .profiles import Profile


@dataclass(slots=True, eq=False)
class Request:
    """One request of a client for one image of `model`. Times are seconds of the simulation.

    `work` is the device's time for it alone or in its batches; `refused` is True if the node's queue was full.
    """

    number: int
    model: str
    caller: str
    steps: int
    sent: float
    node: int = -1
    done: float = -1.0
    work: float = 0.0
    refused: bool = False

    @property
    def latency(self) -> float:
        """Seconds from the request to its answer."""
        return self.done - self.sent

    @property
    def wait(self) -> float:
        """Seconds in which the device did not work for the request: queues, loading and the gateway."""
        return max(self.latency - self.work, 0.0)


@dataclass(slots=True, eq=False)
class SimulatedRow:
    """The image of a task, as `policy.PolicyRow`."""

    task: SimulatedTask
    model_rows: int
    calls_left: int
    phase: Phase = Phase.ENCODE
    timestep: float = 0.0
    unbatched: bool = False

    def advance(self, calls: int) -> None:
        """Apply `calls` denoiser calls."""
        self.calls_left -= calls
        if not self.calls_left:
            self.phase = Phase.DECODE


@dataclass(frozen=True, slots=True)
class Work:
    """Microseconds of one unit of encoding, one call and one decode, as `estimates.Cost`."""

    encode: int
    call: int
    decode: int

    @classmethod
    def of(cls, profile: Profile, widths: BatchWidths) -> Work:
        """Return the cost that the engine would have measured for an image alone."""
        call = profile.call(profile.rows, widths.choose(BATCH_KEY, profile.rows))
        return cls(*(max(round(seconds * 1e6), 1) for seconds in (profile.encode, call, profile.decode)))


@dataclass(slots=True, eq=False)
class SimulatedTask:
    """A request on a node, as `policy.PolicyTask` and with the fields that `Queue` reads."""

    number: int
    request: Request
    arrived: float
    cost: Work
    widths: BatchWidths
    model_rows: int
    lease: Lease = field(init=False)
    row: SimulatedRow = field(init=False)
    batch_key: object = field(init=False)
    cost_class: object = field(init=False)
    priority: int = 0
    served_before: int = 0
    conditioning_key: object = None
    batched_timestep: bool = True
    deadline: float | None = None

    def __post_init__(self) -> None:
        self.lease = Lease(self.request.model)
        self.row = SimulatedRow(self, self.model_rows, self.request.steps)
        self.batch_key = (self.request.model, *BATCH_KEY[1:])
        self.cost_class = (self.request.model, self.request.steps)

    @property
    def caller(self) -> str:
        """The caller, to which fair queueing applies."""
        return self.request.caller

    @property
    def state(self) -> LeaseState:
        """State of the lease of its model."""
        return self.lease.state

    @property
    def started(self) -> bool:
        """Whether a unit of it has started."""
        return self.lease.state is LeaseState.RUNNING

    @property
    def unfinished(self) -> list[SimulatedRow]:
        """The row, until it is done."""
        return [] if self.row.phase is Phase.DONE else [self.row]

    @property
    def work(self) -> int:
        """Remaining work in microseconds."""
        row, cost = self.row, self.cost
        if row.phase is Phase.DONE:
            return 0
        encode = cost.encode if row.phase is Phase.ENCODE else 0
        return encode + row.calls_left * cost.call + cost.decode

    @property
    def batch_limit(self) -> BatchLimit:
        """The largest batch that it may lead."""
        return self.widths.limit(BATCH_KEY)

    def width(self, model_rows: int, /) -> int:
        """Return how many of `model_rows` rows share a call."""
        return self.widths.choose(BATCH_KEY, model_rows)

    def seconds_left(self, _: Estimates) -> float:
        """Return the remaining seconds without waiting."""
        return self.work / 1e6
