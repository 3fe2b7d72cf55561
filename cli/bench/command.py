"""`tintype bench`: measure a service of its own, or a running one, and print the figures of this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tintype.service.models.runtime.runtime import usable_cores

from .. import interrupt
from ..doctor import machine
from ..errors import USER_ERROR, UserError
from ..generation.local import is_remote
from ..servers.supervisor import ServerExited
from ..settings.sources import Sources, warn_of_unknown_variables
from ..settings.values import INTEGER
from ..terminal import choose_display
from .figures import Figures, unique
from .local import measure_local
from .remote import measure_grpc, measure_rest
from .report import format_figures, format_report
from .schedule import Schedule

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from ..doctor.findings import Finding

LEAST_SECONDS, MOST_SECONDS = 2, 3600
MAX_STEPS = 150  # the contract's
BUSY = 0.5  # load for each core from which the figures are disturbed
TIMES = 4  # numbers of steps at most


class PhaseText:
    """What is being measured, as a line."""

    def line(self, event: str, blocks: tuple[str, str] = ("", "")) -> str:  # noqa: ARG002
        """Return the line."""
        return f"measuring {event}"

    def is_frequent(self, event: str) -> bool:  # noqa: ARG002
        """Return False: each phase has a line in a log."""
        return False


def run(arguments: Namespace) -> int:
    """Measure, and print what was measured, also after Ctrl-C and after an error of the service."""
    warn_of_unknown_variables()
    seconds = parse_seconds(arguments.seconds)
    steps = [_parse_steps(text) for text in arguments.steps or ()]
    if len(steps) > TIMES:
        raise UserError(f"--steps may be given at most {TIMES} times; got {len(steps)}")
    sources, figures = Sources.gather(vars(arguments)), Figures()
    with suppress(OSError, AttributeError):  # Windows has no load average
        figures.load_average = os.getloadavg()[0]
    try:
        with choose_display(sys.stderr, PhaseText(), quiet=arguments.quiet) as display:
            schedule = Schedule(seconds, display.show, figures.notes.append)
            interrupt.run(_measure(arguments, sources, figures, schedule, unique(steps)))
    except KeyboardInterrupt:
        figures.notes.append("interrupted: the figures are incomplete")
        raise
    except ServerExited as exited:
        if not exited.reported:
            raise
        return USER_ERROR
    finally:
        _print(figures, as_json=arguments.json)
    return 0


def parse_seconds(text: str) -> float:
    """Return the value of --seconds. Raises UserError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise UserError(f"--seconds must be {LEAST_SECONDS} to {MOST_SECONDS}; got {text!r}")
    return seconds


def _parse_steps(text: str) -> int:
    """Return a value of --steps. Raises UserError."""
    try:
        steps = INTEGER.from_text(text)
    except ValueError:
        steps = 0
    if not 1 <= steps <= MAX_STEPS:
        raise UserError(f"--steps must be 1 to {MAX_STEPS}; got {text!r}")
    return steps


async def _measure(
    arguments: Namespace, sources: Sources, figures: Figures, schedule: Schedule, steps: Sequence[int]
) -> None:
    """Measure until all is done or the time ends."""
    try:
        async with asyncio.timeout(schedule.left()):
            if is_remote(arguments):
                await measure_grpc(sources, arguments.model or "", figures, schedule, steps, arguments.url or "")
            elif arguments.url is not None:
                await measure_rest(arguments.url, sources, arguments.model or "", figures, schedule, steps)
            else:
                await measure_local(sources, arguments.model or "", figures, schedule, steps)
    except TimeoutError:
        if not schedule.phase:  # servers that take long to end
            return
        figures.notes.append(f"the time of --seconds {arguments.seconds} ended while measuring {schedule.phase}")


def _findings() -> list[Finding]:
    return [*machine.software(), *machine.processors(), *machine.memory()]


def _print(figures: Figures, *, as_json: bool) -> None:
    """Print what was measured and what was not; nothing after an error at the start."""
    if not (figures.notes or figures.imports.values or figures.first.values):
        return
    if (figures.load_average or 0.0) > BUSY * usable_cores():
        figures.notes.append("other programs were running before: see the load; times are too long")
    print(format_figures(figures, _findings()) if as_json else format_report(figures, _findings()))
