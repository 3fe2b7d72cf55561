"""A task: a job that was accepted, its rows, and what the engine remembers of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .events import Completed, Timings
from .limits import TOGETHER
from .row import Phase, Row

if TYPE_CHECKING:
    from ..job import Job
    from ..models.model import Conditioning, Model
    from .batch_width import Room, Widths
    from .estimates import Price
    from .image_start import Origin
    from .plan import Plan, Shape

FEW = 4  # units of encoding that others wait for, so that a task may join their calls


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """What an accepted job is known by; `number` counts from 0 in the order of arrival."""

    number: int
    job: Job
    plan: Plan = field(repr=False)


class Task:
    """One accepted job. Times are points of the engine's clock or durations, in seconds; work is in microseconds.

    Those of one `amount` need as much time until they start. `entered` is what its caller had got when it arrived, see
    `shares`; `place`, `wait` and `percent` (loaded) are what was last told. One whose model was last seen on its way
    is `loading`; one that is `waiting` waits for memory that others hold; one that `holds` keeps its model in memory;
    the model of one that is `fresh` has come and was not used since; for one that was `relieved` all that was idle has
    been dropped.
    """

    def __init__(self, ticket: Ticket, arrived: float, price: Price, widths: Widths) -> None:
        self.ticket = ticket
        self._widths = widths
        self.plan: Plan = ticket.plan
        self.arrived = arrived
        self.price = price
        self.entered = 0
        self.pictures, self.calls = len(self.plan.seeds), self.plan.calls
        self.chunks = 0  # of the longest text, where there are many
        self.texts = len(self.plan.prompts)
        self.amount = self.kind, self.plan.guided, self.plan.source is not None, self.calls, self.pictures
        self.rows = [Row(self, index) for index in range(self.pictures)]
        self.model: Model | None = None
        self.started = False
        self.holds = False
        self.fresh = False
        self.loading = False
        self.waiting = False
        self.relieved = False
        self.conditionings: tuple[Conditioning, ...] = ()
        self.place = -1
        self.wait: float | None = None
        self.percent = -1
        self.encode = self.denoise = self.decode = 0.0

    @property
    def number(self) -> int:
        """Its place in the order of arrival."""
        return self.ticket.number

    @property
    def caller(self) -> str:
        """Whom the engine is fair to."""
        return self.ticket.job.caller

    @property
    def priority(self) -> int:
        """Higher goes first."""
        return self.ticket.job.priority

    @property
    def deadline(self) -> float | None:
        """When it must be done."""
        return self.ticket.job.deadline

    @property
    def kind(self) -> tuple[str, Shape]:
        """What rows must have in common to share a call."""
        return self.plan.kind

    @property
    def room(self) -> Room:
        """What a unit that it leads holds at most."""
        return self._widths.room(self.kind)

    @property
    def batched_timestep(self) -> bool:
        """Whether rows of one call may be at different timesteps."""
        return self.plan.batched_timestep

    @property
    def text(self) -> object:
        """The shape of its conditioning; None before it is encoded.

        Rows of one call share it as well. While many units of encoding are left it is like no other, so that no call of
        others waits for all of them.
        """
        if self.encodes_left > FEW:
            return self
        return self.conditionings[0].key if not self.encodes_left else None

    @property
    def encodes_left(self) -> int:
        """How many units of encoding are left."""
        return -(-(self.texts - len(self.conditionings)) // TOGETHER)

    @property
    def ready(self) -> bool:
        """Whether its model is in memory; `started` tasks keep theirs, whatever becomes of it elsewhere."""
        return self.model is not None

    @property
    def awaited(self) -> bool:
        """Whether its model has to come first."""
        return self.loading and not self.ready

    @property
    def living(self) -> list[Row]:
        """The rows that are not done, the one nearest to its end first."""
        rows = [row for row in self.rows if row.phase is not Phase.DONE]
        return sorted(rows, key=lambda row: (-row.phase, row.calls_left)) if len(rows) > 1 else rows

    @property
    def work(self) -> int:
        """What is left to do, at its price."""
        if not self.started:
            each = self.calls * self.price.call + self.price.decode
            return self.encodes_left * self.price.encode + self.pictures * each
        left = self.encodes_left * self.price.encode
        for row in self.rows:
            if row.phase is not Phase.DONE:
                left += row.calls_left * self.price.call + self.price.decode
        return left

    def timings(self, now: float, row: Row | None = None) -> Timings:
        """Say where the time since its arrival went, for one row or for all; what was no work was waiting."""
        spent = row or self
        worked = self.encode + spent.denoise + spent.decode
        return Timings(max(now - self.arrived - worked, 0.0), self.encode, spent.denoise, spent.decode)

    def encoded(self, conditionings: tuple[Conditioning, ...], origins: list[Origin] | None) -> None:
        """Take the conditionings of the next texts.

        After the last one come the beginnings of rows that start from an image.
        """
        self.conditionings += conditionings
        for row in self.rows if not self.encodes_left else ():
            if origins is not None:
                row.begin_at(origins[row.index])
            row.encoded()

    def completed(self, now: float) -> Completed:
        """Sum it up."""
        pictures = len(self.rows)
        tokens = sum(conditioning.tokens for conditioning in self.conditionings)
        return Completed(self.plan.model, pictures, self.plan.calls * pictures, tokens, self.timings(now))

    def let_go(self) -> None:
        """Drop arrays and model, in the device thread."""
        for row in self.rows:
            row.finish()
        self.model, self.conditionings = None, ()
