"""The time of a bench: shares of what is left for each phase, and what is left out when an image takes too long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import phases
from .figures import unique

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .clients import Client
    from .figures import Figures, StepFigures

RESERVE = 0.06  # fraction of the time that stays for shutting down
PLANNED = 0.85  # fraction of a phase's share that is planned; an image that has begun is still finished
# Shares of the time that is left: one caller, each number of several, and the gateway.
ONE_CALLER, CALLERS, GATEWAY = 2, {4: 2, 8: 3}, 2
COMPARED = 20  # steps that are measured besides the model's own number, to compare models and machines


class Schedule:
    """The end of a bench, `seconds` after its start, and the phase that runs.

    `show` gets the name of each phase, `note` says what is not measured.
    """

    def __init__(self, seconds: float, show: Callable[[str], None], note: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._end = time.perf_counter() + seconds * (1 - RESERVE)
        self._show = show
        self._note = note
        self._reserved = 0.0  # seconds for what follows
        self.phase = ""  # what runs; empty when all is measured

    def left(self) -> float:
        """Return the seconds that are left, without the reserve; at least 0."""
        return max(0.0, self._end - time.perf_counter())

    def begin(self, phase: str, share: float = 1.0) -> float:
        """Begin a phase that may take a share of the time that is left, and return its end."""
        self.phase = phase
        self._show(phase)
        return time.perf_counter() + max(0.0, self.left() - self._reserved) * share * PLANNED

    def fits(self, phase: str, seconds: float) -> bool:
        """Return whether a phase that takes at least `seconds` fits; otherwise note that it is left out."""
        if seconds <= self.left() - self._reserved:
            return True
        self._note(f"{phase} is left out: it takes about {seconds:.0f} s, more than is left of {self._seconds:g} s")
        return False

    async def measure_steps(
        self,
        client: Client,
        found: Sequence[StepFigures],
        cpu: Callable[[], float | None] = lambda: None,
        after: int = 0,
        reserved: float = 0.0,
    ) -> None:
        """Measure one caller and several for each number of steps.

        `after` is the share of what follows, and `reserved` are the seconds that it takes to start.
        """
        self._reserved = reserved
        waiting = len(found) * (ONE_CALLER + sum(CALLERS.values())) + after
        for figures in found:
            title = f"{figures.steps} steps"
            end = self.begin(f"1 caller, {title}", ONE_CALLER / waiting)
            began = time.perf_counter()
            await phases.warm_up(client, figures.steps)
            if self.fits(f"one caller with {title}", phases.LEAST * (time.perf_counter() - began)):
                await phases.one_caller(client, figures, end, cpu)
            waiting -= ONE_CALLER
            for number, share in CALLERS.items():
                end = self.begin(f"{number} callers, {title}", share / waiting)
                waiting -= share
                one = figures.image.median if figures.image.values else time.perf_counter() - began
                if self.fits(f"{number} callers with {title}", one * number * (1 + phases.MIN_ROUNDS)):
                    await phases.callers(client, figures, number, end)
        self._reserved = 0.0
        self.phase = ""

    async def measure_gateway(self, service: Client, gateway: Client, figures: Figures) -> None:
        """Measure what a gateway adds to an image, with the first number of steps."""
        found, end = figures.by_steps[0], self.begin("the gateway")
        one = (found.image if found.image.values else figures.first).median
        if self.fits("the gateway", 2 * one * (1 + phases.LEAST)):
            await phases.gateway_in_turns(service, gateway, found, end)
        self.phase = ""


def steps_to_measure(steps: Sequence[int], default: int) -> list[int]:
    """Return the numbers of steps of the command line; without them, the model's own and COMPARED."""
    return list(steps) or unique([default or COMPARED, COMPARED])
