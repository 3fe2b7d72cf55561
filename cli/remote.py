"""A running service, over gRPC."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from tintype.v1 import image_service_pb2_grpc as pb_grpc

from .errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .sources import Sources

OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 2**20),  # bytes, as the service sends them
    ("grpc.min_reconnect_backoff_ms", 5_000),  # bounds the first attempt to connect, too
    ("grpc.enable_http_proxy", 0),  # a service of one's own is not behind the proxy to the world
)
DETAILS = "grpc-status-details-bin"  # trailer with which a service of ours says more; infrastructure has none


@asynccontextmanager
async def connect(sources: Sources) -> AsyncIterator[pb_grpc.ImageServiceAsyncStub]:
    """A stub for the service that the settings name. Raises UserError: not reachable, or what the service says."""
    target = sources.value("gateway", "grpc")
    async with _channel(target, sources.value("gateway", "tls_ca")) as channel:
        try:
            yield pb_grpc.ImageServiceStub(channel)
        except grpc.aio.AioRpcError as error:
            raise UserError(explain(error, target)) from error


def _channel(target: str, tls_ca: Path | None) -> grpc.aio.Channel:
    if tls_ca is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    try:
        roots = tls_ca.read_bytes()
    except OSError as error:
        raise UserError(f"can't read --tls-ca {tls_ca}: {error.strerror}") from error
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options=OPTIONS)


def explain(error: grpc.aio.AioRpcError, target: str) -> str:
    """One line for a call that failed: the service's own words, or that there is none."""
    ours = any(key == DETAILS for key, _ in error.trailing_metadata())
    if error.code() is grpc.StatusCode.UNAVAILABLE and not ours:
        return f"no service answers at {target} ({error.details()}); `tintype up` starts one, --grpc names another"
    return error.details() or error.code().name
