"""Results by link: pictures that are kept for a while and fetched by whoever has the link.

Rules:
- A name is 128 random bits and the type's extension; nothing that doesn't look like that is ever opened.
- A link is signed and carries its expiry, and needs no other credential. The key lies beside the files, so that links
  outlive a restart. It has no query: clients take the file's type from its end, and `&` would be mangled in HTML.
- A file's modification time is its expiry: what is old can be seen without a database, and is really deleted.
- When the space is used up, the oldest go first.
- All pictures of one request are kept, or none; a file appears under its name when it is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import hmac
import math
import os
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .errors import NoSuchFile, StartError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
MIME_TYPES = {extension: mime_type for mime_type, extension in EXTENSIONS.items()}

_NAME = re.compile(r"[0-9a-f]{32}\.(?:png|jpg|webp)", re.ASCII)
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_KEY_BYTES = 32
_STALE = 60.0  # seconds after which an unfinished file belongs to nobody


@dataclass(frozen=True, slots=True)
class Stored:
    """A kept file: its name and when it goes, in Unix seconds."""

    name: str
    expires: int


@dataclass(frozen=True, slots=True)
class Content:
    """What a link leads to; `remaining` are the seconds that it still works."""

    data: bytes
    mime_type: str
    etag: str
    remaining: int


class Store(Protocol):
    """Where results by link are kept."""

    async def put(self, images: Sequence[tuple[bytes, str]]) -> list[Stored]:
        """Keep pairs of a file and its MIME type, all or none of them. Raises StoreFull."""

    def url(self, stored: Stored, base: str) -> str:
        """Return the link of a kept file; `base` is the gateway's own URL, without a slash at the end."""

    async def open(self, name: str, access: str) -> Content:
        """Return what a link leads to; `access` is the part of it before the name. Raises NoSuchFile."""

    async def sweep(self) -> int:
        """Delete what has expired and return how many files that were."""


class LocalStore:
    """A folder on this machine.

    Args:
        folder: The data folder; made where it is missing. Files lie in `files`, the links' key in `links.key`.
        ttl: Seconds that a link works.
        capacity: Bytes that all files together may take.
        clock: The time in Unix seconds.
    """

    def __init__(
        self, folder: Path, *, ttl: float = 3600.0, capacity: int = 2**31, clock: Callable[[], float] = time.time
    ) -> None:
        self._files = folder / "files"
        self._ttl = ttl
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._key = _key(folder / "links.key")
            self._kept = self._scan()
        except OSError as error:
            raise StartError(f"the data folder {folder} can't be used: {error.strerror}") from error

    async def put(self, images: Sequence[tuple[bytes, str]]) -> list[Stored]:
        """Keep pairs of a file and its MIME type, all or none of them. Raises StoreFull."""
        return await asyncio.to_thread(self._put, images)

    def url(self, stored: Stored, base: str) -> str:
        """Return the link of a kept file."""
        return f"{base}/files/{stored.expires}-{self._sign(stored)}/{stored.name}"

    async def open(self, name: str, access: str) -> Content:
        """Return what a link leads to. Raises NoSuchFile: for a bad name, a bad signature, or after expiry."""
        expires, _, signature = access.partition("-")
        if not _NAME.fullmatch(name) or not _EXPIRES.fullmatch(expires):
            raise NoSuchFile
        stored = Stored(name, int(expires))
        if not hmac.compare_digest(self._sign(stored).encode(), signature.encode(errors="replace")):
            raise NoSuchFile
        return await asyncio.to_thread(self._read, stored)

    async def sweep(self) -> int:
        """Delete what has expired and return how many files that were."""
        return await asyncio.to_thread(self._sweep)

    def _sign(self, stored: Stored) -> str:
        message = f"{stored.name}:{stored.expires}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]

    def _put(self, images: Sequence[tuple[bytes, str]]) -> list[Stored]:
        done: list[Stored] = []
        with self._lock:
            self._make_room(sum(len(data) for data, _ in images))
            try:
                done.extend(self._write(data, mime_type) for data, mime_type in images)
            except OSError as error:
                for stored in done:
                    self._drop(stored.name)
                if error.errno in _FULL:
                    raise StoreFull("There is no space left for results. Ask for 'b64_json', or try later.") from error
                raise
        return done

    def _write(self, data: bytes, mime_type: str) -> Stored:
        stored = Stored(f"{secrets.token_hex(16)}.{EXTENSIONS[mime_type]}", math.ceil(self._clock() + self._ttl))
        part = self._files / f".{stored.name}.part"
        try:
            _write_bytes(part, data)
            os.utime(part, (stored.expires, stored.expires))
            part.replace(self._files / stored.name)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._kept[stored.name] = (stored.expires, len(data))
        return stored

    def _read(self, stored: Stored) -> Content:
        remaining = math.floor(stored.expires - self._clock())
        if remaining <= 0:
            with self._lock:
                self._drop(stored.name)
            raise NoSuchFile
        try:
            data = (self._files / stored.name).read_bytes()
        except FileNotFoundError as error:
            raise NoSuchFile from error
        name, _, extension = stored.name.partition(".")
        return Content(data, MIME_TYPES[extension], f'"{name}"', remaining)

    def _sweep(self) -> int:
        """Look at the folder afresh, as others may share it, and drop what has expired or was never finished."""
        now = self._clock()
        with self._lock:
            self._kept = self._scan()
            expired = [name for name, (expires, _) in self._kept.items() if expires <= now]
            for name in expired:
                self._drop(name)
            for part in self._files.glob(".*.part"):
                with contextlib.suppress(FileNotFoundError):
                    if part.stat().st_ctime < time.time() - _STALE:
                        part.unlink()
        return len(expired)

    def _make_room(self, size: int) -> None:
        """Drop the expired, then the oldest, until `size` bytes more fit in. Raises StoreFull if they never will."""
        if size > self._capacity:
            raise StoreFull(f"The pictures take {size} bytes; all results together may take {self._capacity}.")
        used = sum(kept for _, kept in self._kept.values())
        for name, (expires, kept) in list(self._kept.items()):
            if expires > self._clock() and used + size <= self._capacity:
                break
            self._drop(name)
            used -= kept

    def _drop(self, name: str) -> None:
        (self._files / name).unlink(missing_ok=True)
        self._kept.pop(name, None)

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Return expiry and size of each kept file, the first to expire first."""
        found = []
        for path in self._files.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if _NAME.fullmatch(path.name):
                    stat = path.stat()
                    found.append((math.ceil(stat.st_mtime), path.name, stat.st_size))
        return {name: (expires, size) for expires, name, size in sorted(found)}


def _write_bytes(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - for its mode
        file.write(data)


def _key(path: Path) -> bytes:
    """Return the key that signs links; the first start makes it, whole or not at all."""
    if not path.exists():
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        _write_bytes(part, secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(part, path)  # unlike a rename, it fails if another process was first
        part.unlink()
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise StartError(f"{path} must hold {_KEY_BYTES} bytes, not {len(key)}: delete it, and a new one is made")
    return key
