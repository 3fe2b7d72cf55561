"""Results by link: images that are stored for a limited time and fetched with a signed link.

This module has the parts that all stores share; `localstore` keeps files in a folder, `s3store` in a bucket. Rules:
- A file name is 128 random bits in hexadecimal digits and the extension of the type; no other name is ever opened.
- A link leads to the gateway, is signed and contains its expiry. It needs no other credential. The signing key is
  stored next to the files, so links survive a restart. A link has no query: clients take the file type from its end,
  and `&` would be escaped in HTML.
- The expiry is stored in the file itself, without a database. Expired files are deleted.
- If the space is used up, the oldest files are deleted first.
- All images of a request are stored, or none. A file gets its name once it is complete.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import NoSuchFile, StartError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Clock = Callable[[], float]

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
MIME_TYPES = {extension: mime_type for mime_type, extension in EXTENSIONS.items()}
KEY_BYTES = 32

_NAME = re.compile(r"[0-9a-f]{32}\.(?:png|jpg|webp)", re.ASCII)
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored file: its name and its expiry in Unix seconds."""

    name: str
    expires: int

    @classmethod
    def new(cls, mime_type: str, expires: float) -> StoredFile:
        """Return a file with a random name, which expires at `expires`, rounded up to a second."""
        return cls(f"{secrets.token_hex(16)}.{EXTENSIONS[mime_type]}", math.ceil(expires))

    @property
    def mime_type(self) -> str:
        """The MIME type, from the extension of the name."""
        return MIME_TYPES[self.name.rpartition(".")[2]]


@dataclass(frozen=True, slots=True)
class FileContent:
    """The file behind a link; `remaining` is the number of seconds until it expires."""

    data: bytes
    mime_type: str
    etag: str
    remaining: int


class Store(Protocol):
    """A store of results by link. A store that fails or does not answer in time raises StoreUnavailable."""

    async def put(self, images: Sequence[tuple[bytes, str]]) -> list[StoredFile]:
        """Store pairs of a file and its MIME type, all or none of them. Raises StoreFull."""

    def url(self, stored: StoredFile, base: str) -> str:
        """Return the link of a stored file; `base` is the gateway's own URL, without a trailing slash."""

    async def open(self, name: str, access: str) -> FileContent:
        """Return the file behind a link; `access` is the part of the link before the name. Raises NoSuchFile."""

    async def redirect_url(self, name: str, access: str, method: str) -> str | None:
        """Return the URL to redirect a GET or HEAD to; None if the gateway serves the link. Raises NoSuchFile."""

    async def sweep(self) -> int:
        """Delete expired files and return their number."""

    def problem(self) -> str:
        """Return why the store can't be used now, as far as known; empty if it can."""


class Links:
    """Signed links, as two inverse functions: file to URL, and URL to file.

    `key` is the secret for signatures. A link without a valid signature of its name and expiry raises NoSuchFile.
    """

    def __init__(self, key: bytes, location: object) -> None:
        """Raise StartError for a key of the wrong length; the message names its `location`."""
        if len(key) != KEY_BYTES:
            raise StartError(f"{location} must have {KEY_BYTES} bytes, not {len(key)}: delete it to create a new one")
        self._key = key

    def url(self, stored: StoredFile, base: str) -> str:
        """Return the link of a file; `base` is the gateway's own URL, without a trailing slash."""
        return f"{base}/files/{stored.expires}-{self.sign(stored)}/{stored.name}"

    def file(self, name: str, access: str) -> StoredFile:
        """Return the file that a link names. Raises NoSuchFile."""
        expires, _, signature = access.partition("-")
        if not is_result_name(name) or not _EXPIRES.fullmatch(expires):
            raise NoSuchFile
        stored = StoredFile(name, int(expires))
        if not hmac.compare_digest(self.sign(stored).encode(), signature.encode(errors="replace")):
            raise NoSuchFile
        return stored

    def sign(self, stored: StoredFile) -> str:
        """Return the signature of a name and its expiry, 128 bits in hexadecimal digits."""
        message = f"{stored.name}:{stored.expires}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]


class Ledger:
    """The stored files and their sizes, at most `capacity` bytes, in order of expiry.

    It does no I/O: it names the files to delete, and the store deletes them.
    """

    def __init__(self, capacity: int, clock: Clock = time.time) -> None:
        self._capacity = capacity
        self._clock = clock
        self._sizes: dict[StoredFile, int] = {}

    def replace(self, files: Iterable[tuple[StoredFile, int]]) -> None:
        """Replace all entries by these pairs of a file and its size."""
        self._sizes = dict(sorted(files, key=lambda item: item[0].expires))

    def add(self, stored: StoredFile, size: int) -> None:
        """Add a new file; it expires after all others."""
        self._sizes[stored] = size

    def drop(self, stored: StoredFile) -> None:
        """Remove a file."""
        self._sizes.pop(stored, None)

    def remaining(self, stored: StoredFile) -> int:
        """Return the whole seconds until a link expires; 0 or less if it has expired."""
        return math.floor(stored.expires - self._clock())

    def expired(self) -> list[StoredFile]:
        """Return the expired files."""
        return [stored for stored in self._sizes if stored.expires <= self._clock()]

    def surplus(self, size: int) -> list[StoredFile]:
        """Return the files to delete so that `size` more bytes fit: expired ones, then the oldest.

        Raises StoreFull if they can never fit.
        """
        if size > self._capacity:
            raise StoreFull(f"The images have {size} bytes; all results together must have at most {self._capacity}.")
        used = sum(self._sizes.values())
        surplus: list[StoredFile] = []
        for stored, file_size in self._sizes.items():
            if stored.expires > self._clock() and used + size <= self._capacity:
                break
            surplus.append(stored)
            used -= file_size
        return surplus


def is_result_name(name: str) -> bool:
    """Return whether a file name has the form of a result."""
    return _NAME.fullmatch(name) is not None


def file_content(stored: StoredFile, data: bytes, remaining: int) -> FileContent:
    """Return the content of a file; its ETag is the name, which is never reused for other bytes."""
    return FileContent(data, stored.mime_type, f'"{stored.name.partition(".")[0]}"', remaining)
