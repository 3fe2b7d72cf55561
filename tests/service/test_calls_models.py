"""Calls for models over a real channel: listing, loading and unloading."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc

from tests.support.service.rpc_errors import rpc_error
from tintype.service.models import ModelState, ModelStatus
from tintype.v1 import image_service_pb2 as pb


def test_models_are_listed_loaded_and_unloaded(running: Any) -> None:
    """The four calls for models return consistent models and states."""

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
    assert list(got.fixed_samplers) == ["ddim", "ddpm", "lcm", "plms", "tcd"]


def test_unloading_does_not_block_other_calls(running: Any, fake_repository: Any) -> None:
    """Releasing the memory of a large model takes time, and does not delay other calls."""
    slow, freed = fake_repository(), threading.Event()
    slow.unload = lambda _name: freed.wait(10)

    async def scenario() -> bool:
        async with running(repository=slow) as here:
            unloading = asyncio.ensure_future(here.stub.UnloadModel(pb.UnloadModelRequest(model="second")))
            await asyncio.sleep(0.05)
            await here.stub.ListModels(pb.ListModelsRequest(), timeout=5)
            done_early = unloading.done()
            freed.set()
            await unloading
            return done_early

    assert not asyncio.run(scenario())


def test_load_waits_until_loaded(running: Any, fake_repository: Any) -> None:
    """LoadModel responds when the model is loaded, or at once with `no_wait`."""
    slow = fake_repository()
    slow.after_load = ModelStatus(ModelState.LOADING, 0.5)

    async def scenario() -> Any:
        async with running(repository=slow) as here:
            at_once = await here.stub.LoadModel(pb.LoadModelRequest(model="second", no_wait=True))
            waiting = asyncio.ensure_future(here.stub.LoadModel(pb.LoadModelRequest(model="second")))
            await asyncio.sleep(0.15)
            done_early = waiting.done()
            slow.states["second"] = ModelStatus(ModelState.RESIDENT, 1.0)
            return at_once.model, done_early, (await waiting).model

    at_once, done_early, waited = asyncio.run(scenario())
    assert (at_once.state, at_once.load_fraction) == (pb.MODEL_STATE_LOADING, 0.5)
    assert not done_early
    assert waited.state == pb.MODEL_STATE_LOADED


def test_load_returns_the_reason_of_a_failure(running: Any, fake_repository: Any) -> None:
    """For a model that cannot be loaded, LoadModel fails with FAILED_PRECONDITION and the reason."""
    broken = fake_repository()
    broken.after_load = ModelStatus(ModelState.FAILED, error="unet/model.onnx is missing")

    async def scenario() -> Any:
        async with running(repository=broken) as here:
            return await rpc_error(here.stub.LoadModel(pb.LoadModelRequest(model="second")))

    error = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "unet/model.onnx is missing" in error.details()
