"""Keys over gRPC: permissions of keys, and that each call needs one."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.gateway.fakes import SMALLEST_PNG
from tests.support.service.rpc_errors import rpc_error, status_of
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import keys
from tintype.v1.keyfile import create, revoke

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

Code = grpc.StatusCode
ASKED = pb.GenerateImagesRequest(prompt="a lake")
# Each call of the contract, and whether it needs an admin key.
CALLS = {
    "GenerateImages": (ASKED, False),
    "StreamImages": (pb.StreamImagesRequest(generation=ASKED), False),
    "ListModels": (pb.ListModelsRequest(), False),
    "GetModel": (pb.GetModelRequest(), False),
    "LoadModel": (pb.LoadModelRequest(), True),
    "UnloadModel": (pb.UnloadModelRequest(model="second"), True),
    "UpscaleImage": (pb.UpscaleImageRequest(image=base64.b64decode(SMALLEST_PNG)), False),
}


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


async def code(here: Any, name: str, metadata: Any = ()) -> Any:
    """Return the status code and the reason with which a call ends."""
    call = getattr(here.stub, name)(CALLS[name][0], metadata=metadata)
    try:
        await (call.read() if name == "StreamImages" else call)
    except grpc.aio.AioRpcError as error:
        _, details = status_of(error)
        return error.code(), details["ErrorInfo"].reason
    return Code.OK, ""


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scenario)


@pytest.mark.parametrize("name", CALLS)
def test_every_call_needs_a_key(running: Any, tmp_path: Path, name: str) -> None:
    """A call without a valid key is refused and starts no job; only admin keys may load and unload models."""
    user, admin = create(tmp_path / "keys", "alice"), create(tmp_path / "keys", "ops", admin=True)

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            keys = ((), bearer("tt-wrong"), (("authorization", "Basic !!"),), bearer(user), bearer(admin))
            return [await code(here, name, key) for key in keys], len(here.device.jobs)

    found, jobs = run(scenario())
    allowed = (Code.OK, "")
    assert found[:3] == [
        (Code.UNAUTHENTICATED, "NO_KEY"),
        (Code.UNAUTHENTICATED, "WRONG_KEY"),
        (Code.UNAUTHENTICATED, "NO_KEY"),
    ]
    assert found[3:] == [(Code.PERMISSION_DENIED, "ADMIN_ONLY") if CALLS[name][1] else allowed, allowed]
    assert jobs == (2 if name in ("GenerateImages", "StreamImages") else 0)


def test_without_keys_all_calls_are_allowed(running: Any, tmp_path: Path) -> None:
    """On loopback without keys all calls are allowed, with any key; after the first key is created, none is."""

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            before = [await code(here, name, bearer("any")) for name in CALLS]
            create(tmp_path / "keys", "alice")
            return before, [await code(here, name, bearer("any")) for name in CALLS]

    before, after = run(scenario())
    assert before == [(Code.OK, "")] * len(CALLS)
    assert after == [(Code.UNAUTHENTICATED, "WRONG_KEY")] * len(CALLS)


def test_other_ways_to_send_a_key(running: Any, tmp_path: Path) -> None:
    """`api-key` is read as over REST, and binary metadata is ignored."""
    key = create(tmp_path / "keys", "alice")

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            ways = ((("api-key", key),), (("authorization-bin", b"\xff\x00"), *bearer(key)))
            return [await code(here, "ListModels", way) for way in ways]

    assert run(scenario()) == [(Code.OK, "")] * 2


def test_revoked_key_is_refused(running: Any, tmp_path: Path) -> None:
    """A revoked key is refused from the next call on."""
    key = create(tmp_path / "keys", "alice")

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            before = await code(here, "ListModels", bearer(key))
            revoke(tmp_path / "keys", "alice")
            return before[0], (await code(here, "ListModels", bearer(key)))[0]

    assert run(scenario()) == (Code.OK, Code.UNAUTHENTICATED)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe, which stands for the disk")
def test_disk_that_does_not_respond(running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the key file cannot be read any more, the previous keys stay valid and calls are not delayed."""
    monkeypatch.setattr(keys, "RELOAD_TIMEOUT", 0.2)
    key, file = create(tmp_path / "keys", "alice"), tmp_path / "keys"

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            before = await code(here, "ListModels", bearer(key))
            file.unlink()
            os.mkfifo(file)
            watchdog = threading.Timer(60, lambda: os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK)))
            watchdog.start()  # otherwise the test could block forever
            calls = [code(here, "ListModels", bearer(one)) for one in (key, "tt-wrong")]
            check = health_pb2_grpc.HealthStub(here.channel).Check(health_pb2.HealthCheckRequest())
            after = await asyncio.gather(*calls, check)
            alive = watchdog.is_alive()
            watchdog.cancel()
            return before, *after[:2], alive

    found = run(scenario())
    os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK))
    assert found[:4] == ((Code.OK, ""), (Code.OK, ""), (Code.UNAUTHENTICATED, "WRONG_KEY"), True)


