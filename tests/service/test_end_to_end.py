"""The service with its built-in model over a real channel: engine, numerics, graphs and files."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from PIL import Image

from tintype.service.config import ServiceConfig
from tintype.service.server import start
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.slow

PROMPT = "a lake at sunset"
LONG = {"steps": 150, "count": 10}  # takes minutes unless it is stopped


@asynccontextmanager
async def serving() -> AsyncGenerator[tuple[Any, Any]]:
    """Serve the built-in model; yield the server and a stub."""
    async with (
        start(ServiceConfig(grpc="127.0.0.1:0", threads=1)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield server, pb_grpc.ImageServiceStub(channel)


def generation(**fields: Any) -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(**{"prompt": PROMPT, "steps": 2, **fields})


def opened(image: pb.Image) -> Image.Image:
    return Image.open(BytesIO(image.data))


def test_stream_of_two_images() -> None:
    """A stream of two images with previews, steps and metadata; each image has its seed and the requested size."""

    async def scenario() -> Any:
        async with serving() as (_, stub):
            request = pb.StreamImagesRequest(generation=generation(count=2, seed=7, steps=4, width=100, height=80))
            request.previews.count = 1
            stream = [response async for response in stub.StreamImages(request)]
            alone = await stub.GenerateImages(generation(seed=8, steps=4, width=100, height=80))
            return stream, alone

    stream, alone = asyncio.run(scenario())
    kinds = [response.WhichOneof("event") for response in stream]
    images = sorted((response.image for response in stream if response.HasField("image")), key=lambda i: i.index)
    assert (kinds[0], kinds[-1]) == ("queued", "completed")
    assert (kinds.count("preview"), kinds.count("image")) == (2, 2)
    for index in range(2):  # a slow reader gets only the newest step
        steps = [r.progress.step for r in stream if r.HasField("progress") and r.progress.index == index]
        assert steps == sorted(set(steps))
        assert steps[-1] == 4
    assert [(image.index, image.seed) for image in images] == [(0, 7), (1, 8)]
    assert {opened(image).size for image in images} == {(100, 80)}
    assert images[0].native_width % 8 == 0
    assert images[0].data != images[1].data
    assert "Steps: 4, Sampler: " in opened(images[1]).info["parameters"]
    completed = stream[-1].completed
    assert (completed.usage.images, completed.usage.steps) == (2, 8)
    assert completed.timings.total.ToNanoseconds() >= completed.timings.denoise.ToNanoseconds() > 0
    levels = [np.asarray(opened(image), np.int16) for image in (images[1], alone.images[0])]
    assert np.abs(levels[0] - levels[1]).max() <= 2  # the same image, alone and in a batch


@pytest.mark.parametrize("size", [(16, 16), (16, 4096), (4096, 16), (97, 131), (4096, 4096)])
def test_any_size_is_generated(size: tuple[int, int]) -> None:
    """The file has the requested size; response and metadata have the size that the model generated."""

    async def scenario() -> Any:
        async with serving() as (_, stub):
            return await stub.GenerateImages(generation(steps=1, width=size[0], height=size[1]))

    (image,) = asyncio.run(scenario()).images
    assert (image.width, image.height) == opened(image).size == size
    assert (image.native_width, image.native_height) != size
    assert f"Size: {image.native_width}x{image.native_height}" in opened(image).info["parameters"]


def test_cancelled_calls_free_the_device() -> None:
    """Cancelled calls stop generating, and the next request does not wait for them."""

    async def scenario() -> Any:
        async with serving() as (server, stub):
            stream = stub.StreamImages(pb.StreamImagesRequest(generation=generation(**LONG)))
            await stream.read()
            unary = asyncio.ensure_future(stub.GenerateImages(generation(**LONG)))
            while not (await stream.read()).HasField("progress"):
                pass
            stream.cancel()
            unary.cancel()
            await asyncio.wait_for(server.servicer.idle.wait(), 10)
            began = time.monotonic()
            answer = await stub.GenerateImages(generation(), timeout=60)
            return answer, time.monotonic() - began

    answer, took = asyncio.run(scenario())
    assert len(answer.images) == 1
    assert took < 20  # the two other requests take minutes


@pytest.mark.parametrize("by_field", [False, True])
def test_deadline_ends_a_request(by_field: Any) -> None:
    """A request that is not done in time ends with DEADLINE_EXCEEDED, also for the field `timeout`."""

    async def scenario() -> Any:
        async with serving() as (server, stub):
            await stub.LoadModel(pb.LoadModelRequest())
            request = generation(**LONG)
            if by_field:
                request.timeout.CopyFrom(Duration(nanos=500_000_000))
            with pytest.raises(grpc.RpcError) as caught:
                await stub.GenerateImages(request, timeout=None if by_field else 0.5)
            await asyncio.wait_for(server.servicer.idle.wait(), 10)
            return caught.value.code()

    assert asyncio.run(scenario()) is grpc.StatusCode.DEADLINE_EXCEEDED


def file(levels: np.ndarray) -> bytes:
    data = BytesIO()
    Image.fromarray(levels).save(data, "PNG")
    return data.getvalue()


def test_image_to_image_and_inpainting() -> None:
    """The result has the upload's size; parts that the mask keeps, and all at strength 0, are equal to the bit."""
    levels = np.random.default_rng(0).integers(0, 256, (10, 15, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    mask = np.zeros(levels.shape[:2], np.uint8)
    mask[:, 150:] = 255
    asked: dict[str, Any] = {"image": file(levels), "seed": 3, "steps": 4}

    async def scenario() -> Any:
        async with serving() as (_, stub):
            requests: list[dict[str, Any]] = [
                {"strength": 0.5},
                {"strength": 0.5, "mask": file(mask)},
                {"strength": 0.0},
            ]
            answers = [await stub.GenerateImages(generation(**asked, **request)) for request in requests]
            return answers, await stub.GetModel(pb.GetModelRequest())

    answers, about = asyncio.run(scenario())
    changed, masked, same = (np.asarray(opened(answer.images[0])) for answer in answers)
    assert changed.shape == levels.shape
    assert 0 < np.abs(changed - levels.astype(float)).mean() < 100
    assert np.array_equal(masked[:, :150], levels[:, :150])
    assert not np.array_equal(masked[:, 150:], levels[:, 150:])
    assert np.array_equal(same, levels)
    assert [answer.usage.steps for answer in answers] == [2, 2, 0]
    assert answers[0].timings.encode.ToMicroseconds() > 0
    assert "Denoising strength: 0.5" in opened(answers[0].images[0]).info["parameters"]
    assert about.model.guidance == "classifier_free"
    assert (about.model.image_to_image, about.model.inpainting) == (True, True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image": b"\x89PNG"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"loras": [pb.Lora(name="a")]}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"sampler": "nonsense"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"schedule": "nonsense"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"quality": "nonsense"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"model": "nonsense"}, grpc.StatusCode.NOT_FOUND),
    ],
)
def test_unknown_names_are_refused(fields: dict[str, Any], code: grpc.StatusCode) -> None:
    """Names that the model does not know, and damaged uploads, are refused before anything is generated."""

    async def scenario() -> Any:
        async with serving() as (_, stub):
            with pytest.raises(grpc.RpcError) as caught:
                await stub.GenerateImages(generation(**fields))
            return caught.value

    error = asyncio.run(scenario())
    assert error.code() is code
    assert next(iter(fields)) in error.details()


def test_drain_finishes_the_running_image() -> None:
    """An image that is being generated when the server begins to drain still arrives."""

    async def scenario() -> Any:
        async with serving() as (server, stub):
            await stub.LoadModel(pb.LoadModelRequest())
            stream = stub.StreamImages(pb.StreamImagesRequest(generation=generation(steps=20)))
            await stream.read()
            draining = asyncio.create_task(server.drain(60))
            rest = []
            while (response := await stream.read()) is not grpc.aio.EOF:
                rest.append(response.WhichOneof("event"))
            await draining
            return rest

    assert asyncio.run(scenario())[-2:] == ["image", "completed"]
