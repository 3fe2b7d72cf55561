"""Deliveries: after the loss of a device the client still gets each image once, with its own seed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.replicas.delivery import SEEDS, Delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 3


def made_by_device(request: pb.StreamImagesRequest, order: list[int]) -> Iterator[pb.StreamImagesResponse]:
    """Yield what a device sends: a preview after the first step, images in `order`, `completed` last."""
    generation = request.generation
    yield pb.StreamImagesResponse(queued=pb.Queued(position=1))
    indexes = [index for index in order if index < generation.count]
    for index in indexes:
        for step in range(1, STEPS + 1):
            yield pb.StreamImagesResponse(progress=pb.Progress(index=index, step=step, steps=STEPS))
            if step == 1:
                yield pb.StreamImagesResponse(preview=pb.Preview(index=index, step=step))
        seed = (generation.seed + index) % SEEDS
        yield pb.StreamImagesResponse(image=pb.Image(index=index, seed=seed))
    usage = pb.Usage(images=len(indexes), steps=STEPS * len(indexes), prompt_tokens=7)
    yield pb.StreamImagesResponse(completed=pb.Completed(model="m", usage=usage))


@given(
    st.integers(1, 6),
    st.integers(0, SEEDS - 1),
    st.permutations(range(6)),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_each_image_is_sent_once(count: int, seed: int, order: list[int], losses: list[int]) -> None:
    """Whatever was sent before a loss, images and previews come once each, with seed + k, and the summary is right."""
    request = pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x", count=count, seed=seed))
    delivery = Delivery(request)
    sent: list[pb.StreamImagesResponse] = []
    for limit in (*losses, 1000):
        if delivery.is_complete:
            break
        for number, response in enumerate(made_by_device(delivery.request(0.0), order)):
            if number >= limit:
                break
            accepted = delivery.accept(response)
            sent += [accepted] if accepted else []
    if not sent or not sent[-1].HasField("completed"):
        sent.append(delivery.completed("m"))
    images = [response.image for response in sent if response.HasField("image")]
    assert sorted((image.index, image.seed) for image in images) == [
        (index, (seed + index) % SEEDS) for index in range(count)
    ]
    previews = Counter(response.preview.index for response in sent if response.HasField("preview"))
    assert previews == dict.fromkeys(range(count), 1)
    done = set()
    for response in sent:
        done |= {response.image.index} if response.HasField("image") else set()
        assert not (response.HasField("progress") and response.progress.index in done)
    usage = sent[-1].completed.usage
    assert usage.images == count
    assert usage.steps >= STEPS * count
    assert delivery.remaining == 0


def test_the_first_request_is_unchanged() -> None:
    """A device gets the client's own message, with a seed; only a repetition is changed."""
    request = pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x", count=2))
    request.generation.timeout.FromSeconds(10)
    delivery = Delivery(request, draw=lambda: 5)
    assert delivery.request(0.0) is request
    assert request.generation.seed == 5
    again = delivery.request(4.0)
    assert (again.generation.count, again.generation.seed) == (2, 5)
    assert again.generation.timeout.ToSeconds() == 6
    assert request.generation.timeout.ToSeconds() == 10


def test_seed_zero_is_a_seed() -> None:
    """A request with the seed 0 keeps it."""
    request = pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x", seed=0))
    assert Delivery(request, draw=lambda: 5).request(0.0).generation.seed == 0


def test_remaining_work() -> None:
    """The remaining work falls with each step, and starts again after a loss."""
    request = pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x", count=2, seed=1))
    delivery = Delivery(request)
    delivery.request(0.0)
    assert delivery.remaining == 1
    delivery.accept(pb.StreamImagesResponse(progress=pb.Progress(index=0, step=1, steps=2)))
    assert delivery.remaining == 0.75
    delivery.accept(pb.StreamImagesResponse(image=pb.Image(index=0)))
    assert delivery.remaining == 0.5
    delivery.accept(pb.StreamImagesResponse(progress=pb.Progress(index=1, step=1, steps=2)))
    delivery.request(0.0)
    assert delivery.remaining == 0.5


def test_progress_that_the_client_does_not_read_is_not_sent() -> None:
    """Devices report it in any case, for the remaining work."""
    delivery = Delivery(pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x"), omit_progress=True))
    assert not delivery.request(0.0).omit_progress
    assert delivery.accept(pb.StreamImagesResponse(progress=pb.Progress(index=0, step=1, steps=2))) is None
    assert delivery.remaining == 0.5


def test_waiting() -> None:
    """A request waits from a position above 0 until the next other response."""
    delivery = Delivery(pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x", seed=1)))
    delivery.request(0.0)
    seen = []
    for response in (
        pb.StreamImagesResponse(queued=pb.Queued(position=2)),
        pb.StreamImagesResponse(queued=pb.Queued(position=0)),
        pb.StreamImagesResponse(queued=pb.Queued(position=1)),
        pb.StreamImagesResponse(progress=pb.Progress(index=0, step=1, steps=2)),
    ):
        delivery.accept(response)
        seen.append(delivery.waiting)
    assert seen == [True, False, True, False]
