"""One replica with the built-in model, without Ray."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.cluster.fake_ray import FakeContext, FakeServe, import_replica
from tintype.service.config import ServiceConfig
from tintype.service.rpc.listen import ServeError
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import logs
from tintype.v1.keys import authorization

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"prompt": "a lake", "steps": 1, "width": 64, "height": 64}


@contextmanager
def replica(monkeypatch: pytest.MonkeyPatch, serve: FakeServe, **settings: Any) -> Iterator[Any]:
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    made = import_replica(monkeypatch, serve).Replica(ServiceConfig(threads=1, **settings))
    with closing(made._parts):
        yield made


def test_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are served and their model is announced; an error of a stream comes with one empty message."""
    serve = FakeServe()

    async def scenario(made: Any) -> None:
        serve.model = "tintype-demo"
        response = await made.GenerateImages(pb.GenerateImagesRequest(**SMALL), grpc_context=FakeContext())
        assert len(response.images) == 1
        serve.model = "no-such-model"
        context, sent = FakeContext(), pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(**SMALL, model="x"))
        events = [event async for event in made.StreamImages(sent, grpc_context=context)]
        assert events == [pb.StreamImagesResponse()]
        assert context.code is grpc.StatusCode.NOT_FOUND
        assert "there is no model 'x'" in context.details
        listed = await made.ListModels(pb.ListModelsRequest(), grpc_context=FakeContext())
        assert [model.name for model in listed.models] == ["tintype-demo"]

    with replica(monkeypatch, serve) as made:
        asyncio.run(scenario(made))
    assert serve.announced == ["tintype-demo"]


def test_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check and List report the models; Watch is refused, because an open call would count as a running request."""

    async def scenario(made: Any) -> None:
        check = health_pb2.HealthCheckRequest
        known, unknown, watched = FakeContext(), FakeContext(), FakeContext()
        assert (await made.Check(check(), known)).status == health_pb2.HealthCheckResponse.SERVING
        assert (await made.Check(check(service="tintype.v1.ImageService"), known)).status == 1
        await made.Check(check(service="other"), unknown)
        assert set((await made.List(None)).statuses) == {"", "tintype.v1.ImageService"}
        with pytest.raises(NotImplementedError):
            await anext(made.Watch(check(), watched))
        codes = [context.code for context in (known, unknown, watched)]
        assert codes == [None, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED]

    with replica(monkeypatch, FakeServe()) as made:
        made.check_health()
        asyncio.run(scenario(made))


def test_hung_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that hangs is reported to Serve, which then replaces the replica; models that failed are not."""

    async def health(made: Any) -> Any:
        return (await made.Check(health_pb2.HealthCheckRequest(), FakeContext())).status

    with replica(monkeypatch, FakeServe(), hang_after=60.0) as made:
        monkeypatch.setattr(made._device, "hangs", lambda after: after == 60.0)
        assert asyncio.run(health(made)) == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(RuntimeError, match="the device hangs"):
            made.check_health()
        monkeypatch.setattr(made._device, "hangs", lambda _: False)
        monkeypatch.setattr(made, "_repository", SimpleNamespace(specs=list))  # no model can be served
        made.check_health()
        assert asyncio.run(health(made)) == health_pb2.HealthCheckResponse.NOT_SERVING


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key, calls without it are refused, and with it they are served."""

    async def scenario(made: Any) -> None:
        context = FakeContext()
        response = await made.GetModel(pb.GetModelRequest(), grpc_context=context)
        assert response == pb.GetModelResponse()
        assert context.code is grpc.StatusCode.UNAUTHENTICATED
        context = FakeContext([authorization("tt-secret")])
        response = await made.GetModel(pb.GetModelRequest(), grpc_context=context)
        assert (context.code, response.model.name) == (None, "tintype-demo")

    with replica(monkeypatch, FakeServe(), api_key="tt-secret") as made:
        asyncio.run(scenario(made))


def test_dropped_model_is_evicted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve drops a model by its `__del__`, and the garbage collector calls it again."""
    evicted: list[str] = []
    held = import_replica(monkeypatch, FakeServe()).HeldModel(lambda: evicted.append("a"))
    held.__del__()
    del held
    assert evicted == ["a"]


def test_broken_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A replica whose model can't be served does not start, so Serve keeps the replicas before it."""
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ServeError, match="can't be served"):  # noqa: SIM117
        with replica(monkeypatch, FakeServe(), models=(tmp_path,)):
            pass
