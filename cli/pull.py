"""`tintype pull`, and the models of the hub that settings name: downloads into the hub's cache, with progress.

A setting that names a model is a path if that exists, otherwise OWNER/NAME[@REVISION] or OWNER/NAME/FILE.safetensors.
`resolve_model` downloads it before a server starts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from tintype.service.models.hub import Hub, HubError, HubId, HubSettings, Plan, Transfer, Wish
from tintype.service.models.hub.errors import HubRefused, HubUnavailable, NotOnHub

from . import interrupt
from .errors import UserError
from .settings.sources import warn_of_unknown_variables
from .settings.values import format_size, parse_model, parse_path
from .terminal import BLOCKS, choose_display, format_bar

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from pathlib import Path

REDRAW = 0.2  # seconds
RATE_SPAN = 10.0  # seconds over which the rate is measured
STOPPED = "stopped; the same command resumes the download"


def run(arguments: Namespace) -> int:
    """Pull a model; print its path and the command that serves it."""
    warn_of_unknown_variables()
    parse_model(arguments.model)  # refuses an address
    try:
        hub_id, settings = HubId.parse(arguments.model), HubSettings.from_environment(os.environ)
        if arguments.cache:
            settings = replace(settings, cache=parse_path(arguments.cache))
        settings = replace(settings, offline=settings.offline or arguments.offline)
        wish = Wish(precision=arguments.precision or "")
        plan = interrupt.run(_pull(hub_id, settings, wish, verbose=True, dry_run=arguments.dry_run))
    except (HubError, ValueError) as error:
        raise UserError(str(error)) from error
    except KeyboardInterrupt:
        _note(f"tintype: {STOPPED}")
        raise
    if not arguments.dry_run:
        print(plan.path)
        _note(f"Serve it: tintype up --model {plan.path if arguments.cache else plan.id}")
    return 0


def resolve_model(
    text: str, *, part: str = "", safety: bool = False, quiet: bool = False, offline: bool = False
) -> Path:
    """Return the folder or file of a model of the hub, which is downloaded unless the cache has it.

    Args:
        text: OWNER/NAME[@REVISION], or OWNER/NAME/FILE.safetensors.
        part: What is needed of it: `vae` or `text_encoders`; empty for all.
        safety: Whether its safety checker is needed too.
        quiet: Whether to show no plan and no progress.
        offline: Whether to use the cache alone.

    Raises:
        UserError: it cannot be downloaded.
        KeyboardInterrupt: after Ctrl-C; the next call resumes.
    """
    try:
        settings = HubSettings.from_environment(os.environ)
        settings = replace(settings, offline=settings.offline or offline)
        return interrupt.run(_pull(HubId.parse(text), settings, Wish(part=part, safety=safety), quiet=quiet)).path
    except (NotOnHub, HubRefused, HubUnavailable) as error:
        raise UserError(f"{error}; there is no file or folder {text!r} either") from error
    except (HubError, ValueError) as error:
        raise UserError(str(error)) from error


async def _pull(
    hub_id: HubId,
    settings: HubSettings,
    wish: Wish,
    *,
    verbose: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
) -> Plan:
    """Pull, and return the plan that was carried out.

    The plan is shown if there is something to download, or with `verbose`. All output goes to stderr.
    """
    async with Hub(settings, notice=_note) as hub:
        plan = await hub.plan(hub_id, wish)
        if verbose or (plan.missing and not quiet):
            _note(describe(plan))
            _note(plan.card.describe(settings.page(hub_id.repository)))
        if not dry_run:
            await _download(hub, plan, quiet=quiet)
    return plan


async def _download(hub: Hub, plan: Plan, *, quiet: bool) -> None:
    """Download while a display shows the progress."""
    transfer, began = Transfer(), time.monotonic()
    task = asyncio.create_task(hub.download(plan, transfer))
    try:
        with choose_display(sys.stderr, DownloadText(), quiet=quiet or not plan.missing) as shown:
            while not task.done():
                await asyncio.wait({task}, timeout=REDRAW)
                shown.show(transfer)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await task
    if plan.missing and not quiet:
        _note(f"downloaded {format_size(plan.bytes_missing)} in {format_duration(time.monotonic() - began)}")


def describe(plan: Plan) -> str:
    """Return one line about what a plan downloads."""
    files = f"{len(plan.files)} file{'s' * (len(plan.files) != 1)}, {format_size(plan.size)}"
    left = f"{format_size(plan.bytes_missing)} to download" if plan.missing else "all in the cache"
    return f"{plan.id} at {plan.commit[:12]}: {files}, {left}"


class DownloadText:
    """The progress of a download as text: bar, bytes, rate and remaining time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()

    def line(self, event: Transfer, blocks: tuple[str, str] = BLOCKS) -> str:
        """Return the line to show; empty before the size is known."""
        if not event.total:
            return ""
        done, rate = event.done, self._rate(event.done)
        sizes = f"{format_size(done)} of {format_size(event.total)}"
        if event.waiting:
            return f"{sizes}; another process downloads {event.waiting}"
        left = f", {format_duration((event.total - done) / rate)} to go" if rate else ""
        return f"{format_bar(done / event.total, blocks)} {sizes}, {format_size(int(rate))}/s{left}"

    def is_frequent(self, event: Transfer) -> bool:  # noqa: ARG002  # all are
        """Whether a log would have too many of such events."""
        return True

    def _rate(self, done: int) -> float:
        """Return the bytes per second of the last RATE_SPAN seconds."""
        now = self._clock()
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_SPAN:
            self._samples.popleft()
        began, before = self._samples[0]
        return max(done - before, 0) / (now - began) if now > began else 0.0


def format_duration(seconds: float) -> str:
    """Return seconds as `0:07`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _note(text: str) -> None:
    """Write a line to stderr, also while a display rewrites one."""
    erase = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{erase}{text}\n")
    sys.stderr.flush()
