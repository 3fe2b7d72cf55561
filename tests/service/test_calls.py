"""Calls that make images, over a real channel: requests, responses and log lines."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import nullcontext, suppress
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from PIL import Image

from tests.support.service.fakes import UNPLANNED
from tests.support.service.rpc_errors import rpc_error
from tintype.service.engine.events import Completed, Finished, Timings
from tintype.service.errors import InvalidField
from tintype.service.images.encode import Output, encode
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

NOISE = np.random.default_rng(0).random((3, 1280, 1280), np.float32)


def test_stream_has_all_events_in_order(running: Any, make_request: Any) -> None:
    """A stream has the engine's events in their order, with encoded images, and the summary last."""

    async def scenario() -> Any:
        async with running() as here:
            request = make_request(seed=5, count=2, width=32, height=48)
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


def test_adapters_are_read_before_the_engine_takes_the_request(
    running: Any, make_request: Any, fake_repository: Any
) -> None:
    """Only those that the model has; an unusable one ends the request, and a model that is not in memory reads none."""
    repository, asked = fake_repository(), []
    repository.forget(loras=("ink", "clay"))

    def read(names: Iterable[str]) -> None:
        asked.append((list(names), threading.current_thread().name))
        if "clay" in asked[-1][0]:
            raise InvalidField("loras", "adapter 'clay' is damaged")

    async def scenario() -> Any:
        async with running(repository=repository) as here:
            for names in (["ink", "../other"], ["clay"]):
                request = make_request(loras=[pb.Lora(name=name) for name in names]).generation
                repository.model = None
                await here.stub.GenerateImages(request)
                repository.model = SimpleNamespace(adapter_reader=read)
                with suppress(grpc.aio.AioRpcError) if "clay" in names else nullcontext():
                    await here.stub.GenerateImages(request)
            return here.device.jobs

    jobs = asyncio.run(scenario())
    assert [names for names, _ in asked] == [["ink"], ["clay"]]
    assert all(thread.startswith("tintype-encode") for _, thread in asked)
    assert [[lora.name for lora in job.loras] for job in jobs] == [["ink", "../other"]] * 2 + [["clay"]]


def test_progress_can_be_omitted(running: Any, make_request: Any) -> None:
    """The engine makes no progress events for the unary call, nor for a stream that wants none."""

    async def scenario() -> Any:
        async with running() as here:
            request = make_request(seed=5)
            await here.stub.GenerateImages(request.generation)
            for request.omit_progress in (False, True):
                assert [response async for response in here.stub.StreamImages(request)]
            return here.device.jobs

    assert [job.progress for job in asyncio.run(scenario())] == [False, True, False]


def test_image_metadata(running: Any, make_request: Any) -> None:
    """The metadata has the values that were used: those of the request, the model's defaults, and presets."""

    async def scenario() -> Any:
        async with running() as here:
            plain = await here.stub.GenerateImages(make_request(seed=5).generation)
            chosen = make_request(
                seed=5, steps=9, sampler="euler_a", guidance_scale=2, model="second", style="vivid"
            ).generation
            bare = make_request(seed=5, output=pb.OutputFormat(omit_metadata=True)).generation
            return plain, await here.stub.GenerateImages(chosen), await here.stub.GenerateImages(bare)

    texts = [Image.open(BytesIO(answer.images[0].data)).info.get("parameters") for answer in asyncio.run(scenario())]
    end = "Size: 64x64, Model: {}, Version: tintype"
    first = "a lake\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3.5, CFG Rescale: 0.5, Seed: 5, "
    second = (
        "a lake, vivid\nNegative prompt: dull\n"
        "Steps: 9, Sampler: Euler a, Schedule type: Normal, CFG scale: 2, CFG Rescale: 0.5, Seed: 5, "
    )
    assert texts == [first + end.format("first"), second + end.format("second"), None]


def test_unary_response_is_ordered_by_index(running: Any) -> None:
    """The unary call returns all images ordered by index, and the summary."""

    async def scenario() -> Any:
        async with running() as here:
            return await here.stub.GenerateImages(pb.GenerateImagesRequest(prompt="x", count=3, seed=7, model="second"))

    answer = asyncio.run(scenario())
    assert [(image.index, image.seed) for image in answer.images] == [(0, 7), (1, 8), (2, 9)]
    assert (answer.model, answer.usage.images) == ("second", 3)
    assert answer.timings.queue.ToMilliseconds() == 250


def test_large_response_is_sent(running: Any, fake_device: Any, make_request: Any) -> None:
    """A response above gRPC's default limit of 4 MiB arrives."""
    device = fake_device(
        lambda _: [Finished(0, 0, NOISE, Timings(), UNPLANNED), Completed("first", 1, 1, 1, Timings())]
    )

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", 2**26)]) as here:
            return await here.stub.GenerateImages(make_request(width=1280, height=1280).generation)

    answer = asyncio.run(scenario())
    assert len(answer.images[0].data) > 4 * 2**20


def test_large_request_is_accepted(running: Any, fake_device: Any, make_request: Any) -> None:
    """A request above gRPC's default limit of 4 MiB is accepted."""
    device = fake_device(lambda _: [Completed("first", 1, 1, 1, Timings())])

    async def scenario() -> Any:
        async with running(device) as here:
            async for _ in here.stub.StreamImages(make_request(image=upload + bytes(8 * 2**20))):
                pass
            return here.device.jobs[0]

    upload = encode(NOISE, Output()).data
    assert len(asyncio.run(scenario()).image) == len(upload) + 8 * 2**20


