"""The SQLite file in the data folder."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tintype.gateway.database import Database, DatabaseUnavailable, connect, open_database, transact
from tintype.gateway.errors import StartError, StoreFull

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
FIRST = ("CREATE TABLE notes (text TEXT)",)
SECOND = (
    "ALTER TABLE notes ADD COLUMN author TEXT NOT NULL DEFAULT 'none'",
    "CREATE INDEX by_author ON notes (author)",
)
COUNT = "SELECT count(*) FROM notes"
# Opens the database at once with others, and adds ten notes, one transaction each.
WRITER = """
import sys
from pathlib import Path
from tintype.gateway.database import connect, transact
connection = connect(Path(sys.argv[1]), [("CREATE TABLE notes (text TEXT)",)])
for _ in range(10):
    transact(connection, lambda one: one.execute("INSERT INTO notes VALUES ('x')"))
"""


async def notes(database: Database) -> int:
    """Return the number of notes."""
    return int((await database.execute(COUNT))[0][0])


async def test_records_survive_a_restart(tmp_path: Path) -> None:
    """What one process wrote, the next one reads; the folder is created, and only the owner can read the files."""
    path = tmp_path / "new" / "notes.db"
    async with open_database(path, [FIRST]) as database:
        await database.execute("INSERT INTO notes VALUES (?)", ["hello"])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == dict.fromkeys(("notes.db", "notes.db-wal", "notes.db-shm"), 0o600)
    assert [file.name for file in path.parent.iterdir()] == ["notes.db"]
    async with open_database(path, [FIRST]) as database:
        assert [row["text"] for row in await database.execute("SELECT text FROM notes")] == ["hello"]


async def test_deleted_records_leave_no_bytes(tmp_path: Path) -> None:
    """Neither a small record nor a large one can be read in the file once it is deleted."""
    path = tmp_path / "notes.db"
    async with open_database(path, [FIRST]) as database:
        for text in ("a secret", "a secret" * 10_000):
            await database.execute("INSERT INTO notes VALUES (?)", [text])
        await database.execute("DELETE FROM notes")
    assert b"secret" not in path.read_bytes()


async def test_migrations_are_applied_once_and_in_order(tmp_path: Path) -> None:
    """A newer version adds its migrations to an older file; an older version refuses a newer file."""
    path = tmp_path / "notes.db"
    async with open_database(path, [FIRST]) as database:
        await database.execute("INSERT INTO notes VALUES ('old')")
    for _ in range(2):
        async with open_database(path, [FIRST, SECOND]) as database:
            assert (await database.execute("SELECT author FROM notes"))[0]["author"] == "none"
    with pytest.raises(StartError, match="newer version"):
        await Database(path, [FIRST]).open()


async def test_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """A migration is applied whole or not at all."""
    path = tmp_path / "notes.db"
    with pytest.raises(StartError, match="cannot use the database"):
        await Database(path, [FIRST, ("CREATE TABLE others (x)", "not SQL")]).open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


async def test_statements_run_on_one_other_thread(tmp_path: Path) -> None:
    """No statement runs on the event loop's thread, and all run on the same one."""
    async with open_database(tmp_path / "notes.db", [FIRST]) as database:
        threads = {await database.run(lambda _: threading.get_ident()) for _ in range(5)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_work_is_one_transaction(tmp_path: Path) -> None:
    """Work that raises leaves nothing, and its error reaches the caller."""

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('lost')")
        raise KeyError("own")

    async with open_database(tmp_path / "notes.db", [FIRST]) as database:
        with pytest.raises(KeyError, match="own"):
            await database.run(fail)
        assert await notes(database) == 0
        await asyncio.gather(*(database.execute("INSERT INTO notes VALUES ('x')") for _ in range(20)))
        assert await notes(database) == 20


async def test_processes_share_a_file(tmp_path: Path) -> None:
    """Processes that open a new file at once all write to it, and no transaction is lost."""
    path = tmp_path / "notes.db"
    start = asyncio.create_subprocess_exec
    children = [await start(sys.executable, "-c", WRITER, str(path)) for _ in range(3)]
    async with asyncio.timeout(60):
        assert [await child.wait() for child in children] == [0, 0, 0]
    async with open_database(path, [FIRST]) as database:
        assert await notes(database) == 30


@pytest.mark.parametrize("kind", ["not a database", "folder", "read-only"])
async def test_unusable_file_is_one_line(tmp_path: Path, kind: str) -> None:
    """A file that can't be used is an error of one line that names it."""
    path = tmp_path / "notes.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "read-only":
        connect(path, [FIRST]).close()
        path.chmod(0o400)
        if os.access(path, os.W_OK):
            pytest.skip("this user may write every file")
    else:
        path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StartError) as caught:
        await Database(path, [FIRST]).open()
    assert str(caught.value).startswith(f"cannot use the database {path}: ")
    assert "\n" not in str(caught.value)


async def test_full_disk_is_507(tmp_path: Path) -> None:
    """Without space an error says so, nothing is half written, and smaller work succeeds."""

    def limit(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")

    async with open_database(tmp_path / "notes.db", [FIRST]) as database:
        await database.run(limit)
        with pytest.raises(StoreFull, match="no space") as caught:
            await database.execute("INSERT INTO notes VALUES (?)", ["x" * 100_000])
        assert caught.value.status == 507
        assert await notes(database) == 0
        await database.execute("INSERT INTO notes VALUES ('small')")
        assert await notes(database) == 1


async def test_failures_at_run_time_are_503(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A statement that fails, and a closed database, are errors to retry; the log has the cause."""
    async with open_database(tmp_path / "notes.db", [FIRST]) as database:
        with pytest.raises(DatabaseUnavailable):
            await database.execute("SELECT 1 FROM nowhere")
        assert "no such table: nowhere" in caplog.text
    with pytest.raises(DatabaseUnavailable):
        await database.execute(COUNT)


async def test_a_disk_that_does_not_answer_is_503(tmp_path: Path) -> None:
    """A caller waits for a limited time; the database recovers with its disk."""
    release = threading.Event()

    def wait(_: Any) -> None:
        release.wait(60)

    async with open_database(tmp_path / "notes.db", [FIRST], seconds=0.2) as database:
        with pytest.raises(DatabaseUnavailable):
            await database.run(wait)
        assert database.problem()
        release.set()
        async with asyncio.timeout(30):
            while database.problem():  # noqa: ASYNC110 - the thread reports nothing
                await asyncio.sleep(0.01)
        assert await notes(database) == 0


async def test_transactions_of_a_plain_connection(tmp_path: Path) -> None:
    """Programs without an event loop use the same file."""
    connection = connect(tmp_path / "notes.db", [FIRST])
    transact(connection, lambda one: one.execute("INSERT INTO notes VALUES ('x')"))
    assert connection.execute(COUNT).fetchone()[0] == 1
    connection.close()
