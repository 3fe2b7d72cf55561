"""`tintype up`: service and gateway here, as two processes that live and end together."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import SETTINGS, UserError
from ..image_files import mime_type, prepare, save
from ..settings.sources import Sources
from ..settings.values import parse_path
from . import rest_client
from .addresses import claim, reachable, reachable_url
from .log import configure
from .serve import warn
from .supervisor import DELAYS, ChildEnded, Keeper, stop_signals

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

    from .supervisor import Stop

PROMPT = "A serene mountain lake at sunset"
SEED = 7  # of the first picture, which is the README's
EXAMPLES = """
Make more:

  curl {url}/v1/images/generations -H 'content-type: application/json' \\{header}
    -d '{{"prompt": "A red house in a flower meadow"}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  print(client.images.generate(prompt="A red house in a flower meadow").data[0].url)

Ctrl-C stops both.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and what to do once it is ready: a first picture or none, and whether to end after it."""

    service: Any
    gateway: Any
    prompt: str
    output: Path | None
    check: bool


def run(arguments: Namespace) -> int:
    """Serve until a signal and return 0, or end with what went wrong."""
    warn()
    try:
        return asyncio.run(_up(_plan(arguments)))
    except ChildEnded as ended:
        if not ended.told:
            raise
        return SETTINGS


def _plan(arguments: Namespace) -> Plan:
    sources = Sources.gather(vars(arguments))
    service, gateway = sources.config("service"), sources.config("gateway")
    configure("up", service)
    gateway.check_access()
    service.check_access()
    _check_tls(service, gateway)
    # Keys may be created later: the gateway always has a key of its own for the service. Children get it by a pipe.
    companion = secrets.token_urlsafe(32)
    service = replace(service, companion_key=companion)
    gateway = replace(gateway, service_key=companion)
    if gateway.needs_key:  # the first image needs one, too
        gateway = replace(gateway, api_key=gateway.api_key or secrets.token_urlsafe(32))
    if service.grpc == gateway.rest and not service.grpc.endswith(":0"):
        raise UserError(f"--grpc and --rest are both {gateway.rest}; give one of them another port")
    grpc, rest_ = claim(service.grpc, "--grpc"), claim(gateway.rest, "--rest")
    return Plan(
        service=replace(service, grpc=grpc),
        gateway=replace(gateway, rest=rest_, grpc=reachable(grpc)),
        prompt=_prompt(arguments),
        output=_output(arguments),
        check=arguments.check,
    )


def _check_tls(service: Any, gateway: Any) -> None:
    """Raise UserError if the gateway could not reach a service with TLS."""
    if service.tls_client_ca and not gateway.service_cert:
        remedy = "by which the gateway identifies itself to the service"
        raise UserError(f"--tls-client-ca needs --service-cert and --service-cert-key here, {remedy}")
    if service.tls_cert and not gateway.tls_ca:
        remedy = "by which the gateway verifies the service: the CA of that certificate, or the certificate itself"
        raise UserError(f"--tls-cert needs --tls-ca here, {remedy}")


def _prompt(arguments: Namespace) -> str:
    """What the first picture shows, empty for none. Raises UserError."""
    text: str = arguments.first_picture or (PROMPT if arguments.check else "")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half a character
        raise UserError(f"--first-picture: {error}") from error
    return text


def _output(arguments: Namespace) -> Path | None:
    """Where the first picture goes; a check keeps it only on demand. Raises UserError."""
    if arguments.check and not arguments.output:
        return None
    path = parse_path(arguments.output or "first-picture.png")
    if mime_type(path) != "image/png":
        raise UserError(f"the first picture is a PNG: --output {path} should end in .png")
    prepare(path)
    return path


async def _up(plan: Plan) -> int:
    """Start both servers, run the story, and stop both, the gateway first."""
    delays = () if plan.check else DELAYS
    with stop_signals() as stop:
        async with (
            Keeper("serve", "service", plan.service, stop, delays=delays) as service,
            Keeper("gateway", "gateway", plan.gateway, stop, delays=delays) as gateway,
        ):
            return await _until_over(asyncio.create_task(_story(plan, service, gateway)), (service, gateway), stop)


async def _until_over(story: asyncio.Task[int], servers: Sequence[Keeper], stop: Stop) -> int:
    """Wait for the story, the end of a server, or a signal.

    Raises the error of the one that failed.
    """
    asked = asyncio.create_task(stop.asked.wait())
    await asyncio.wait({story, asked, *(server.gone for server in servers)}, return_when=asyncio.FIRST_COMPLETED)
    for task in (story, asked):
        task.cancel()
    await asyncio.gather(story, asked, return_exceptions=True)
    if stop.asked.is_set():
        say("Stopping; Ctrl-C again does it at once.")
        return 0
    for server in servers:
        if server.gone.done():
            raise server.gone.result()
    return story.result()


async def _story(plan: Plan, service: Keeper, gateway: Keeper) -> int:
    """Wait for both servers, print their addresses, and make the first image.

    It then waits for ever, unless this is a check.
    """
    began = time.monotonic()
    address, url = await service.address, reachable_url(await gateway.address)
    await rest_client.ready(url, address)
    places = {"playground": f"{url}/", "REST": url, "gRPC": address, "results": plan.gateway.data}
    lines = [f"  {what:11} {where}" for what, where in places.items()]
    say("\n".join([f"\ntintype is ready after {time.monotonic() - began:.1f} s", *lines]))
    made = await _first_picture(url, plan) if plan.prompt else ""
    if plan.check:
        say(made)
        return 0
    say(made + examples(url, needs_key=plan.gateway.needs_key))
    return await asyncio.Future()


async def _first_picture(url: str, plan: Plan) -> str:
    """Make it, save it where that is wanted, and return what to say of it."""
    picture = await rest_client.make(url, plan.prompt, plan.gateway.api_key, seed=SEED)
    made = f"{len(picture.data):,} bytes, seed {picture.seed}, {picture.seconds:.1f} s"
    if plan.output:
        save(picture.data, plan.output)
    return f"\nFirst picture, {plan.prompt!r}: {plan.output or 'not kept'} ({made})\n"


def examples(url: str, *, needs_key: bool) -> str:
    """How to go on, for people who paste."""
    header = "\n    -H 'authorization: Bearer KEY' \\" if needs_key else ""
    return EXAMPLES.format(url=url, header=header, key="KEY" if needs_key else "none")


def say(text: str) -> None:
    """Tell it on stdout, now."""
    print(text, flush=True)