def test_uploads_are_decoded_before_the_engine(running: Any, fake_device: Any, make_request: Any) -> None:
    """The engine gets decoded uploads; the default size is that of the image."""
    device = fake_device(lambda _: [Completed("first", 1, 1, 1, Timings())])
    upload = encode(NOISE[:, :48, :80], Output()).data

    async def scenario() -> Any:
        async with running(device) as here:
            await here.stub.GenerateImages(make_request(image=upload, mask=upload).generation)
            error = await rpc_error(here.stub.GenerateImages(make_request(image=b"GIF89a").generation))
            return here.device.jobs, error

    (job,), error = asyncio.run(scenario())
    assert (job.width, job.height) == (80, 48)
    assert job.source.levels.shape == (3, 48, 80)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "image: must be a PNG, JPEG or WebP file" in error.details()


def test_unknown_fields_are_ignored(running: Any) -> None:
    """A request of a newer client with unknown fields is served."""

    async def scenario() -> Any:
        async with running() as here:
            later = pb.GenerateImagesRequest(prompt="x").SerializeToString() + b"\xfa\x3e\x03new"  # field 1007
            call = here.channel.unary_unary(
                "/tintype.v1.ImageService/GenerateImages",
                response_deserializer=pb.GenerateImagesResponse.FromString,
            )
            return await call(later)

    assert len(asyncio.run(scenario()).images) == 1


def test_encoding_does_not_block_the_event_loop(running: Any, fake_device: Any, make_request: Any) -> None:
    """The event loop responds to other calls while many images are encoded."""
    device = fake_device(lambda _: [Finished(k, k, NOISE, Timings(), UNPLANNED) for k in range(8)])

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", -1)]) as here:
            call = here.stub.StreamImages(make_request(count=8, width=1280, height=1280))
            await call.read()
            began = time.monotonic()
            await here.stub.ListModels(pb.ListModelsRequest())
            passed = time.monotonic() - began
            call.cancel()
            return passed

    assert asyncio.run(scenario()) < 2  # a few ms; seconds if encoding blocks the loop


def test_each_call_is_logged_without_its_prompt(
    running: Any, make_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The log line of a call has id, model, count, status and times, but not the prompt."""
    caplog.set_level(logging.INFO, "tintype")

    async def scenario() -> Any:
        async with running() as here:
            call = here.stub.StreamImages(
                make_request(prompt="my secret", count=2), metadata=(("x-request-id", "abc-1"),)
            )
            async for _ in call:
                pass
            return dict(await call.trailing_metadata())

    trailing = asyncio.run(scenario())
    lines = [record.getMessage() for record in caplog.records if "StreamImages" in record.getMessage()]
    assert len(lines) == 1
    assert "StreamImages id=abc-1 trace=- key=- model='first' count=2 status=OK queue=0.250 run=" in lines[0]
    assert "secret" not in caplog.text
    assert trailing["x-request-id"] == "abc-1"


def test_unsafe_request_id_is_replaced(running: Any) -> None:
    """A request id that could forge log lines is replaced by a new one."""

    async def scenario() -> Any:
        async with running() as here:
            call = here.stub.ListModels(pb.ListModelsRequest(), metadata=(("x-request-id", "a b status=OK"),))
            await call
            return dict(await call.trailing_metadata())

    assert " " not in asyncio.run(scenario())["x-request-id"]


def test_finished_images_do_not_depend_on_the_model(
    running: Any, fake_device: Any, fake_repository: Any, make_request: Any
) -> None:
    """Removing an adapter, a preset or the model after a job was accepted does not affect its finished images."""
    models = fake_repository()

    changes: list[dict[str, Any]] = [{"loras": ()}, {"styles": {}}, {}]

    def script(_: Any) -> Iterator[Any]:
        for number in range(3):
            yield Finished(number, number, NOISE, Timings(), UNPLANNED)
            models.forget(**changes[number])
        yield Completed("first", 3, 1, 1, Timings())

    models.forget(loras=("ink",))

    async def scenario() -> Any:
        async with running(fake_device(script), models, options=[("grpc.max_receive_message_length", -1)]) as here:
            request = make_request(count=3, loras=[pb.Lora(name="ink")], style="vivid", width=64, height=64)
            return await here.stub.GenerateImages(request.generation)

    images = asyncio.run(scenario()).images
    assert [image.seed for image in images] == [0, 1, 2]
    assert {(image.width, image.height) for image in images} == {(64, 64)}
    texts = [Image.open(BytesIO(image.data)).info["parameters"] for image in images]
    assert all(text.startswith("a lake, vivid") for text in texts)


def test_invalid_prompt_is_refused_before_the_engine(running: Any, make_request: Any) -> None:
    """An error in prompt syntax is reported with its field, and the device does not get the job."""

    async def scenario() -> Any:
        async with running() as here:
            errors = [
                await rpc_error(
                    here.stub.GenerateImages(make_request(prompt_weighting=True, **{name: text}).generation)
                )
                for name in ("prompt", "negative_prompt")
                for text in ("(a" * 16_000, "[a" * 16_000, "(a:1" * 4000)
            ]
            return errors, here.device.jobs

    errors, jobs = asyncio.run(scenario())
    assert {error.code() for error in errors} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert [error.details().split(":")[0] for error in errors] == ["prompt"] * 3 + ["negative_prompt"] * 3
    assert jobs == []
