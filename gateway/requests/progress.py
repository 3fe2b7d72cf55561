"""What a stream tells between the pictures, to whoever asks for it with the header `x-tintype-progress: true`.

OpenAI has no such events. Its SDKs hand unknown ones to programs that know no more than they do, and so nobody gets
them unasked. Times are in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

HEADER = "x-tintype-progress"
QUEUED, LOADING, PROGRESS = "tintype.queued", "tintype.loading", "tintype.progress"


class Queued(msgspec.Struct, kw_only=True):
    """The request waits: for how many others, and about how long."""

    type: str
    position: int
    eta: float | UnsetType = UNSET


class Loading(msgspec.Struct, kw_only=True):
    """The model is brought into memory; `fraction` of it is there."""

    type: str
    model: str
    fraction: float


class Progress(msgspec.Struct, kw_only=True):
    """So many steps of one picture are done; `eta` is the time to the end of the whole request."""

    type: str
    image_index: int
    step: int
    steps: int
    eta: float | UnsetType = UNSET


def told(event: pb.StreamImagesResponse) -> Queued | Loading | Progress | None:
    """Return what an event of the service says of the way to a picture, if it does."""
    if event.HasField("queued"):
        return Queued(type=QUEUED, position=event.queued.position, eta=_eta(event.queued))
    if event.HasField("loading"):
        return Loading(type=LOADING, model=event.loading.model, fraction=round(event.loading.fraction, 3))
    if event.HasField("progress"):
        index, step, steps = event.progress.index, event.progress.step, event.progress.steps
        return Progress(type=PROGRESS, image_index=index, step=step, steps=steps, eta=_eta(event.progress))
    return None


def _eta(event: pb.Queued | pb.Progress) -> float | UnsetType:
    return event.eta.ToMilliseconds() / 1000 if event.HasField("eta") else UNSET