def test_health_is_open_and_reflection_is_not(running: Any, tmp_path: Path) -> None:
    """Health needs no key; reflection needs one while keys are required."""
    key = create(tmp_path / "keys", "alice")
    listing = reflection_pb2.ServerReflectionRequest(list_services="")

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            health = health_pb2_grpc.HealthStub(here.channel)
            await health.Check(health_pb2.HealthCheckRequest())
            await health.Watch(health_pb2.HealthCheckRequest()).read()
            stub = reflection_pb2_grpc.ServerReflectionStub(here.channel)
            with pytest.raises(grpc.RpcError) as caught:
                await stub.ServerReflectionInfo(iter([listing])).read()
            answers = [one async for one in stub.ServerReflectionInfo(iter([listing]), metadata=bearer(key))]
            return caught.value.code(), len(answers)

    assert run(scenario()) == (Code.UNAUTHENTICATED, 1)


def test_key_determines_caller_and_priority(running: Any, tmp_path: Path) -> None:
    """Caller and priority are those of the key; only admin keys may set them in the request."""
    user = create(tmp_path / "keys", "alice", priority=-5)
    admin = create(tmp_path / "keys", "gateway", admin=True, priority=3)
    asked = pb.GenerateImagesRequest(prompt="x", caller="mallory", priority=100)

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            for key in (user, admin):
                await here.stub.GenerateImages(asked, metadata=bearer(key))
            await here.stub.GenerateImages(ASKED, metadata=bearer(admin))
            return [(job.caller, job.priority) for job in here.device.jobs]

    assert run(scenario()) == [("alice", -5), ("mallory", 100), ("gateway", 3)]


def test_models_of_a_key(running: Any, tmp_path: Path) -> None:
    """A key for one model has it as the default, lists no other model, and errors name no other model."""
    key = create(tmp_path / "keys", "alice", models=("second", "gone"))

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            mine = {"metadata": bearer(key)}
            made = await here.stub.GenerateImages(ASKED, **mine)
            listed = (await here.stub.ListModels(pb.ListModelsRequest(), **mine)).models
            own = (await here.stub.GetModel(pb.GetModelRequest(), **mine)).model.name
            other = await rpc_error(here.stub.GetModel(pb.GetModelRequest(model="first"), **mine))
            generated = await rpc_error(
                here.stub.GenerateImages(pb.GenerateImagesRequest(prompt="x", model="first"), **mine)
            )
            gone = await rpc_error(here.stub.GetModel(pb.GetModelRequest(model="gone"), **mine))
            return made.model, [(one.name, one.is_default) for one in listed], own, other, generated, gone

    made, listed, own, other, generated, gone = run(scenario())
    assert (made, listed, own) == ("second", [("second", True)], "second")
    assert {error.code() for error in (other, generated)} == {Code.PERMISSION_DENIED}
    assert status_of(generated)[1]["ErrorInfo"].reason == "MODEL_NOT_ALLOWED"
    assert gone.code() is Code.NOT_FOUND
    assert "first" not in gone.details()


