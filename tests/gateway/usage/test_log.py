"""Usage in memory and in the database."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tintype.gateway.config import GatewayConfig
from tintype.gateway.database import Database, DatabaseUnavailable, connect, transact
from tintype.gateway.errors import StartError
from tintype.gateway.usage import log
from tintype.gateway.usage.log import UsageLog, open_usage
from tintype.gateway.usage.records import FILE, MIGRATIONS, Counts, UsageKey, add_counts, find_counts
from tintype.gateway.usage.render import encode_usage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
WORK = Counts(requests=1, images=2, pixels=2 * 64 * 64, steps=40, device_microseconds=1_500_000)
NOW = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)


class Days:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def rows(path: Path, since: str = "2000-01-01", key: str | None = None) -> dict[UsageKey, Counts]:
    """Return what a file holds."""
    with closing(connect(path, MIGRATIONS)) as connection:
        return dict(find_counts(connection, since=since, key=key))


async def let_others_run() -> None:
    """Let the gateway's other tasks run."""
    await asyncio.sleep(0.01)


async def test_counts_of_one_day_key_and_model_add_up(tmp_path: Path) -> None:
    """Counts are added in memory and in the database; another day, key or model is another row."""
    clock, database = Days(), Database(tmp_path / FILE, MIGRATIONS)
    await database.open()
    usage = UsageLog(database, 400, clock)
    usage.add("alice", "sdxl", WORK)
    usage.add("alice", "sdxl", WORK)
    await usage.flush()
    usage.add("alice", "sdxl", WORK)
    usage.add("", "sdxl", WORK)
    clock.now += timedelta(minutes=2)
    usage.add("alice", "sdxl", WORK)
    await usage.flush()
    await database.close()
    found = rows(tmp_path / FILE)
    assert {tuple(key): each.images for key, each in found.items()} == {
        ("2026-11-30", "", "sdxl"): 2,
        ("2026-11-30", "alice", "sdxl"): 6,
        ("2026-12-01", "alice", "sdxl"): 2,
    }
    assert found["2026-11-30", "alice", "sdxl"] == Counts(3, 6, 3 * WORK.pixels, 120, 4_500_000)  # type: ignore[index]


async def test_gateways_of_one_folder_add_up(tmp_path: Path) -> None:
    """Two gateways write to one file, and their counts are added."""
    config = GatewayConfig(data=tmp_path)
    async with open_usage(config) as first, open_usage(config) as second:
        assert first is not None
        assert second is not None
        first.add("alice", "sdxl", WORK)
        await first.flush()
        second.add("alice", "sdxl", WORK)
        body = json.loads(await second.read(lambda one: encode_usage("2000-01-01", "9999-12-31", None, one)))
    assert [item["images"] for item in body["data"]] == [4]


async def test_the_end_writes_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted since the last write is in the file after the gateway has stopped."""
    monkeypatch.setattr(log, "FLUSH_INTERVAL", 1000.0)
    async with open_usage(GatewayConfig(data=tmp_path)) as usage:
        assert usage is not None
        usage.add("alice", "sdxl", WORK)
    assert [counts.images for counts in rows(tmp_path / FILE).values()] == [2]


async def test_counts_are_written_while_the_gateway_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash loses only the counts since the last write: they are written without a stop or a reader."""
    monkeypatch.setattr(log, "FLUSH_INTERVAL", 0.01)
    async with open_usage(GatewayConfig(data=tmp_path)) as usage:
        assert usage is not None
        usage.add("alice", "sdxl", WORK)
        while not rows(tmp_path / FILE):
            await let_others_run()


async def test_a_failed_write_keeps_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that can't be written are added to later ones, each once."""
    database = Database(tmp_path / FILE, MIGRATIONS)
    await database.open()
    usage = UsageLog(database, 400, Days())
    usage.add("alice", "sdxl", WORK)

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(log, "add_counts", fail)
        with pytest.raises(DatabaseUnavailable):
            await usage.flush()
    usage.add("alice", "sdxl", WORK)
    await usage.flush()
    await usage.flush()
    await database.close()
    assert [counts.images for counts in rows(tmp_path / FILE).values()] == [4]


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_write_that_ends_late_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_cancelled: bool
) -> None:
    """A write whose caller has given up, because the disk stalls or the gateway stops, is not done twice."""
    begun, release = threading.Event(), threading.Event()

    def stall(*arguments: Any) -> None:
        add_counts(*arguments)
        begun.set()
        release.wait(60)

    database = Database(tmp_path / FILE, MIGRATIONS, seconds=60 if is_cancelled else 0.2)
    await database.open()
    usage = UsageLog(database, 400, Days())
    usage.add("alice", "sdxl", WORK)
    monkeypatch.setattr(log, "add_counts", stall)
    writing = asyncio.create_task(usage.flush())
    await asyncio.to_thread(begun.wait, 60)
    if is_cancelled:
        writing.cancel()
    with pytest.raises((DatabaseUnavailable, asyncio.CancelledError)):
        await writing
    usage.add("alice", "sdxl", WORK)
    release.set()
    while database.problem():
        await let_others_run()
    await usage.flush()
    await usage.flush()
    await database.close()
    assert [counts.images for counts in rows(tmp_path / FILE).values()] == [4]


async def test_old_days_are_deleted(tmp_path: Path) -> None:
    """Of days before the kept ones nothing is left, on the first write of a day."""
    clock, database = Days(), Database(tmp_path / FILE, MIGRATIONS)
    await database.open()
    usage = UsageLog(database, 2, clock)
    for _ in range(3):
        usage.add("alice", "sdxl", WORK)
        await usage.flush()
        clock.now += timedelta(days=1)
    assert [key.day for key in rows(tmp_path / FILE)] == ["2026-12-01", "2026-12-02"]
    await usage.flush()  # nothing to add, but another day
    await database.close()
    assert [key.day for key in rows(tmp_path / FILE)] == ["2026-12-02"]


async def test_no_usage_is_kept(tmp_path: Path) -> None:
    """With 0 days there is no file."""
    async with open_usage(GatewayConfig(data=tmp_path, usage_days=0)) as usage:
        assert usage is None
    assert not (tmp_path / FILE).exists()


def test_days_are_bounded() -> None:
    """Fewer than 0 days, and more than a century, are refused."""
    for days in (-1, 36_501):
        with pytest.raises(StartError, match="--usage-days must be 0 to 36500"):
            GatewayConfig(usage_days=days)


def test_rows_of_one_key_and_some_days(tmp_path: Path) -> None:
    """The first and the last day, and the key, bound what is found; the order is by day, key and model."""
    days = ("2026-01-03", "2026-01-01", "2026-01-02")
    counts = {UsageKey(day, key, model): WORK for day in days for key in ("b", "a") for model in ("y", "x")}
    with closing(connect(tmp_path / FILE, MIGRATIONS)) as connection:
        transact(connection, lambda one: add_counts(one, counts))
        assert [key for key, _ in find_counts(connection, since="2026-01-01")] == sorted(counts)
        found = find_counts(connection, since="2026-01-02", until="2026-01-02", key="a")
        assert [tuple(key) for key, _ in found] == [("2026-01-02", "a", "x"), ("2026-01-02", "a", "y")]
