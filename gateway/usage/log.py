"""Usage of one gateway: counted in memory, and added to the database every few seconds.

No request waits for the database. If it does not work, the counts stay in memory until it does; a write that ends
after its time limit counts once. After a crash the counts of the last FLUSH_INTERVAL seconds are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ..database import Database
from ..errors import GatewayError
from .records import FILE, MIGRATIONS, Counts, UsageKey, add_counts, delete_before

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable

    from ..config import GatewayConfig
    from ..database import Result

log = logging.getLogger(__name__)

FLUSH_INTERVAL = 5.0  # seconds


def now_utc() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


class _Batch:
    """Counts that are written in one transaction, once; the database's thread sets `is_written`."""

    def __init__(self, counts: dict[UsageKey, Counts]) -> None:
        self.counts, self.is_written = counts, False

    def write(self, oldest: str, connection: sqlite3.Connection) -> None:
        """Add the counts, unless an earlier write did so after its caller had given up."""
        if not self.is_written:
            add_counts(connection, self.counts)
            delete_before(connection, oldest)

    def set_written(self) -> None:
        """Note that the transaction is on the disk."""
        self.is_written = True


class UsageLog:
    """The usage of one gateway; `days` is how long the database keeps it. `now` returns the time in UTC."""

    def __init__(self, database: Database, days: int, now: Callable[[], datetime] = now_utc) -> None:
        self._database, self._days, self._now = database, days, now
        self._pending: dict[UsageKey, Counts] = {}
        self._batch: _Batch | None = None  # being written, or to be written again
        self._cleaned = ""  # the day on which old counts were deleted

    @property
    def today(self) -> datetime:
        """The time in UTC, whose day new work is counted for."""
        return self._now()

    def add(self, key: str, model: str, counts: Counts) -> None:
        """Count work for a key, empty without one, and a model."""
        found = self._pending.setdefault(UsageKey(self._now().date().isoformat(), key, model), Counts())
        found.add(counts)

    async def flush(self) -> None:
        """Add the counts to the database, and delete those that are too old. Raises StoreFull, DatabaseUnavailable."""
        if self._batch:
            await self._write()
        today = self._now().date().isoformat()
        if self._pending or today != self._cleaned:
            await self._write()
            self._cleaned = today

    async def _write(self) -> None:
        """Write the batch whose end is unknown, otherwise all counts as a new one."""
        batch = self._batch
        if batch is None or batch.is_written:
            batch = self._batch = _Batch(self._pending)
            self._pending = {}
        await self._database.run(partial(batch.write, self.oldest_day), batch.set_written)
        if self._batch is batch:
            self._batch = None

    async def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return the result of `work` on the database, up to date. Raises StoreFull, DatabaseUnavailable."""
        await self.flush()
        return await self._database.run(work)

    @property
    def oldest_day(self) -> str:
        """The first day that is kept."""
        return (self._now().date() - timedelta(days=self._days - 1)).isoformat()


@asynccontextmanager
async def open_usage(config: GatewayConfig) -> AsyncIterator[UsageLog | None]:
    """Open the usage in the data folder, and write to it until the end; None if none is kept. Raises StartError."""
    if not config.usage_days:
        yield None
        return
    database = Database(config.data / FILE, MIGRATIONS, seconds=config.store_timeout)
    await database.open()
    usage = UsageLog(database, config.usage_days)
    writing = asyncio.create_task(_write_repeatedly(usage))
    try:
        yield usage
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        await _try_to_flush(usage)
        await database.close()


async def _write_repeatedly(usage: UsageLog) -> None:
    while True:
        await _try_to_flush(usage)
        await asyncio.sleep(FLUSH_INTERVAL)


async def _try_to_flush(usage: UsageLog) -> None:
    try:
        await usage.flush()
    except GatewayError as error:
        log.warning("cannot write usage, and keep it in memory: %s", error)
