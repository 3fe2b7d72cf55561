"""Having pictures made, part by part, while others ask how far it is or stop it."""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from tintype.v1 import image_service_pb2 as pb

from ..dialects import Call
from ..http.disconnect import until
from ..requests.generation import granted
from .jobs import Stopped
from .order import MAX_SEED, NAMES, WISHES

if TYPE_CHECKING:
    from ..context import Gateway
    from .jobs import Job
    from .order import Hires, Order

# Of each picture; the service makes them from its latents, in milliseconds, and nobody may ask for one.
PREVIEWS = pb.Previews(count=8, mime_type="image/png")


@dataclass(slots=True)
class Making:
    """One order on its way; `ignored` are the fields that the model turned out not to have."""

    gateway: Gateway
    order: Order
    job: Job
    request_id: str
    ignored: dict[str, str] = field(default_factory=dict)
    _part: int = 0

    async def pictures(self) -> list[pb.Image]:
        """Return the pictures; where it was stopped, those that were ready. Raises ServiceError."""
        asked, hires = pb.GenerateImagesRequest(), self.order.hires
        asked.CopyFrom(self.order.request)
        call = Call(asked, names=NAMES, wishes=WISHES)
        if hires:  # nothing may be lost before the second pass
            asked.output.mime_type, mime_type = "image/png", asked.output.mime_type
        made: list[pb.Image] = []
        for count in self.order.batches:
            asked.count = count
            first = await self._made(call)
            asked.seed = (asked.seed + count) % (MAX_SEED + 1)
            made += (
                first
                if hires is None
                else [image for one in first for image in await self._made(_second(call, one, hires, mime_type))]
            )
        return made

    async def _made(self, call: Call) -> list[pb.Image]:
        """Return the pictures of one call of the service; where it was stopped, those that were ready."""
        if self.job.interrupted:
            return []
        self.job.begin(self._part, call.request.count)
        self._part += 1
        ready: dict[int, pb.Image] = {}
        with suppress(Stopped):
            work = granted(self.gateway, call, partial(self._heard, call, ready))
            _, dropped = await until(self.job.stopped(), work, Stopped)
            self.ignored |= dict.fromkeys(dropped, "")
        return [ready[index] for index in sorted(ready)]

    async def _heard(self, call: Call, ready: dict[int, pb.Image]) -> None:
        async with aclosing(self.gateway.client.stream(call.request, PREVIEWS, self.request_id)) as events:
            async for event in events:
                self.job.hear(event)
                if event.HasField("image"):
                    ready[event.image.index] = event.image


def _second(call: Call, first: pb.Image, hires: Hires, mime_type: str) -> Call:
    """Return the call that makes one picture again, larger, from what the first pass made of it."""
    again = pb.GenerateImagesRequest()
    again.CopyFrom(call.request)
    again.MergeFrom(
        pb.GenerateImagesRequest(
            count=1,
            seed=first.seed,
            image=first.data,
            width=hires.width,
            height=hires.height,
            steps=hires.steps or None,
            earlier_steps=hires.earlier if call.request.prompt_weighting else 0,
            strength=hires.strength,
            output=pb.OutputFormat(mime_type=mime_type),
        )
    )
    return replace(call, request=again)
