"""Readiness: whether images can be made now, and why not."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from grpc_health.v1 import health_pb2

from tests.support.gateway.fakes import Service, config, running_gateway, running_service
from tintype.gateway.access.model_names import ModelNames
from tintype.gateway.errors import ServiceError, StartError
from tintype.gateway.server import serve
from tintype.gateway.upstream.channel import Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.gateway.upstream.readiness import Readiness
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


class FakeClient:
    """A service in the state that a test sets."""

    def __init__(self, *models: pb.Model, problem_text: str = "") -> None:
        self.served = list(models)
        self.problem_text = problem_text

    async def health_problem(self) -> str:
        return self.problem_text

    async def models(self) -> list[pb.Model]:
        return self.served


def readiness(client: Any, **aliases: str) -> Readiness:
    return Readiness(client, ModelNames({name.replace("_", "*"): model for name, model in aliases.items()}))


LOADED, FAILED = (
    pb.Model(name=name, state=state)
    for name, state in (("good", pb.MODEL_STATE_LOADED), ("bad", pb.MODEL_STATE_FAILED))
)


@pytest.mark.parametrize(
    ("models", "aliases", "why"),
    [
        ((LOADED, FAILED), {}, ""),
        ((FAILED, LOADED), {}, "the default model can't be loaded"),
        ((LOADED, FAILED), {"_": "bad"}, "the default model can't be loaded"),
        ((FAILED, LOADED), {"_": "good"}, ""),
        ((LOADED,), {"_": "gone"}, "the image service does not have the default model"),
        ((), {}, "the image service does not have the default model"),
    ],
)
async def test_readiness_depends_on_the_default_model(models: Any, aliases: Any, why: str) -> None:
    """Requests without a model must be served: the service's default model, or the gateway's."""
    assert await readiness(FakeClient(*models), **aliases).problem() == why


async def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A change of the reason is logged, not each check."""
    caplog.set_level(logging.INFO, "tintype")
    client = FakeClient(LOADED, problem_text="it loads")
    ready = readiness(client)
    for problem_text in ("it loads", "it loads", "", "", "it is gone", "it is gone", ""):
        client.problem_text = problem_text
        await ready.problem()
    assert caplog.messages == ["not ready: it loads", "ready", "not ready: it is gone", "ready"]
    assert [record.levelno for record in caplog.records][2] == logging.WARNING


async def test_readyz_reports_the_reason(tmp_path: Path) -> None:
    """`/readyz` reports the reason: a service that drains, or is gone."""
    async with running_service() as own, running_gateway(config(own, tmp_path)) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        await own.health.set("tintype.v1.ImageService", health_pb2.HealthCheckResponse.NOT_SERVING)
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "draining" in answer.json()["why"]
        await own.server.stop(None)
        assert (await client.get("/readyz")).json()["why"] == "nothing listens at the address of the image service"


async def test_a_refused_gateway_key_makes_it_not_ready() -> None:
    """A healthy service that refuses the gateway's key makes the gateway not ready."""
    client = FakeClient(LOADED)

    async def refuse() -> list[pb.Model]:
        raise ServiceError("The image service does not accept this gateway's key.", status=503)

    client.models = refuse  # type: ignore[method-assign]
    assert await readiness(client).problem() == "the image service does not accept this gateway's key"


@pytest.mark.parametrize("aliases", [{"mine": "nowhere"}, {"*": "nowhere"}, {"a": "tiny", "b": "Tiny"}])
async def test_an_alias_to_an_unknown_model_is_refused(
    service: Service, tmp_path: Path, aliases: dict[str, str]
) -> None:
    """An alias of an unknown model fails the start, with one line that names the served models."""
    alias, model = list(aliases.items())[-1]
    settings = config(service, tmp_path, aliases=aliases)
    with pytest.raises(StartError) as caught:
        await asyncio.wait_for(serve(settings, stop=asyncio.Event()), 30)
    expected = f"--aliases names an unknown model in '{alias}={model}': the image service has tiny, org/large"
    assert str(caught.value) == expected
    assert caught.value.exit_code == 2


async def test_aliases_are_checked_once_the_service_answers() -> None:
    """A gateway that starts before the service waits, and checks once the service answers."""
    client = FakeClient(LOADED, problem_text="nothing listens there")
    checking = asyncio.create_task(readiness(client, mine="gone").wait_and_check())
    await asyncio.sleep(0)
    assert not checking.done()
    client.problem_text = ""
    with pytest.raises(StartError, match="'mine=gone': the image service has good"):
        await asyncio.wait_for(checking, 30)


async def test_an_alias_may_name_a_model_of_a_replica_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    """While a replica is down, an unknown model of an alias is logged, and the gateway starts."""
    names = ModelNames({"mine": "elsewhere"})
    checked = Readiness(FakeClient(LOADED), names, lambda: False)  # type: ignore[arg-type]
    await checked.wait_and_check()
    assert not await checked.alias_problem(names)
    assert "'mine=elsewhere'" in caplog.text
    assert "a replica that is not healthy may have it" in caplog.text
    async with running_service() as service, ServiceClient(Route(f"{service.address},127.0.0.1:1")) as client:
        assert not await client.health_problem()
        assert not client.are_all_healthy()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_during_lame_duck_requests_are_served(service: Service, tmp_path: Path, number: signal.Signals) -> None:
    """After SIGTERM and SIGHUP it is not ready, and serves requests until the port closes."""
    ready = asyncio.get_running_loop().create_future()
    settings = config(service, tmp_path, lame_duck=5.0)
    serving = asyncio.create_task(serve(settings, ready=ready.set_result))
    async with httpx.AsyncClient(base_url=await ready, trust_env=False, timeout=30) as client:
        assert (await client.get("/readyz")).status_code == 200
        signal.raise_signal(number)
        await asyncio.sleep(0)
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["why"]) == (503, "the gateway is stopping")
        response = await client.post("/v1/images/generations", json={"prompt": "x"})
        assert response.status_code == 200
        await asyncio.wait_for(serving, 30)
        with pytest.raises(httpx.TransportError):
            await client.get("/readyz")


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGHUP, signal.SIGINT]])
async def test_a_second_signal_skips_lame_duck(service: Service, tmp_path: Path, numbers: list[signal.Signals]) -> None:
    """Ctrl-C, and a second signal, skip the wait for load balancers."""
    ready = asyncio.get_running_loop().create_future()
    settings = config(service, tmp_path, lame_duck=3600.0)
    serving = asyncio.create_task(serve(settings, ready=ready.set_result))
    await ready
    for number in numbers:
        signal.raise_signal(number)
        await asyncio.sleep(0.1)
    await asyncio.wait_for(serving, 30)
