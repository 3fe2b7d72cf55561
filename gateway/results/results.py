"""Results by link: pictures that are kept for a while and fetched by whoever has the link.

What all stores have in common; `localstore` keeps files in a folder, `s3store` in a bucket. Rules:
- A name is 128 random bits and the type's extension; nothing that doesn't look like that is ever opened.
- A link leads to the gateway, is signed and carries its expiry, and needs no other credential. The key lies beside the
  files, so that links outlive a restart. It has no query: clients take the file's type from its end, and `&` would be
  mangled in HTML.
- What is old can be seen from the file itself, without a database, and is really deleted.
- When the space is used up, the oldest go first.
- All pictures of one request are kept, or none; a file appears under its name when it is complete.
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
class Stored:
    """A kept file: its name and when it goes, in Unix seconds."""

    name: str
    expires: int

    @classmethod
    def new(cls, mime_type: str, expires: float) -> Stored:
        """Return a file that nobody can guess, which goes at `expires` or less than a second later."""
        return cls(f"{secrets.token_hex(16)}.{EXTENSIONS[mime_type]}", math.ceil(expires))

    @property
    def mime_type(self) -> str:
        """The type that the name ends in."""
        return MIME_TYPES[self.name.rpartition(".")[2]]


@dataclass(frozen=True, slots=True)
class Content:
    """What a link leads to; `remaining` are the seconds that it still works."""

    data: bytes
    mime_type: str
    etag: str
    remaining: int


class Store(Protocol):
    """Where results by link are kept. What is slow or broken raises StoreUnavailable."""

    async def put(self, images: Sequence[tuple[bytes, str]]) -> list[Stored]:
        """Keep pairs of a file and its MIME type, all or none of them. Raises StoreFull."""

    def url(self, stored: Stored, base: str) -> str:
        """Return the link of a kept file; `base` is the gateway's own URL, without a slash at the end."""

    async def open(self, name: str, access: str) -> Content:
        """Return what a link leads to; `access` is the part of it before the name. Raises NoSuchFile."""

    async def elsewhere(self, name: str, access: str, method: str) -> str | None:
        """Return the URL that answers this link, for GET or HEAD, in the gateway's place, if any. Raises NoSuchFile."""

    async def sweep(self) -> int:
        """Delete what has expired and return how many files that were."""

    def problem(self) -> str:
        """Return why the store can't be used now; empty if it can.

        Only known problems count.
        """


class Links:
    """The part of a link behind the gateway's URL, and back to the file: two inverse functions.

    `key` is the secret that signs; whoever has no valid signature for a name and its expiry gets NoSuchFile.
    """

    def __init__(self, key: bytes, where: object) -> None:
        """Take the key found at `where`. Raises StartError for one that was cut short."""
        if len(key) != KEY_BYTES:
            raise StartError(f"{where} must hold {KEY_BYTES} bytes, not {len(key)}: delete it, and a new one is made")
        self._key = key

    def url(self, stored: Stored, base: str) -> str:
        """Return the link of a file; `base` is the gateway's own URL, without a slash at the end."""
        return f"{base}/files/{stored.expires}-{self.sign(stored)}/{stored.name}"

    def file(self, name: str, access: str) -> Stored:
        """Return the file that a link names. Raises NoSuchFile."""
        expires, _, signature = access.partition("-")
        if not is_name(name) or not _EXPIRES.fullmatch(expires):
            raise NoSuchFile
        stored = Stored(name, int(expires))
        if not hmac.compare_digest(self.sign(stored).encode(), signature.encode(errors="replace")):
            raise NoSuchFile
        return stored

    def sign(self, stored: Stored) -> str:
        """Return the signature of a name and its expiry, 128 bits in hexadecimal digits."""
        message = f"{stored.name}:{stored.expires}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]


class Ledger:
    """What is kept and how much of it: so many bytes at most, the first to expire first.

    It knows nothing of where files lie: it names those that must go, and whoever keeps them deletes them.
    """

    def __init__(self, capacity: int, clock: Clock = time.time) -> None:
        self._capacity = capacity
        self._clock = clock
        self._kept: dict[Stored, int] = {}

    def replace(self, found: Iterable[tuple[Stored, int]]) -> None:
        """Begin anew with files that were found, and their sizes."""
        self._kept = dict(sorted(found, key=lambda item: item[0].expires))

    def add(self, stored: Stored, size: int) -> None:
        """Count one file more, which expires last."""
        self._kept[stored] = size

    def drop(self, stored: Stored) -> None:
        """Count a file no more."""
        self._kept.pop(stored, None)

    def remaining(self, stored: Stored) -> int:
        """Return the whole seconds that a link still works; 0 or less where it does not."""
        return math.floor(stored.expires - self._clock())

    def expired(self) -> list[Stored]:
        """Return what has expired."""
        return [stored for stored in self._kept if stored.expires <= self._clock()]

    def surplus(self, size: int) -> list[Stored]:
        """Return what must go until `size` bytes more fit in: the expired, then the oldest.

        Raises StoreFull if they never will.
        """
        if size > self._capacity:
            raise StoreFull(f"The pictures take {size} bytes; all results together may take {self._capacity}.")
        used = sum(self._kept.values())
        surplus: list[Stored] = []
        for stored, kept in self._kept.items():
            if stored.expires > self._clock() and used + size <= self._capacity:
                break
            surplus.append(stored)
            used -= kept
        return surplus


def is_name(name: str) -> bool:
    """Tell whether a file can be ours."""
    return _NAME.fullmatch(name) is not None


def content(stored: Stored, data: bytes, remaining: int) -> Content:
    """Return what a link leads to; its tag is the name, which stands for these bytes alone."""
    return Content(data, stored.mime_type, f'"{stored.name.partition(".")[0]}"', remaining)
