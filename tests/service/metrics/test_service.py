"""The metrics of a running service, with the built-in model."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from tests.support.tools import check_metrics
from tintype.service.config import ServiceConfig
from tintype.service.metrics.definitions import METRICS, PREFIX
from tintype.service.server import running
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

MODEL = "tintype-demo"
PRIVATE = "words that no metric may show"


def values(text: str) -> dict[str, float]:
    """Return the value of each line, by name and labels."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix(PREFIX): float(value) for name, _, value in lines}


async def work(stub: Any) -> None:
    """Make two images, cancel a request, ask for an unknown model, and unload the model."""
    small: dict[str, Any] = {"prompt": PRIVATE, "width": 64, "height": 64}
    await stub.GenerateImages(pb.GenerateImagesRequest(**small, count=2, steps=4, seed=1))
    call = stub.StreamImages(pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(**small, steps=100)))
    async for event in call:
        if event.HasField("progress"):
            call.cancel()
            break
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.GenerateImages(pb.GenerateImagesRequest(**small, model="unknown"))
    await stub.UnloadModel(pb.UnloadModelRequest(model=MODEL))


async def scrape(url: str, wanted: str) -> str:
    """Return the metrics once they have a line: a cancelled call is counted when it has ended."""
    async with httpx.AsyncClient() as client:
        for _ in range(200):
            text = (await client.get(url)).text
            if wanted in text:
                return text
            await asyncio.sleep(0.02)
    raise AssertionError(text)


def test_metrics_tell_what_happened(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Images, steps, waits, loads, evictions, calls and cancellations are counted, and promtool accepts the text."""
    caplog.set_level(logging.INFO)

    async def scenario() -> str:
        config = ServiceConfig(grpc="127.0.0.1:0", metrics="127.0.0.1:0", threads=1, max_batch=2, data=tmp_path)
        async with running(config) as address, grpc.aio.insecure_channel(address) as channel:
            await work(pb_grpc.ImageServiceStub(channel))
            (url,) = re.findall(r"serving metrics on (\S+)", caplog.text)
            return await scrape(url, 'call="StreamImages",status="CANCELLED"')

    text = asyncio.run(scenario())
    found = values(text)
    assert found[f'images_total{{device="0",model="{MODEL}"}}'] == 2
    assert found[f'cancellations_total{{device="0",model="{MODEL}"}}'] == 1
    assert found[f'tasks_total{{device="0",model="{MODEL}",outcome="completed"}}'] == 1
    assert found[f'queue_seconds_count{{device="0",model="{MODEL}"}}'] == 2
    steps = sum(value for name, value in found.items() if name.startswith("step_seconds_count"))
    assert steps == found[f'step_images_count{{device="0",model="{MODEL}"}}'] >= 5
    assert all(found[f'busy_seconds_total{{device="0",stage="{stage}"}}'] > 0 for stage in ("encode", "denoise"))
    assert found[f'model_loads_total{{device="0",model="{MODEL}",outcome="loaded"}}'] == 1
    assert found[f'model_evictions_total{{device="0",model="{MODEL}"}}'] == 1
    assert found['models_loaded{device="0"}'] == found[f'model_loaded{{device="0",model="{MODEL}"}}'] == 0
    assert found['queue_capacity{device="0"}'] == 64
    assert found['requests_total{call="GenerateImages",status="OK"}'] == 1
    assert found['requests_total{call="GenerateImages",status="NOT_FOUND"}'] == 1
    assert PRIVATE not in text
    assert "unknown" not in text
    assert check_metrics(text.encode()) == ""


def test_labels_are_bounded() -> None:
    """No label comes from a request: only models, devices, calls, statuses, reasons and versions are labels."""
    labels = {label for metric in METRICS.values() for label in metric.labels}
    assert labels == {
        "model",
        "device",
        "width",
        "outcome",
        "stage",
        "call",
        "status",
        "version",
        "python",
        "onnxruntime",
    }
