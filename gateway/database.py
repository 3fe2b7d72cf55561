"""A SQLite file in the data folder, for records that must survive a restart.

- All statements run on one thread of the database's own, so the event loop never waits for a disk.
- The file is in WAL mode. Several processes of one machine may share it; a network folder can't have one, because
  SQLite's WAL needs memory that the processes share.
- A transaction is on the disk once it returns (`synchronous` is FULL).
- The schema is a list of migrations; `user_version` of the file counts those that have been applied. Released
  migrations never change: a new version appends one.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import time
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.v1.reasons import Reason
from tintype.v1.threads import CallTimeout, Threads

from .errors import GatewayError, StartError, StoreFull

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    Migrations = Sequence[Sequence[str]]

Result = TypeVar("Result")

log = logging.getLogger(__name__)

NEW_FILES = 2**20  # bytes of a new database with its WAL, which needs less
BUSY_TIMEOUT = 10.0  # seconds to wait for another process's transaction
_RETRY_PAUSE = 0.02  # seconds


class DatabaseUnavailable(GatewayError):
    """The database can't be read or written now; the log says why."""

    status = 503
    reason = Reason.STORE_UNAVAILABLE
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The gateway's database does not work now. Try again in a moment.")


class DiskFull(StartError):
    """A database can't be opened, because its disk has no space left."""


class Database:
    """An open database; `seconds` limits each transaction.

    `open_database` opens and closes it. While its disk is full it may be not open yet: each transaction tries again.
    """

    def __init__(self, path: Path, migrations: Migrations, *, seconds: float = 20.0) -> None:
        self.path = path
        self._migrations = migrations
        self._threads = Threads("tintype-database", 1, seconds)
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Open the file, unless its disk is full, and bring its schema up to date. Raises StartError."""
        try:
            self._connection = await self._threads.call(connect, self.path, self._migrations)
        except DiskFull as error:
            log.warning("%s; it is tried again when it is needed", error)
        except CallTimeout as error:
            raise StartError(f"cannot use the database {self.path}: its disk does not answer") from error

    async def run(
        self, work: Callable[[sqlite3.Connection], Result], committed: Callable[[], None] = lambda: None
    ) -> Result:
        """Run `work` on the database's thread, in one transaction that it may write in; return its result.

        The transaction is rolled back if `work` raises. One that takes too long, or whose caller is cancelled, may
        still be committed later: `committed` is called on the thread once it is. Raises StoreFull, DatabaseUnavailable,
        and the errors of `work`.
        """
        try:
            return await self._threads.call(self._transact, work, committed)
        except CallTimeout as error:
            log.warning("cannot use the database %s: its disk does not answer", self.path)
            raise DatabaseUnavailable from error
        except (sqlite3.Error, StartError) as error:
            raise self._log_and_translate(error) from error

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run one statement in a transaction of its own; return its rows. Raises StoreFull, DatabaseUnavailable."""
        return await self.run(lambda connection: connection.execute(statement, parameters).fetchall())

    async def close(self) -> None:
        """Finish the running transaction, and close the file; later calls raise DatabaseUnavailable."""
        with suppress(CallTimeout):
            await self._threads.call(self._close)

    def problem(self) -> str:
        """Return why the database can't be used now, as far as known; empty if it can."""
        return f"the disk of {self.path.name} does not answer" if self._threads.stuck else ""

    def _transact(self, work: Callable[[sqlite3.Connection], Result], committed: Callable[[], None]) -> Result:
        if self._is_closed:
            raise sqlite3.ProgrammingError("the database is closed")
        if self._connection is None:
            self._connection = connect(self.path, self._migrations)
        result = transact(self._connection, work)
        committed()
        return result

    def _close(self) -> None:
        connection, self._connection, self._is_closed = self._connection, None, True
        if connection:
            connection.close()  # the last process to close the file merges the WAL into it

    def _log_and_translate(self, error: sqlite3.Error | StartError) -> GatewayError:
        """Log an error; return the error that the client gets."""
        log.warning("cannot use the database %s: %s", self.path, error)
        if isinstance(error, DiskFull) or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return StoreFull("There is no space left for the gateway's database. Try later.")
        return DatabaseUnavailable()


@asynccontextmanager
async def open_database(path: Path, migrations: Migrations, *, seconds: float = 20.0) -> AsyncIterator[Database]:
    """Open a database, created if it is missing, and close it at the end. Raises StartError."""
    database = Database(path, migrations, seconds=seconds)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def connect(path: Path, migrations: Migrations) -> sqlite3.Connection:
    """Return a connection to a file with its schema up to date; only its owner can read a new file.

    The connection has no implicit transactions (see `transact`), its rows are `sqlite3.Row`, and any one thread at a
    time may use it. Raises StartError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives the WAL the same mode
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise _start_error(path, error) from error
    try:
        connection.row_factory = sqlite3.Row
        _configure(connection)
        transact(connection, lambda one: _migrate(one, path, migrations))
    except sqlite3.Error as error:
        connection.close()
        raise _start_error(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Result]) -> Result:
    """Return the result of `work`, done in one transaction; roll it back if `work` raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back after some errors
            connection.execute("ROLLBACK")
        raise
    return result


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file
    _set_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    connection.execute("PRAGMA secure_delete = ON").fetchall()  # deleted prompts and images leave no bytes in the file


def _set_wal(connection: sqlite3.Connection) -> None:
    """Set WAL mode; SQLite reports a busy file without waiting if two processes do so at once."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            with closing(connection.execute("PRAGMA journal_mode = WAL")):
                return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_PAUSE)


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Migrations) -> None:
    """Apply the migrations that the file does not have yet. Raises StartError."""
    applied = connection.execute("PRAGMA user_version").fetchone()[0]
    if applied > len(migrations):
        raise StartError(f"cannot use the database {path}: a newer version of tintype wrote it; delete or move it")
    for statements in migrations[applied:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _start_error(path: Path, error: OSError | sqlite3.Error) -> StartError:
    problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if _lacks_space(path, error):
        return DiskFull(f"cannot use the database {path}: there is no space left on its disk")
    return StartError(f"cannot use the database {path}: {problem}; repair, move or delete it, or choose another --data")


def _lacks_space(path: Path, error: OSError | sqlite3.Error) -> bool:
    """Whether an error comes from a full disk, which SQLite reports as an I/O error for the memory of the WAL."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code != sqlite3.SQLITE_IOERR:
        return code == sqlite3.SQLITE_FULL
    try:
        return shutil.disk_usage(path.parent).free < NEW_FILES
    except OSError:
        return False
