"""Stages of a request as spans: prepare, queue, load, encode, denoise, decode and encode-image.

Stages of the device may overlap those of other requests. How long the device worked on this request in a stage is the
attribute `tintype.busy_seconds`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from tintype.v1.tracing import current_span

from .engine import events

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def record_event(event: events.Event) -> None:
    """Add the stages of a task to the span of its call, and what was made, with the task's last event."""
    span = current_span()
    if not span.recording or not isinstance(event, events.Completed | events.Failed):
        return
    for stage in event.stages:
        span.stage(stage.name, stage.began, stage.ended, {"tintype.busy_seconds": round(stage.busy, 6)})
    if isinstance(event, events.Completed):
        made: dict[str, str | int] = {"tintype.images": event.images, "tintype.steps": event.steps}
        made |= {"gen_ai.response.model": event.model, "gen_ai.usage.input_tokens": event.prompt_tokens}
        span.set(made)
    else:
        span.set({"tintype.error.reason": str(event.error.reason)})


def as_stage(name: str, work: Callable[[], T]) -> T:
    """Return the result of `work`, and add its time as a stage to the span of the call."""
    span = current_span()
    if not span.recording:
        return work()
    began = time.monotonic()
    try:
        return work()
    finally:
        span.stage(name, began, time.monotonic(), {})
