"""The six calls and health through the ingress of Ray Serve."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image

from tests.support.cluster.nodes import wait_until
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import REQUEST_ID
from tintype.v1.reasons import DETAILS

if TYPE_CHECKING:
    from tests.support.cluster.nodes import Nodes

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {"steps": 150, "width": 1024, "height": 1024, "count": 4}


def request(**fields: Any) -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(**{"prompt": "a lake", "seed": 7, "steps": 4, **fields})


def stream(**fields: Any) -> pb.StreamImagesRequest:
    return pb.StreamImagesRequest(generation=request(**fields))


def reason(error: Any) -> str:
    """Return the service's own reason in the details of an error."""
    info = error_details_pb2.ErrorInfo()
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS])
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason


def test_same_seed_same_image(stub: Any) -> None:
    """Both replicas make the same image from the same seed, but for the rounding of calls of other widths."""
    sent = [stub(number % 2).GenerateImages(request(), timeout=60).images[0].data for number in range(6)]
    images = [np.asarray(Image.open(BytesIO(data)), np.int16) for data in sent]
    assert max(np.abs(image - images[0]).max() for image in images) <= 2
    assert np.ptp(images[0]) > 100


def test_ten_large_images_in_one_message(stub: Any) -> None:
    """Messages of many megabytes pass."""
    response = stub(0).GenerateImages(request(count=10, width=1024, height=1024, steps=1), timeout=120)
    assert len({image.data for image in response.images}) == 10


def test_stream_with_previews(stub: Any) -> None:
    """Events arrive in order, the previews among them, and the id comes back in the trailing metadata."""
    sent = pb.StreamImagesRequest(generation=request(steps=8), previews=pb.Previews(count=3))
    call = stub(1).StreamImages(sent, timeout=60, metadata=((REQUEST_ID, "req-18"),))
    events = [event.WhichOneof("event") for event in call]
    assert [event for event in dict.fromkeys(events) if event != "loading"] == [
        "queued",
        "progress",
        "preview",
        "image",
        "completed",
    ]
    assert events.count("preview") == 3
    assert dict(call.trailing_metadata())[REQUEST_ID] == "req-18"


@pytest.mark.parametrize(
    ("fields", "code", "why"),
    [
        ({"steps": 900}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"model": "nope"}, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ({**LONG, "timeout": {"nanos": 1_000_000}}, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_errors_have_details(stub: Any, fields: Any, code: Any, why: str, streamed: bool) -> None:  # noqa: FBT001
    """Code, reason and id of an error arrive, also from a stream; the field `timeout` is the deadline."""
    with pytest.raises(grpc.RpcError) as caught:
        called(stub(0), fields, streamed=streamed)
    error: Any = caught.value
    assert error.code() is code
    assert reason(error) == why
    assert REQUEST_ID in dict(error.trailing_metadata())


def called(stub: Any, fields: Any, *, streamed: bool) -> None:
    """Generate images; in a stream, only an empty message may come before an error, whose status it carries."""
    if not streamed:
        stub.GenerateImages(request(**fields), timeout=60)
        return
    for event in stub.StreamImages(stream(**fields), timeout=60):
        assert not event.WhichOneof("event")


@pytest.mark.parametrize("streamed", [False, True])
def test_cancelled_call_ends_in_the_replica(stub: Any, nodes: Nodes, streamed: bool) -> None:  # noqa: FBT001
    """If the client cancels, the replica stops: it logs the call as cancelled."""
    id_ = f"to-cancel-{streamed}"
    if streamed:
        call = stub(0).StreamImages(stream(**LONG), metadata=((REQUEST_ID, id_),))
        while next(call).WhichOneof("event") != "progress":
            pass
    else:
        call = stub(0).GenerateImages.future(request(**LONG), metadata=((REQUEST_ID, id_),))
        wait_until(lambda: stub(0).GetModel(pb.GetModelRequest()), "a replica answers")
    call.cancel()
    wait_until(lambda: is_logged(nodes, f"id={id_} ", "status=CANCELLED"), "the call is cancelled")


def is_logged(nodes: Nodes, *texts: str) -> bool:
    """Whether a replica has logged a line with all texts."""
    lines = (line for log in nodes.replica_logs().values() for line in log.splitlines())
    return any(all(text in line for text in texts) for line in lines)


def test_health_and_reflection(nodes: Nodes) -> None:
    """Check answers, Watch is refused at once, and tools find our services."""
    with grpc.insecure_channel(nodes.addresses[0]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tintype.v1.ImageService"):
            status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            list(health.Watch(health_pb2.HealthCheckRequest(), timeout=30))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {"tintype.v1.ImageService", "grpc.health.v1.Health"} <= set(services)
