"""From the engine's events to messages: durations, states, timings and images."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.service.fakes import UNPLANNED
from tintype.service.engine.events import Failed, Finished, Timings
from tintype.service.errors import QueueFull
from tintype.service.images.encode import EncodedImage
from tintype.service.models import ModelState
from tintype.service.rpc import to_proto
from tintype.v1 import image_service_pb2 as pb


def test_durations() -> None:
    """Durations have microseconds; an unknown one is absent, and a negative one is zero."""
    assert to_proto.duration(None) is None
    exact = to_proto.duration(1.25e-3)
    assert exact is not None
    assert exact.ToMicroseconds() == 1250
    assert to_proto.duration(-0.5) == to_proto.duration(0)
    assert not pb.Queued(position=1, eta=to_proto.duration(None)).HasField("eta")


def test_every_state_has_a_name_in_the_contract() -> None:
    """Each state of a model has a value of the contract, and each value except UNSPECIFIED is used."""
    assert set(to_proto.STATES) == set(ModelState)
    assert set(to_proto.STATES.values()) == set(pb.ModelState.values()) - {pb.MODEL_STATE_UNSPECIFIED}


def test_timings() -> None:
    """Each measured duration has its field."""
    message = to_proto.timings(Timings(1, 2, 3, 4), 11)
    sent = {field.name: value.seconds for field, value in message.ListFields()}
    assert sent == {"queue": 1, "encode": 2, "denoise": 3, "decode": 4, "total": 11}


def test_image_has_both_sizes() -> None:
    """The message has the requested size and the size that the model generated."""
    made = Finished(1, 7, np.zeros((3, 128, 256), np.float32), Timings(), UNPLANNED, revised_prompt="a lake, vivid")
    image = to_proto.response(made, EncodedImage(b"file", "image/webp", 500, 250), 1.5).image
    assert (image.index, image.seed, image.data, image.mime_type) == (1, 7, b"file", "image/webp")
    assert (image.width, image.height, image.native_width, image.native_height) == (500, 250, 256, 128)
    assert (image.revised_prompt, image.timings.total.ToMicroseconds()) == ("a lake, vivid", 1_500_000)


def test_failure_is_raised() -> None:
    """The event of a failed job raises its error."""
    error = QueueFull("full")
    with pytest.raises(QueueFull) as caught:
        to_proto.response(Failed(error), None, 0.0)
    assert caught.value is error
