"""`tintype usage`: what the keys of clients have used, from the data folder; no gateway needs to run."""

from __future__ import annotations

import csv
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tintype.gateway.config import GatewayConfig
from tintype.gateway.database import connect
from tintype.gateway.usage.records import FILE, MIGRATIONS, find_counts
from tintype.gateway.usage.render import DEFAULT_DAYS, UsageItem, UsageList, usage_items

from .errors import UserError
from .settings.sources import Sources, warn_of_unknown_variables
from .terminal import format_table

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

HEADINGS = ("DAY", "KEY", "MODEL", "REQUESTS", "IMAGES", "MEGAPIXELS", "STEPS", "DEVICE SECONDS")


def run(arguments: Namespace) -> int:
    """Print usage as a table, as JSON or as CSV."""
    warn_of_unknown_variables()
    since = _parse_day(arguments.since)
    path = Sources.gather(vars(arguments)).partial(GatewayConfig, "data").data / FILE
    found = _read(path, since, arguments.key)
    if arguments.json:
        print(msgspec.json.encode(UsageList(data=found)).decode())
    elif arguments.csv:
        _print_csv(found)
    elif found:
        print(format_table([HEADINGS, *map(_format_row, found), *_total(found)]))
    else:
        sys.stderr.write(f"There is no usage since {since} in {path}.\n")
    return 0


def _read(path: Path, since: str, key: str | None) -> list[UsageItem]:
    if not path.exists():
        return []
    with closing(connect(path, MIGRATIONS)) as connection:
        return usage_items(find_counts(connection, since=since, key=key))


def _parse_day(text: str | None) -> str:
    """Return a day as YYYY-MM-DD; without one, the first of the last days. Raises UserError."""
    if text is None:
        return (datetime.now(UTC).date() - timedelta(days=DEFAULT_DAYS - 1)).isoformat()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"--since must be a day such as 2026-01-31; got {text!r}") from None


def _print_csv(items: Sequence[UsageItem]) -> None:
    names = UsageItem.__struct_fields__
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(item, name) for name in names] for item in items)


def _format_row(item: UsageItem) -> tuple[str, ...]:
    numbers = (str(item.requests), str(item.images), f"{item.megapixels:.2f}", str(item.steps))
    return (item.day, item.key or "-", item.model, *numbers, f"{item.device_seconds:.1f}")


def _total(items: Sequence[UsageItem]) -> list[tuple[str, ...]]:
    """Return a row with the sums, if there are several rows."""
    if len(items) < 2:
        return []
    names = ("requests", "images", "megapixels", "steps", "device_seconds")
    sums = {name: sum(getattr(item, name) for item in items) for name in names}
    return [_format_row(UsageItem(day="total", key="", model="", **sums))]
