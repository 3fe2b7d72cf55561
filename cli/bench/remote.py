"""A bench of a running service: over gRPC, or over REST through its gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from tintype.gateway.config import GatewayConfig
from tintype.v1 import image_service_pb2 as pb

from ..errors import UserError
from ..servers.rest_client import RestGateway
from ..service_client import connect
from .clients import GrpcClient, RestClient
from .schedule import GATEWAY, steps_to_measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..service_client import ServiceConnection
    from ..settings.sources import Sources
    from .figures import Figures
    from .schedule import Schedule

UNUSED = "http://127.0.0.1:8080"
TIMEOUT = 20.0  # seconds for a description of the model


async def measure_grpc(
    sources: Sources, model: str, figures: Figures, schedule: Schedule, steps: Sequence[int], url: str = ""
) -> None:
    """Measure a running service, and what the gateway at `url` adds if there is one. Raises UserError."""
    async with connect(sources) as connection, _gateway(url or UNUSED, sources) as http:
        schedule.begin("the first image")
        client = GrpcClient(connection, model)
        found = await describe_model(connection, model, figures)
        figures.where = "a running service, over gRPC"
        await measure_first(client, found.defaults.steps, figures)
        each = [figures.of(number) for number in steps_to_measure(steps, found.defaults.steps)]
        await schedule.measure_steps(client, each, after=GATEWAY * bool(url))
        if url:
            await _rest_model(http, model)
            await schedule.measure_gateway(client, RestClient(http, model), figures)


def _gateway(url: str, sources: Sources) -> httpx.AsyncClient:
    """Return a client of a gateway. Raises UserError."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"--url must be the address of a gateway, for example {UNUSED}; got {url!r}")
    return RestGateway(url.rstrip("/"), sources.partial(GatewayConfig, "api_key").api_key).client()


async def measure_rest(
    url: str, sources: Sources, model: str, figures: Figures, schedule: Schedule, steps: Sequence[int]
) -> None:
    """Measure a running service through its gateway. Raises UserError."""
    async with _gateway(url, sources) as http:
        schedule.begin("the first image")
        found = await _rest_model(http, model)
        figures.model, figures.where = str(found.get("id", "?")), f"a running service, over REST at {url}"
        parameters = found.get("parameters") or {}
        default = int((parameters.get("steps") or {}).get("default", 0))
        client = RestClient(http, model)
        await measure_first(client, default, figures)
        await schedule.measure_steps(client, [figures.of(number) for number in steps_to_measure(steps, default)])


async def measure_first(client: GrpcClient | RestClient, default: int, figures: Figures) -> None:
    """Measure the first image of this run, with the model's own number of steps."""
    figures.first.values.append((await client.image(steps_to_measure((), default)[0], 0)).seconds)


async def describe_model(connection: ServiceConnection, model: str, figures: Figures) -> pb.Model:
    """Return a model of a service, and put its description into the figures. Raises grpc's errors."""
    stub, metadata = connection
    request = pb.GetModelRequest(model=model)
    found = (await stub.GetModel(request, metadata=metadata, timeout=TIMEOUT)).model
    figures.model, figures.provider, figures.precision = found.name, found.provider, found.precision
    figures.size = f"{found.defaults.width}x{found.defaults.height}"
    return found


async def _rest_model(http: httpx.AsyncClient, model: str) -> dict[str, Any]:
    """Return a model as the gateway lists it; the default one is the first. Raises UserError."""
    try:
        answer = await http.get("/v1/models", timeout=TIMEOUT)
        listed = answer.json()["data"] if answer.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"no answer from {http.base_url}: {error or type(error).__name__}") from error
    except (ValueError, LookupError, TypeError):
        listed = None
    if not listed:
        raise UserError(f"{http.base_url} is not a gateway of tintype: GET /v1/models: HTTP {answer.status_code}")
    found: dict[str, Any] = next((each for each in listed if not model or each.get("id") == model), {})
    if not found:
        raise UserError(f"there is no model {model!r} at {http.base_url}")
    return found
