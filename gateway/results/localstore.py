"""Store of results in a local folder.

- Files are in `files`, the key of the links is in `links.key`; only their owner can read them.
- A file's modification time is its expiry.
- The folder may be on a network disk: its system calls run in separate threads, with a time limit.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.v1.threads import CallTimeout, Threads

from ..errors import NoSuchFile, StartError, StoreFull, StoreUnavailable
from .store import KEY_BYTES, FileContent, Ledger, Links, StoredFile, file_content, is_result_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from .store import Clock

Result = TypeVar("Result")

log = logging.getLogger(__name__)

_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ABANDONED_AFTER = 60.0  # seconds after which an unfinished file is abandoned
_THREADS = 8
_STUCK = "the folder of results does not answer"


class LocalStore:
    """A `Store` in a local folder.

    Args:
        folder: The data folder; created if it is missing.
        ttl: Lifetime of a link in seconds.
        capacity: Most bytes of all files together.
        clock: The time in Unix seconds.
        timeout: Time limit of one operation in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ttl: float = 3600.0,
        capacity: int = 2**31,
        clock: Clock = time.time,
        timeout: float = 20.0,
    ) -> None:
        self._files = folder / "files"
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._threads = Threads("tintype-store", _THREADS, timeout)
        self._ledger = Ledger(capacity, clock)
        try:
            self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._links = Links(_key(folder / "links.key"), folder / "links.key")
            self._ledger.replace(self._scan())
        except OSError as error:
            problem = f"{error.strerror}; choose another with --data"
            raise StartError(f"cannot use the data folder {folder}: {problem}") from error

    async def put(self, images: Sequence[tuple[bytes, str]]) -> list[StoredFile]:
        """Store pairs of a file and its MIME type, all or none of them. Raises StoreFull, StoreUnavailable."""
        return await self._in_time(self._put, images)

    def url(self, stored: StoredFile, base: str) -> str:
        """Return the link of a stored file."""
        return self._links.url(stored, base)

    async def open(self, name: str, access: str) -> FileContent:
        """Return the file behind a link. Raises NoSuchFile, StoreUnavailable."""
        return await self._in_time(self._read, self._links.file(name, access))

    async def redirect_url(self, name: str, access: str, method: str) -> None:  # noqa: ARG002 - all files are local
        """Return None: the gateway serves all files."""
        return

    async def sweep(self) -> int:
        """Delete expired files and return their number."""
        return await self._in_time(self._sweep)

    def problem(self) -> str:
        """Return why the folder can't be used now; empty if it can."""
        return _STUCK if self._threads.stuck else ""

    async def _in_time(self, function: Callable[..., Result], *args: Any) -> Result:
        try:
            return await self._threads.call(function, *args)
        except CallTimeout as error:
            log.warning("cannot store or read results: %s", _STUCK)
            raise StoreUnavailable from error

    def _put(self, images: Sequence[tuple[bytes, str]]) -> list[StoredFile]:
        stored_files: list[StoredFile] = []
        with self._lock:
            try:
                for stored in self._ledger.surplus(sum(len(data) for data, _ in images)):
                    self._drop(stored)
                stored_files.extend(self._write(data, mime_type) for data, mime_type in images)
            except OSError as error:
                for stored in stored_files:
                    self._drop(stored)
                raise _log_and_translate(error) from error
        return stored_files

    def _write(self, data: bytes, mime_type: str) -> StoredFile:
        stored = StoredFile.new(mime_type, self._clock() + self._ttl)
        partial = self._files / f".{stored.name}.part"
        try:
            _write_bytes(partial, data)
            os.utime(partial, (stored.expires, stored.expires))
            partial.replace(self._files / stored.name)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        self._ledger.add(stored, len(data))
        return stored

    def _read(self, stored: StoredFile) -> FileContent:
        remaining = self._ledger.remaining(stored)
        if remaining <= 0:
            with self._lock:
                self._drop(stored)
            raise NoSuchFile
        try:
            data = (self._files / stored.name).read_bytes()
        except FileNotFoundError as error:
            raise NoSuchFile from error
        except OSError as error:
            raise _log_and_translate(error) from error
        return file_content(stored, data, remaining)

    def _sweep(self) -> int:
        """Scan the folder again, as other processes may share it; delete expired and abandoned files."""
        with self._lock:
            self._ledger.replace(self._scan())
            expired = self._ledger.expired()
            for stored in expired:
                self._drop(stored)
            for partial in self._files.glob(".*.part"):
                with contextlib.suppress(FileNotFoundError):
                    if partial.stat().st_ctime < time.time() - _ABANDONED_AFTER:
                        partial.unlink()
        return len(expired)

    def _drop(self, stored: StoredFile) -> None:
        (self._files / stored.name).unlink(missing_ok=True)
        self._ledger.drop(stored)

    def _scan(self) -> Iterator[tuple[StoredFile, int]]:
        """Yield each stored file and its size."""
        for path in self._files.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if is_result_name(path.name):
                    stat = path.stat()
                    yield StoredFile(path.name, math.ceil(stat.st_mtime)), stat.st_size


def _write_bytes(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - sets the mode
        file.write(data)


def _log_and_translate(error: OSError) -> StoreFull | StoreUnavailable:
    """Log an error; return the error that the client gets."""
    log.warning("cannot store or read results: %s", error)
    return StoreFull() if error.errno in _FULL_ERRNOS else StoreUnavailable()


def _key(path: Path) -> bytes:
    """Return the key that signs links; the first start creates it atomically."""
    if not path.exists():
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        _write_bytes(partial, secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)  # unlike a rename, this fails if another process was first
        partial.unlink()
    return path.read_bytes()
