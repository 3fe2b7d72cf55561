"""The plan of `tintype up`: matching configurations of both servers, and the first image."""

from __future__ import annotations

import secrets
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig

from ..errors import UserError
from ..images.files import mime_type, prepare_folder
from ..settings.checks import local_service
from ..settings.sources import Sources
from ..settings.values import parse_path, split_address
from .log import check, configure

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

MODELS = ("models", "text_encoders", "vae")
PROMPT = "A serene mountain lake at sunset"
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # compared with, not bound to


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The random keys of one run: of the gateway for the service, and of the command for the gateway."""

    companion: str
    command: str

    def added(self, service: ServiceConfig, gateway: GatewayConfig) -> tuple[ServiceConfig, GatewayConfig]:
        """Return both configurations with these keys."""
        if gateway.needs_key:  # the request for the first image needs one as well
            gateway = replace(gateway, api_key=gateway.api_key or self.command)
        return replace(service, companion_key=self.companion), replace(gateway, service_key=self.companion)


@dataclass(frozen=True, slots=True)
class UpPlan:
    """The two servers, the prompt of the first image (empty for none), its file, and whether to stop after it.

    `origin` says where the default model comes from: a hub id, a path, or empty for the built-in model.
    `ports` keeps the ports of both servers from other processes until it is closed.
    """

    service: ServiceConfig
    gateway: GatewayConfig
    own_keys: OwnKeys
    origin: str
    prompt: str
    output: Path | None
    check: bool
    ports: ExitStack


def make_plan(arguments: Namespace) -> UpPlan:
    """Return the plan for a command line, and configure the log. Raises UserError.

    Models on the hub are downloaded last, after all checks.
    """
    sources = Sources.gather(vars(arguments))
    service, gateway = _checked_configs(sources)
    configure("up", service)
    _check_tls(service, gateway)
    if gateway.rest_tls_client_ca and (arguments.first_image or arguments.check):
        raise UserError("--rest-tls-client-ca: the first image can't be requested without a client's certificate")
    # Keys may be created later, so the gateway always has its own key for the service. Children get it through a pipe.
    own_keys = OwnKeys(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    service, gateway = own_keys.added(service, gateway)
    if service.grpc == gateway.rest and not service.grpc.endswith(":0"):
        raise UserError(f"--grpc and --rest are both {gateway.rest}; they need different ports")
    with ExitStack() as ports:
        grpc, rest = claim_port(service.grpc, "--grpc", ports), claim_port(gateway.rest, "--rest", ports)
        prompt = _check_prompt(arguments)
        output = _prepare_output(arguments, prompt)
        models: dict[str, Any] = sources.values(ServiceConfig, MODELS)
        return UpPlan(
            service=replace(service, grpc=grpc, **models),
            gateway=replace(gateway, rest=rest, grpc=reachable(grpc)),
            own_keys=own_keys,
            origin=_origin(sources),
            prompt=prompt,
            output=output,
            check=arguments.check,
            ports=ports.pop_all(),
        )


def read_again(arguments: Namespace, plan: UpPlan) -> tuple[ServiceConfig, GatewayConfig]:
    """Return both configurations from the sources as they are now, with the keys and addresses of a plan.

    Raises:
        UserError, KeysError: they are invalid.
    """
    sources = Sources.gather(vars(arguments))
    service, gateway = plan.own_keys.added(*_checked_configs(sources))
    check(service)
    models: dict[str, Any] = sources.values(ServiceConfig, MODELS)
    service = replace(service, grpc=_kept_port(service.grpc, plan.service.grpc), **models)
    gateway = replace(gateway, rest=_kept_port(gateway.rest, plan.gateway.rest), grpc=plan.gateway.grpc)
    return service, gateway


def _checked_configs(sources: Sources) -> tuple[ServiceConfig, GatewayConfig]:
    service, gateway = local_service(sources), sources.config(GatewayConfig)
    gateway.check_access()
    service.check_access()
    return service, gateway


def _kept_port(address: str, kept: str) -> str:
    """Return `kept` if an address with port 0 has become that."""
    host, _, port = address.rpartition(":")
    return kept if port == "0" and kept.rpartition(":")[0] == host else address


def _origin(sources: Sources) -> str:
    """Return the default model as the settings name it, empty for the built-in model."""
    models = sources.find_all(ServiceConfig)["models"].value
    return str(models[0]) if isinstance(models, tuple) and models else ""


def _check_tls(service: ServiceConfig, gateway: GatewayConfig) -> None:
    """Raise UserError if the gateway could not connect to the service because of TLS."""
    if service.tls_client_ca and not gateway.service_cert:
        purpose = "with which the gateway identifies itself to the service"
        raise UserError(f"--tls-client-ca also needs --service-cert and --service-cert-key, {purpose}")
    if service.tls_cert and not gateway.tls_ca:
        purpose = "with which the gateway verifies the service: the CA of that certificate, or the certificate itself"
        raise UserError(f"--tls-cert also needs --tls-ca, {purpose}")


def _check_prompt(arguments: Namespace) -> str:
    """Return the prompt of the first image, empty for none. Raises UserError."""
    text: str = arguments.first_image or (PROMPT if arguments.check else "")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        raise UserError(f"--first-image: {error}") from error
    return text


def _prepare_output(arguments: Namespace, prompt: str) -> Path | None:
    """Return the file of the first image, if there is one; a check keeps it only with --output. Raises UserError."""
    if not arguments.output and (arguments.check or not prompt):
        return None
    path = parse_path(arguments.output or "first-image.png")
    if mime_type(path) != "image/png":
        raise UserError(f"--output of the first image must end in .png; got {path}")
    prepare_folder(path)
    return path


def claim_port(address: str, flag: str, ports: ExitStack | None = None) -> str:
    """Check that a server can listen on HOST:PORT, and replace port 0 by a free port. Raises UserError.

    On Linux the port is kept from connections and from other claims until `ports` is closed; there a server that sets
    SO_REUSEADDR can listen on a port that is bound but not listened on.
    """
    host, port = split_address(address)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as stack:
            claim = stack.enter_context(socket.socket(family))
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            claim.bind(place)
            port = claim.getsockname()[1]
            if ports is not None and sys.platform == "linux":
                ports.push(stack.pop_all())
    except OSError as error:
        raise UserError(f"cannot listen on {address}: {error.strerror}; choose another address with {flag}") from error
    return address.rpartition(":")[0] + f":{port}"


def reachable(address: str) -> str:
    """Return the address at which this machine reaches a server that listens on HOST:PORT."""
    host, port = split_address(address)
    return f"{WILDCARDS[host]}:{port}" if host in WILDCARDS else address


def reachable_url(url: str) -> str:
    """Return the URL at which this machine reaches a server that listens on `http://HOST:PORT`, or https."""
    scheme, _, address = url.partition("://")
    return f"{scheme}://{reachable(address)}"
