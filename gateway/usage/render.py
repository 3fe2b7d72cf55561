"""Usage as JSON, for `/v1/usage` and `tintype usage --json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from .records import find_counts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from .records import Counts, UsageKey

_SECONDS = Meta(
    description="Seconds of encoding, denoising and decoding; a call that serves several requests counts for each"
)
DEFAULT_DAYS = 30  # shown if no first day is named


class UsageItem(msgspec.Struct, kw_only=True):
    """The usage of one key on one day with one model."""

    day: Annotated[str, Meta(description="Day in UTC, YYYY-MM-DD")]
    key: Annotated[str, Meta(description="Name of the key; empty for requests without one")]
    model: Annotated[str, Meta(description="Name of the model")]
    requests: Annotated[int, Meta(description="Requests that made images")]
    images: Annotated[int, Meta(description="Images made")]
    megapixels: Annotated[float, Meta(description="Pixels of these images, in millions")]
    steps: Annotated[int, Meta(description="Denoiser evaluations, summed over the images")]
    device_seconds: Annotated[float, _SECONDS]


class UsageList(msgspec.Struct, kw_only=True):
    """Usage by day, key and model, in this order."""

    object: Annotated[str, Meta(description="Always `list`")] = "list"
    data: Annotated[list[UsageItem], Meta(description="Usage by day, key and model")]


def usage_items(found: Iterable[tuple[UsageKey, Counts]]) -> list[UsageItem]:
    """Return counts as items."""
    return [
        UsageItem(
            day=of.day,
            key=of.key,
            model=of.model,
            requests=counts.requests,
            images=counts.images,
            megapixels=counts.megapixels,
            steps=counts.steps,
            device_seconds=counts.device_seconds,
        )
        for of, counts in found
    ]


def encode_usage(since: str, until: str, key: str | None, connection: sqlite3.Connection) -> bytes:
    """Return usage as JSON; call it on the database's thread, since it may have many rows."""
    return msgspec.json.encode(UsageList(data=usage_items(find_counts(connection, since=since, until=until, key=key))))
