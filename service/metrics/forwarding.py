"""Samples of a device's process, fetched by the front over the process's own connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc

from .definitions import METRICS, Sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

SERVICE, METHOD = "tintype.internal.Metrics", "Collect"  # not in the contract: only the front calls it
TIMEOUT = 2.0  # seconds


def handler(collect: Callable[[], Awaitable[Iterable[Sample]]]) -> grpc.GenericRpcHandler:
    """Return the handler that answers with samples."""

    async def answer(_request: bytes, _context: object) -> bytes:
        return dump(await collect())

    method = grpc.unary_unary_rpc_method_handler(answer, bytes, bytes)
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})


async def fetch(channel: grpc.aio.Channel, metadata: Any) -> list[Sample]:
    """Return the samples of the process behind a channel. Raises AioRpcError, ValueError."""
    call: Any = channel.unary_unary(f"/{SERVICE}/{METHOD}")
    return load(await call(b"", timeout=TIMEOUT, metadata=metadata))


def dump(samples: Iterable[Sample]) -> bytes:
    """Return samples as JSON."""
    return json.dumps([tuple(sample) for sample in samples]).encode()


def load(data: bytes) -> list[Sample]:
    """Return the samples that `dump` wrote, without metrics that this version does not know. Raises ValueError."""
    rows = json.loads(data)
    return [
        Sample(name, tuple(labels), value, tuple(counts)) for name, labels, value, counts in rows if name in METRICS
    ]
