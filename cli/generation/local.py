"""The service of a run: a running one, or one in this process."""

from __future__ import annotations

import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from tintype.service.config import ServiceConfig

from ..available import same_name
from ..errors import UserError
from ..service_client import connect
from ..settings.sources import Sources
from ..settings.values import parse_path
from .request import SUFFIX

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator

    from ..service_client import ServiceConnection

LOCAL = "127.0.0.1:0"  # the address of the service in this process; the system chooses the port


def is_remote(arguments: Namespace) -> bool:
    """Return whether a running service makes the images."""
    return bool(arguments.grpc or os.environ.get("TINTYPE_GRPC"))


def is_source(model: str) -> bool:
    """Return whether --model says where a model is, rather than its name: a path, a file's name, or a hub id."""
    return bool(model) and (os.sep in model or "/" in model or model.endswith(SUFFIX) or parse_path(model).exists())


def local_service(sources: Sources, model: str) -> tuple[ServiceConfig, str]:
    """Return the configuration of the service in this process, and the name of the model in requests.

    Models on the hub are downloaded first. Raises UserError.
    """
    if is_source(model):
        sources = replace(sources, flags={**sources.flags, "models": [model]})
        model = ""  # it is the only model
    key = secrets.token_urlsafe(32)  # so that other users of this machine have no access
    config = sources.config(ServiceConfig, grpc=LOCAL, api_key=key)
    if model and not config.models and (known := same_name(model)):
        raise UserError(f"there is no folder or file {model}; did you mean {known}?")
    return config, model


@asynccontextmanager
async def service_connection(sources: Sources, local: ServiceConfig | None) -> AsyncIterator[ServiceConnection]:
    """Connect to a running service, or to one that runs in this process while inside the block."""
    if local is None:
        async with connect(sources) as service:
            yield service
        return
    running = import_module("tintype.service.server").running
    async with (
        running(local) as address,
        connect(Sources(flags={"grpc": address, "service_key": local.api_key})) as service,
    ):
        yield service
