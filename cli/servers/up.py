"""`tintype up`: service and gateway on this machine, as two supervised processes.

SIGHUP makes it read its settings again; it sends the new configurations to both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from tintype.v1 import logs
from tintype.v1.settings import restart_note
from tintype.v1.signals import Reloading

from ..errors import USER_ERROR
from ..images.files import save
from ..settings.sources import Sources, warn_of_unknown_variables
from . import rest_client
from .plan import UpPlan, make_plan, reachable_url, read_again
from .serve import print_config
from .supervisor import RESTART_DELAYS, ServerExited, Supervisor, stop_signals

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

    from tintype.gateway.config import GatewayConfig
    from tintype.service.config import ServiceConfig

    from .supervisor import StopRequest

    Configs: TypeAlias = tuple[ServiceConfig, GatewayConfig]

log = logging.getLogger(__name__)

SEED = 7  # of the first image, which the README shows
EXAMPLES = """
Make more images:

  curl {url}/v1/images/generations -H 'content-type: application/json' \\{header}
    -d '{{"prompt": "A red house in a flower meadow"}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  print(client.images.generate(prompt="A red house in a flower meadow").data[0].url)

Ctrl-C stops both.
"""


def run(arguments: Namespace) -> int:
    """Serve until a signal and return 0, or fail with the error of the server that ended."""
    warn_of_unknown_variables()
    if arguments.print_config:
        return print_config(Sources.gather(vars(arguments)), "service", "gateway")
    try:
        plan = make_plan(arguments)
        reloading = Reloading(partial(read_again, arguments, plan))
        reloading.catch_hangup()
        return asyncio.run(_up(plan, reloading))
    except ServerExited as exited:
        if not exited.reported:
            raise
        return USER_ERROR


async def _up(plan: UpPlan, reloading: Reloading[Configs]) -> int:
    """Start both servers, use them, and stop both, the gateway first."""
    delays = () if plan.check else RESTART_DELAYS
    with plan.ports, stop_signals(reloading.request) as stop:
        async with (
            Supervisor("serve", "service", plan.service, stop, delays=delays) as service,
            Supervisor("gateway", "gateway", plan.gateway, stop, delays=delays) as gateway,
        ):
            work = asyncio.create_task(_use(plan, service, gateway))
            follow = asyncio.create_task(reloading.follow(Update(plan, service, gateway).apply))
            try:
                return await _until_stopped(work, (service, gateway), stop)
            finally:
                follow.cancel()


class Update:
    """Brings new configurations to both servers, once they have started with those of the plan."""

    def __init__(self, plan: UpPlan, service: Supervisor, gateway: Supervisor) -> None:
        self._servers = service, gateway
        self._configs: Configs = plan.service, plan.gateway

    async def apply(self, new: Configs) -> None:
        """Send what can change at run time; the log names what needs a restart."""
        (service, service_flags), (gateway, gateway_flags) = (
            self._configs[0].reloaded(new[0]),
            self._configs[1].reloaded(new[1]),
        )
        self._configs = service, gateway
        flags = list(dict.fromkeys((*service_flags, *gateway_flags)))
        logs.set_level(service.log_level)
        log.info("the settings were read again%s", restart_note(flags))
        for server, config in zip(self._servers, self._configs, strict=True):
            server.update(config)


async def _until_stopped(work: asyncio.Task[int], servers: Sequence[Supervisor], stop: StopRequest) -> int:
    """Wait until `work` is done, a server has ended, or a signal arrives.

    Raises the error of the server that ended.
    """
    stopped = asyncio.create_task(stop.received.wait())
    finished = [server.finished for server in servers]
    await asyncio.wait({work, stopped, *finished}, return_when=asyncio.FIRST_COMPLETED)
    for task in (work, stopped):
        task.cancel()
    await asyncio.gather(work, stopped, return_exceptions=True)
    if stop.received.is_set():
        _print("Stopping. Press Ctrl-C again to stop immediately.")
        return 0
    for ended in finished:
        if ended.done():
            raise ended.result()
    return work.result()


async def _use(plan: UpPlan, service: Supervisor, gateway: Supervisor) -> int:
    """Wait for both servers, print their addresses, and make the first image.

    Then wait forever, unless this is a check.
    """
    began = time.monotonic()
    address, url = await service.address, reachable_url(await gateway.address)
    rest = rest_client.RestGateway(url, plan.gateway.api_key, plan.gateway.rest_tls_cert)
    model = "?"
    if not plan.gateway.rest_tls_client_ca:  # otherwise only clients with a certificate can ask
        await rest_client.wait_until_ready(rest, address)
        model = await rest_client.default_model(rest)
    places = {"model": f"{model} ({plan.origin or 'included'})", "playground": f"{url}/", "REST": url, "gRPC": address}
    places |= {"results": str(plan.gateway.data)}
    lines = [f"  {name:11} {place}" for name, place in places.items()]
    _print("\n".join([f"\ntintype is ready after {time.monotonic() - began:.1f} s", *lines]))
    report = await _first_image(rest, plan) if plan.prompt else ""
    if plan.check:
        _print(report)
        return 0
    _print(report + format_examples(url, needs_key=plan.gateway.needs_key, cert=plan.gateway.rest_tls_cert))
    return await asyncio.Future()


async def _first_image(rest: rest_client.RestGateway, plan: UpPlan) -> str:
    """Make the first image, save it if it has a file, and return a report."""
    image = await rest_client.generate(rest, plan.prompt, seed=SEED)
    if plan.output:
        save(image.data, plan.output)
    details = f"{len(image.data):,} bytes, seed {image.seed}, {image.seconds:.1f} s"
    return f"\nFirst image, {plan.prompt!r}: {plan.output or 'not kept'} ({details})\n"


def format_examples(url: str, *, needs_key: bool, cert: Path | None = None) -> str:
    """Return example requests to paste; `cert` is the certificate of a gateway that serves HTTPS."""
    header = "\n    -H 'authorization: Bearer KEY' \\" if needs_key else ""
    header = f"\n    --cacert {cert} \\{header}" if cert else header
    return EXAMPLES.format(url=url, header=header, key="KEY" if needs_key else "none")


def _print(text: str) -> None:
    """Print to stdout without buffering."""
    print(text, flush=True)
