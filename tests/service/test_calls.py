"""The six calls over a real channel: what a client sees."""

from __future__ import annotations

import asyncio
import logging
import time
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from tintype.service import servicer
from tintype.service.engine.events import Completed, Failed, Finished, Progress, Timings
from tintype.service.errors import DeadlineExceeded, GenerationFailed, QueueFull, TintypeError
from tintype.service.images.encode import encode
from tintype.service.job import Output
from tintype.service.models import State, Status
from tintype.v1 import image_service_pb2 as pb

NOISE = np.random.default_rng(0).random((3, 1280, 1280), np.float32)


def status_of(error: Any) -> Any:
    """Return the google.rpc.Status of a call's error, its details unpacked by name."""
    data = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(data)
    details = {}
    for packed in status.details:
        kind = packed.TypeName().rpartition(".")[2]
        details[kind] = getattr(error_details_pb2, kind).FromString(packed.value)
    return status, details


async def failed(call: Any) -> Any:
    """Return the error that ends `call`."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return caught.value


def test_stream_tells_all_events_in_order(running: Any, ask: Any) -> None:
    """A stream gives what the engine tells, pictures encoded, in its order, and the summary last."""

    async def scenario() -> Any:
        async with running() as here:
            request = ask(seed=5, count=2, width=32, height=48)
            request.previews.count = 1
            return [response async for response in here.stub.StreamImages(request)]

    responses = asyncio.run(scenario())
    assert [r.WhichOneof("event") for r in responses] == [
        "queued",
        "progress",
        "preview",
        "image",
        "image",
        "completed",
    ]
    queued, progress, preview, last, first, completed = responses
    assert queued.queued.position == 1
    assert queued.queued.eta.ToMilliseconds() == 500
    assert (progress.progress.step, progress.progress.steps, progress.progress.eta.seconds) == (1, 4, 3)
    assert (preview.preview.mime_type, preview.preview.width, preview.preview.height) == ("image/jpeg", 8, 8)
    assert (last.image.index, last.image.seed, first.image.index, first.image.seed) == (1, 6, 0, 5)
    assert (first.image.width, first.image.height) == (32, 48)
    assert (first.image.native_width, first.image.native_height) == (64, 64)
    assert first.image.data.startswith(b"\x89PNG")
    assert first.image.timings.denoise.ToMilliseconds() == 1500
    assert first.image.timings.total.ToNanoseconds() > 0
    assert (completed.completed.model, completed.completed.usage.images) == ("first", 2)
    assert (completed.completed.usage.steps, completed.completed.usage.prompt_tokens) == (8, 7)


def test_pictures_say_how_they_were_made(running: Any, ask: Any) -> None:
    """The file names what was really used: the request's choices, the model's own, presets applied."""

    async def scenario() -> Any:
        async with running() as here:
            plain = await here.stub.GenerateImages(ask(seed=5).generation)
            chosen = ask(seed=5, steps=9, sampler="euler_a", guidance_scale=2, model="second", style="vivid").generation
            bare = ask(seed=5, output=pb.OutputFormat(omit_metadata=True)).generation
            return plain, await here.stub.GenerateImages(chosen), await here.stub.GenerateImages(bare)

    texts = [Image.open(BytesIO(answer.images[0].data)).info.get("parameters") for answer in asyncio.run(scenario())]
    end = "Size: 64x64, Model: {}, Version: tintype"
    first = "a lake\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3.5, CFG Rescale: 0.5, Seed: 5, "
    second = (
        "a lake, vivid\nNegative prompt: dull\n"
        "Steps: 9, Sampler: Euler a, Schedule type: Normal, CFG scale: 2, CFG Rescale: 0.5, Seed: 5, "
    )
    assert texts == [first + end.format("first"), second + end.format("second"), None]


def test_generate_answers_once_ordered_by_index(running: Any) -> None:
    """The unary call answers with all pictures by index, and the same summary."""

    async def scenario() -> Any:
        async with running() as here:
            return await here.stub.GenerateImages(pb.GenerateImagesRequest(prompt="x", count=3, seed=7, model="second"))

    answer = asyncio.run(scenario())
    assert [(image.index, image.seed) for image in answer.images] == [(0, 7), (1, 8), (2, 9)]
    assert (answer.model, answer.usage.images) == ("second", 3)
    assert answer.timings.queue.ToMilliseconds() == 250


def test_models_are_listed_loaded_and_unloaded(running: Any) -> None:
    """The four model calls agree about what is there, and in which state."""

    async def scenario() -> Any:
        async with running() as here:
            stub = here.stub
            listed = await stub.ListModels(pb.ListModelsRequest())
            loaded = await stub.LoadModel(pb.LoadModelRequest(model="second"))
            got = await stub.GetModel(pb.GetModelRequest(model="second"))
            unloaded = await stub.UnloadModel(pb.UnloadModelRequest(model="second"))
            default = await stub.GetModel(pb.GetModelRequest())
            return listed.models, loaded.model, got.model, unloaded.model, default.model

    listed, loaded, got, unloaded, default = asyncio.run(scenario())
    assert [(m.name, m.is_default) for m in listed] == [("first", True), ("second", False)]
    assert loaded == got
    assert (got.state, got.load_fraction, got.provider) == (pb.MODEL_STATE_LOADED, 1.0, "cpu")
    assert (dict(got.provider_options), dict(unloaded.provider_options)) == ({"cuda_graphs": "on"}, {})
    assert unloaded.state == pb.MODEL_STATE_UNLOADED
    assert default.name == "first"
    assert (got.defaults.steps, got.defaults.sampler, got.defaults.guidance_scale) == (4, "dpmpp_2m", 3.5)
    assert [(s.width, s.height) for s in got.native_sizes] == [(64, 64), (96, 64)]
    assert got.text_to_image
    assert not got.image_to_image
    assert "euler" in got.samplers
    assert "karras" in got.schedules


def test_load_waits_until_loaded(running: Any, shelf: Any) -> None:
    """LoadModel answers when the model is there, or at once with `no_wait`."""
    slow = shelf()
    slow.after_load = Status(State.LOADING, 0.5)

    async def scenario() -> Any:
        async with running(shelf=slow) as here:
            at_once = await here.stub.LoadModel(pb.LoadModelRequest(model="second", no_wait=True))
            waiting = asyncio.ensure_future(here.stub.LoadModel(pb.LoadModelRequest(model="second")))
            await asyncio.sleep(0.15)
            done_early = waiting.done()
            slow.states["second"] = Status(State.LOADED, 1.0)
            return at_once.model, done_early, (await waiting).model

    at_once, done_early, waited = asyncio.run(scenario())
    assert (at_once.state, at_once.load_fraction) == (pb.MODEL_STATE_LOADING, 0.5)
    assert not done_early
    assert waited.state == pb.MODEL_STATE_LOADED


def test_load_tells_why_a_model_failed(running: Any, shelf: Any) -> None:
    """A model that can't be loaded is FAILED_PRECONDITION with its fault."""
    broken = shelf()
    broken.after_load = Status(State.FAILED, error="unet/model.onnx is missing")

    async def scenario() -> Any:
        async with running(shelf=broken) as here:
            return await failed(here.stub.LoadModel(pb.LoadModelRequest(model="second")))

    error = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "unet/model.onnx is missing" in error.details()


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason"),
    [
        ("GetModel", pb.GetModelRequest(model="nope"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("LoadModel", pb.LoadModelRequest(model="nope"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("UnloadModel", pb.UnloadModelRequest(model="nope"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("UnloadModel", pb.UnloadModelRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ("GenerateImages", pb.GenerateImagesRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
def test_errors_carry_their_reason(running: Any, method: Any, request_: Any, code: Any, reason: Any) -> None:
    """Every error has its code, our domain and its reason, in the call's status and in its details alike."""

    async def scenario() -> Any:
        async with running() as here:
            return await failed(getattr(here.stub, method)(request_))

    error = asyncio.run(scenario())
    status, details = status_of(error)
    assert error.code() is code
    assert (status.code, status.message) == (code.value[0], error.details())
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == (reason, "tintype")


def test_all_violations_arrive(running: Any, ask: Any) -> None:
    """A stream with several faults ends with one violation for each."""

    async def scenario() -> Any:
        async with running() as here:
            return await failed(here.stub.StreamImages(ask(prompt="", steps=900, width=-1)).read())

    _, details = status_of(asyncio.run(scenario()))
    violations = {v.field: v.description for v in details["BadRequest"].field_violations}
    assert violations == {
        "prompt": "must not be empty",
        "steps": "must be 1 to 150, not 900",
        "width": "must be 16 to 4096, not -1",
    }


def test_engine_errors_end_the_stream_after_what_went_before(running: Any, player: Any, ask: Any) -> None:
    """What the engine told before it failed arrives, then its error with the time to come back."""
    device = player(lambda _: [Progress(0, 1, 4), Failed(QueueFull("too many wait", retry_after=2.5))])

    async def scenario() -> Any:
        async with running(device) as here:
            call = here.stub.StreamImages(ask())
            return await call.read(), await failed(call.read())

    first, error = asyncio.run(scenario())
    _, details = status_of(error)
    assert first.progress.step == 1
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == 2500


def test_faults_of_ours_stay_ours(running: Any, player: Any, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is INTERNAL without a word of its own; the log has its traceback."""
    device = player(lambda _: [ValueError("secret /home/me")])

    async def scenario() -> Any:
        async with running(device) as here:
            return await failed(here.stub.StreamImages(ask()).read())

    error = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details()) + str(error.trailing_metadata())
    assert any("secret /home/me" in str(record.exc_info) for record in caplog.records)


@pytest.mark.parametrize("error", [GenerationFailed("black"), DeadlineExceeded("late"), TintypeError("odd")])
def test_the_unary_call_fails_like_the_stream(running: Any, player: Any, error: Any) -> None:
    """GenerateImages ends with the same status as StreamImages."""

    async def scenario() -> Any:
        async with running(player(lambda _: [Failed(error)])) as here:
            return await failed(here.stub.GenerateImages(pb.GenerateImagesRequest(prompt="x")))

    status, details = status_of(asyncio.run(scenario()))
    assert status.message == error.message
    assert details["ErrorInfo"].reason == error.reason


@pytest.mark.parametrize("unary", [False, True])
def test_cancelling_a_call_frees_its_job(
    running: Any, player: Any, ask: Any, unary: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The device is let go at once when the client cancels, in the middle of whatever it does."""
    device = player(lambda _: [Progress(0, 1, 4), 60.0])

    async def scenario() -> Any:
        async with running(device) as here:
            call = here.stub.GenerateImages(ask().generation) if unary else here.stub.StreamImages(ask())
            await asyncio.wait_for(device.began.wait(), 30)
            call.cancel()
            await asyncio.wait_for(device.left.wait(), 30)
            await asyncio.wait_for(here.server.servicer.idle.wait(), 30)

    caplog.set_level(logging.INFO)
    asyncio.run(scenario())
    assert device.ended == 0
    assert sum("status=CANCELLED" in message for message in caplog.messages) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_cancelling_while_the_client_does_not_read_frees_the_job(running: Any, player: Any, ask: Any) -> None:
    """A client that stops reading and then leaves does not keep its job."""
    picture = Finished(0, 0, NOISE, Timings())
    device = player(lambda _: [picture] * 50)

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", -1)]) as here:
            call = here.stub.StreamImages(ask(width=1280, height=1280))
            await call.read()
            await asyncio.sleep(0.3)  # the flow control window fills
            call.cancel()
            await asyncio.wait_for(device.left.wait(), 30)
            await asyncio.wait_for(here.server.servicer.idle.wait(), 30)

    asyncio.run(scenario())


def test_a_write_that_fails_is_no_fault_of_ours(
    running: Any, player: Any, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that leaves while something is sent to it has cancelled: its job is freed, the log has no traceback."""
    device = player(lambda _: [Progress(0, 1, 4), 60.0])

    async def lost(*_: object) -> None:
        raise grpc.aio.InternalError("the connection is gone")

    async def scenario() -> None:
        async with running(device) as here:
            servicer = here.server.servicer
            context = SimpleNamespace(
                invocation_metadata=tuple,
                set_trailing_metadata=lambda _: None,
                add_done_callback=lambda _: None,
                peer=lambda: "ipv4:127.0.0.1:1",
                time_remaining=lambda: None,
                write=lost,
            )
            with pytest.raises(asyncio.CancelledError):
                await servicer.StreamImages(ask(), context)
            await asyncio.wait_for(device.left.wait(), 30)

    caplog.set_level(logging.INFO)
    asyncio.run(scenario())
    assert sum("status=CANCELLED" in message for message in caplog.messages) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("timeout", "field", "earlier"), [(60, 5, 5), (5, 60, 5), (None, 7, 7), (9, None, 9)])
def test_the_earlier_of_deadline_and_timeout_counts(
    running: Any, ask: Any, timeout: Any, field: Any, earlier: Any
) -> None:
    """The job's deadline is the call's or the field's, whichever comes first."""

    async def scenario() -> Any:
        async with running() as here:
            request = ask()
            if field:
                request.generation.timeout.seconds = field
            async for _ in here.stub.StreamImages(request, timeout=timeout):
                pass
            return here.player.jobs[0].deadline - time.monotonic()

    assert asyncio.run(scenario()) == pytest.approx(earlier, abs=1)  # and far from the other


def test_a_call_without_deadline_has_none(running: Any, ask: Any) -> None:
    """No deadline and no timeout: the job has all the time there is."""

    async def scenario() -> Any:
        async with running() as here:
            async for _ in here.stub.StreamImages(ask()):
                pass
            return here.player.jobs[0]

    job = asyncio.run(scenario())
    assert job.deadline is None
    assert job.caller == "ipv4:127.0.0.1"


def test_large_pictures_pass(running: Any, player: Any, ask: Any) -> None:
    """A message above gRPC's default limit of 4 MiB arrives."""
    device = player(lambda _: [Finished(0, 0, NOISE, Timings()), Completed("first", 1, 1, 1, Timings())])

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", 2**26)]) as here:
            return await here.stub.GenerateImages(ask(width=1280, height=1280).generation)

    answer = asyncio.run(scenario())
    assert len(answer.images[0].data) > 4 * 2**20


def test_answers_too_large_for_a_message_say_so(
    running: Any, player: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unary call names the way out; the stream has no such limit."""
    monkeypatch.setattr(servicer, "MAX_MESSAGE", 9 * 2**20)
    pictures = [Finished(k, k, NOISE, Timings()) for k in range(2)]
    device = player(lambda _: [*pictures, Completed("first", 2, 2, 1, Timings())])

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", 2**26)]) as here:
            request = ask(width=1280, height=1280, count=2)
            error = await failed(here.stub.GenerateImages(request.generation))
            return error, [len(r.image.data) async for r in here.stub.StreamImages(request)]

    error, sizes = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "StreamImages" in error.details()
    assert min(sizes[:2]) > 4 * 2**20


def test_large_uploads_pass(running: Any, player: Any, ask: Any) -> None:
    """A request of more than 4 MiB is read and not refused by its size."""
    device = player(lambda _: [Completed("first", 1, 1, 1, Timings())])

    async def scenario() -> Any:
        async with running(device) as here:
            async for _ in here.stub.StreamImages(ask(image=picture + bytes(8 * 2**20))):
                pass
            return here.player.jobs[0]

    picture = encode(NOISE, Output()).data
    assert len(asyncio.run(scenario()).image) == len(picture) + 8 * 2**20


def test_uploads_are_made_ready_before_they_wait(running: Any, player: Any, ask: Any) -> None:
    """The engine gets no files to decode; a size that was left out is the picture's own."""
    device = player(lambda _: [Completed("first", 1, 1, 1, Timings())])
    picture = encode(NOISE[:, :48, :80], Output()).data

    async def scenario() -> Any:
        async with running(device) as here:
            await here.stub.GenerateImages(ask(image=picture, mask=picture).generation)
            error = await failed(here.stub.GenerateImages(ask(image=b"GIF89a").generation))
            return here.player.jobs, error

    (job,), error = asyncio.run(scenario())
    assert (job.width, job.height) == (80, 48)
    assert job.source.levels.shape == (3, 48, 80)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "image: must be a PNG, JPEG or WebP file" in error.details()


def test_unknown_fields_are_ignored(running: Any) -> None:
    """A client of a later contract is served."""

    async def scenario() -> Any:
        async with running() as here:
            later = pb.GenerateImagesRequest(prompt="x").SerializeToString() + b"\xfa\x3e\x03new"  # field 1007
            call = here.channel.unary_unary(
                "/tintype.v1.ImageService/GenerateImages",
                response_deserializer=pb.GenerateImagesResponse.FromString,
            )
            return await call(later)

    assert len(asyncio.run(scenario()).images) == 1


def test_images_are_encoded_ahead_of_a_slow_reader(running: Any, player: Any, ask: Any) -> None:
    """The event loop answers other calls while many pictures are encoded."""
    device = player(lambda _: [Finished(k, k, NOISE, Timings()) for k in range(8)])

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", -1)]) as here:
            call = here.stub.StreamImages(ask(count=8, width=1280, height=1280))
            await call.read()
            began = time.monotonic()
            await here.stub.ListModels(pb.ListModelsRequest())
            passed = time.monotonic() - began
            call.cancel()
            return passed

    assert asyncio.run(scenario()) < 2  # it takes a few ms, and seconds where encoding blocks the loop


def test_each_call_leaves_one_line_without_the_prompt(running: Any, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The log has id, model, count, end and times of a call, and never what it was about."""
    caplog.set_level(logging.INFO, "tintype")

    async def scenario() -> Any:
        async with running() as here:
            call = here.stub.StreamImages(ask(prompt="my secret", count=2), metadata=(("x-request-id", "abc-1"),))
            async for _ in call:
                pass
            return dict(await call.trailing_metadata())

    trailing = asyncio.run(scenario())
    lines = [record.getMessage() for record in caplog.records if "StreamImages" in record.getMessage()]
    assert len(lines) == 1
    assert "StreamImages id=abc-1 model='first' count=2 status=OK queue=0.250 run=" in lines[0]
    assert "secret" not in caplog.text
    assert trailing["x-request-id"] == "abc-1"


def test_a_hostile_request_id_is_replaced(running: Any) -> None:
    """What could forge log lines is not taken over."""

    async def scenario() -> Any:
        async with running() as here:
            call = here.stub.ListModels(pb.ListModelsRequest(), metadata=(("x-request-id", "a b status=OK"),))
            await call
            return dict(await call.trailing_metadata())

    assert " " not in asyncio.run(scenario())["x-request-id"]