def test_rates_of_a_key(running: Any, tmp_path: Path) -> None:
    """The key's limits of requests and images per minute apply; images that were not made do not count."""
    few = create(tmp_path / "keys", "few", requests=1)
    some = create(tmp_path / "keys", "some", images=3)

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:

            async def ask(key: str, **fields: Any) -> Any:
                request = pb.GenerateImagesRequest(prompt="x", **fields)
                try:
                    return len((await here.stub.GenerateImages(request, metadata=bearer(key))).images)
                except grpc.aio.AioRpcError as error:
                    return error.code(), status_of(error)[1]

            asked = [await ask(few), await ask(few)]
            return asked, [await ask(some, count=n, steps=steps) for n, steps in ((4, 4), (2, 900), (3, 4), (1, 4))]

    (first, second), (many, wrong, three, more) = run(scenario())
    assert first == 1
    assert second[0] is Code.RESOURCE_EXHAUSTED
    assert second[1]["ErrorInfo"].reason == "RATE_LIMIT_EXCEEDED"
    assert second[1]["RetryInfo"].retry_delay.seconds > 0
    assert {many[0], wrong[0]} == {Code.INVALID_ARGUMENT}
    assert three == 3
    assert more[0] is Code.RESOURCE_EXHAUSTED


def test_log_has_the_name_of_the_key(running: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log line of a call has the key's name and not the key; refused calls are logged too."""
    caplog.set_level(logging.INFO, "tintype")
    key = create(tmp_path / "keys", "alice")

    async def scenario() -> None:
        async with running(data=tmp_path) as here:
            await code(here, "GenerateImages", bearer(key))
            await code(here, "UnloadModel", bearer("tt-wrong"))

    run(scenario())
    assert " key=alice model='first' " in caplog.text
    assert "UnloadModel id=- status=UNAUTHENTICATED" in caplog.text
    assert not any(secret in caplog.text for secret in (key, "tt-wrong"))


# Invalid messages: truncated, invalid UTF-8, a group without an end, a varint without an end.
GARBAGE = (b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0b", b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
# ListModels has no fields, and the first one of UpscaleImage may have any bytes.
OTHERS = [name for name in CALLS if name not in ("ListModels", "UpscaleImage")]
METHODS = [(f"/tintype.v1.ImageService/{name}", name == "StreamImages") for name in OTHERS]


@pytest.mark.parametrize(("method", "streams"), METHODS)
@pytest.mark.parametrize("data", GARBAGE, ids=bytes.hex)
def test_invalid_message(
    running: Any,
    caplog: pytest.LogCaptureFixture,
    method: str,
    streams: bool,  # noqa: FBT001 - a parameter of the test
    data: bytes,
) -> None:
    """Bytes that cannot be parsed are INVALID_ARGUMENT, and leave no traceback."""

    async def scenario() -> Any:
        async with running() as here:
            if streams:
                call = here.channel.unary_stream(method)(data)
                return await rpc_error(call.read())
            return await rpc_error(here.channel.unary_unary(method)(data))

    error = run(scenario())
    assert error.code() is Code.INVALID_ARGUMENT
    assert status_of(error)[1]["BadRequest"].field_violations[0].field == "request"
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("/grpc.health.v1.Health/Check", b"\x0a\x05ab"),
        ("/grpc.health.v1.Health/Watch", b"\x0a\x02\xff\xfe"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\x0a\x02\xff\xfe"),
    ],
)
def test_invalid_message_to_other_services(
    running: Any, caplog: pytest.LogCaptureFixture, method: str, data: bytes
) -> None:
    """Health and reflection refuse invalid messages in the same way."""

    async def scenario() -> Any:
        async with running() as here:
            if method.endswith("Info"):
                return await rpc_error(here.channel.stream_stream(method)(iter([data])).read())
            if method.endswith("Watch"):
                return await rpc_error(here.channel.unary_stream(method)(data).read())
            return await rpc_error(here.channel.unary_unary(method)(data))

    assert run(scenario()).code() is Code.INVALID_ARGUMENT
    assert not [record for record in caplog.records if record.exc_info]


def test_unknown_methods(running: Any, tmp_path: Path) -> None:
    """An unknown method is UNIMPLEMENTED, with and without a key."""
    create(tmp_path / "keys", "alice")

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            return (await rpc_error(here.channel.unary_unary("/tintype.v1.ImageService/Nope")(b""))).code()

    assert run(scenario()) is Code.UNIMPLEMENTED
