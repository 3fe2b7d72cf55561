"""Progress events of a stream, sent to clients that request them with the header `x-tintype-progress: true`.

OpenAI has no such events, and its SDKs pass unknown events on to programs that may not expect them. So they are sent
on request only. Times are in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

HEADER = "x-tintype-progress"
QUEUED, LOADING, PROGRESS = "tintype.queued", "tintype.loading", "tintype.progress"


class QueuedEvent(msgspec.Struct, kw_only=True):
    """The request waits in the queue; `position` is the number of requests before it, `eta` the time to its start."""

    type: str
    position: int
    eta: float | UnsetType = UNSET


class LoadingEvent(msgspec.Struct, kw_only=True):
    """The model is being loaded; `fraction` of it is in memory."""

    type: str
    model: str
    fraction: float


class StepEvent(msgspec.Struct, kw_only=True):
    """`step` of the `steps` of one image are done; `eta` is the time to the end of the whole request."""

    type: str
    image_index: int
    step: int
    steps: int
    eta: float | UnsetType = UNSET


def progress_event(event: pb.StreamImagesResponse) -> QueuedEvent | LoadingEvent | StepEvent | None:
    """Return the progress that an event of the service reports; None if it reports none."""
    if event.HasField("queued"):
        return QueuedEvent(type=QUEUED, position=event.queued.position, eta=_eta(event.queued))
    if event.HasField("loading"):
        return LoadingEvent(type=LOADING, model=event.loading.model, fraction=round(event.loading.fraction, 3))
    if event.HasField("progress"):
        index, step, steps = event.progress.index, event.progress.step, event.progress.steps
        return StepEvent(type=PROGRESS, image_index=index, step=step, steps=steps, eta=_eta(event.progress))
    return None


def _eta(event: pb.Queued | pb.Progress) -> float | UnsetType:
    return event.eta.ToMilliseconds() / 1000 if event.HasField("eta") else UNSET
