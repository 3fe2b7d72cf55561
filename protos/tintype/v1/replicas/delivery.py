"""What of a request has been sent to its client, and what is still to be made: independent of connections.

A request is sent to a worker, a device or a replica, as it is. If that worker is lost, the next one gets a request for
the images that are missing: image k has the seed `seed + k`, so its number can be changed to 0 with the seed
`seed + k`, and it stays the same image. Missing images between finished ones are asked for with their neighbours, which
are dropped. Images, previews and steps that the client knows are not sent again.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from .. import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = 2**63  # seeds count modulo this number


class Delivery:
    """One request and its responses so far. It gets a seed if it has none.

    With `measures` the worker reports progress even if the client does not read it, because `remaining` needs it.
    `waiting` is True from a response that says that other requests run first until the first one that says otherwise.
    """

    def __init__(
        self, request: pb.StreamImagesRequest, draw: Callable[[], int] | None = None, *, measures: bool = True
    ) -> None:
        generation = request.generation
        if not generation.HasField("seed"):
            generation.seed = draw() if draw else secrets.randbelow(2**32)  # the noise uses 32 bits
        self._request, self._omits_progress = request, request.omit_progress
        request.omit_progress = request.omit_progress and not measures
        self._count = max(1, generation.count)
        self._first, self._end = 0, self._count  # the images that the present worker was asked for
        self._images: set[int] = set()
        self._previews: set[tuple[int, int]] = set()
        self._steps: dict[int, int] = {}  # of each image, in all
        self._done: dict[int, int] = {}  # by the present worker
        self._sent_steps: dict[int, int] = {}
        self._sent = self._is_repeated = self.waiting = False

    @property
    def is_complete(self) -> bool:
        """Whether all images have been sent."""
        return len(self._images) >= self._count

    @property
    def remaining(self) -> float:
        """Fraction of the steps of all images that is still to be taken, 0 to 1."""
        done = sum(self._done.get(index, 0) / self._steps[index] for index in self._steps if index not in self._images)
        return max(0.0, 1 - (len(self._images) + done) / self._count)

    def request(self, elapsed: float) -> pb.StreamImagesRequest:
        """Return the request for the missing images, `elapsed` seconds after the request arrived."""
        self.waiting, self._done = False, {}
        if not self._sent:
            self._sent = True
            return self._request
        self._is_repeated = True
        missing = [index for index in range(self._count) if index not in self._images]
        self._first, self._end = missing[0], missing[-1] + 1
        request = pb.StreamImagesRequest()
        request.CopyFrom(self._request)
        generation = request.generation
        generation.count = self._end - self._first
        generation.seed = (generation.seed + self._first) % SEEDS
        if generation.HasField("timeout"):
            left = generation.timeout.ToNanoseconds() - round(elapsed * 1e9)
            generation.timeout.FromNanoseconds(max(1, left))
        return request

    def accept(self, response: pb.StreamImagesResponse) -> pb.StreamImagesResponse | None:
        """Return a response of the present worker as one of this request; None if it has been sent already."""
        kind = response.WhichOneof("event")
        self.waiting = kind == "queued" and response.queued.position > 0
        if kind == "progress":
            return response if self._accept_progress(response.progress) else None
        if kind == "preview":
            return response if self._accept_preview(response.preview) else None
        if kind == "image":
            return response if self._accept_image(response.image) else None
        if kind == "completed":
            self._complete(response.completed)
        return response

    def completed(self, model: str) -> pb.StreamImagesResponse:
        """Return the summary of a request whose worker was lost after the last image."""
        usage = pb.Usage(images=len(self._images), steps=sum(self._steps.values()))
        return pb.StreamImagesResponse(completed=pb.Completed(model=model, usage=usage))

    def _accept_progress(self, progress: pb.Progress) -> bool:
        index = progress.index = progress.index + self._first
        self._steps[index], self._done[index] = max(1, progress.steps), progress.step
        is_new = index not in self._images and progress.step > self._sent_steps.get(index, 0)
        if is_new:
            self._sent_steps[index] = progress.step
        return is_new and not self._omits_progress

    def _accept_preview(self, preview: pb.Preview) -> bool:
        preview.index += self._first
        key = preview.index, preview.preview_index
        is_new = preview.index not in self._images and key not in self._previews
        self._previews.add(key)
        return is_new

    def _accept_image(self, image: pb.Image) -> bool:
        image.index += self._first
        is_new = image.index not in self._images
        self._images.add(image.index)
        return is_new

    def _complete(self, completed: pb.Completed) -> None:
        """Add the images that earlier workers made to the summary of the last one."""
        if not self._is_repeated:
            return
        earlier = [index for index in self._images if not self._first <= index < self._end]
        if earlier:
            each = completed.usage.steps // (self._end - self._first)  # the images of a request have the same steps
            completed.usage.steps += sum(self._steps.get(index, each) for index in earlier)
        completed.usage.images = len(self._images)
