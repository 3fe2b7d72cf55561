"""The keys of a running server: which one a request carries.

They also say whether a key is required. The server is a gateway or a service.

- The key file is read again when it changes, so keys come and go without a restart. If it becomes unreadable or
  disappears, the previous keys stay valid, and the log says so. If it is unreadable when it appears, no key is valid.
- The file may be on a disk that does not answer. A running server has a thread look at it before each call that may
  need a key (`look`); if that takes too long, the keys stay as they are.
- A key is sent as `Authorization: Bearer KEY`, as the password of `Basic`, or as `api-key: KEY`; over gRPC these are
  metadata.
- Without a key file no key is required, and credentials that clients send are ignored. A mark next to the file says
  that it existed: a server that finds the mark without the file does not start, because it would be open.
"""

from __future__ import annotations

import hmac
import logging
import os
import stat
from base64 import b64decode
from binascii import Error as NotBase64
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

from .keyfile import Key, KeysError, digest, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .threads import Threads

log = logging.getLogger(__name__)

KEYS = "keys"  # the file's name in the data folder
API_KEY = "api_key"  # name of the key that is a setting
LOOK = 5.0  # seconds for a look at the file
COMPANION = "gateway"  # name of the key that `tintype up` makes for its own gateway
_Stamp: TypeAlias = tuple[int, int, int, int]
_MARK = """\
There has been a key file in this folder. Without the key file, tintype refuses to start, because it would accept
requests without a key. Delete this mark to allow that.
"""


class Keys:
    """The keys in a file.

    Raises KeysError if the file is missing, unreadable or writable by others. An `optional` file may be missing: no key
    is required until it appears. `api_key` is one more key; if it is set, a key is always required. `companion` is a
    key that is accepted, but does not make keys required. Both are admin keys.
    """

    _thread: Threads | None = None
    _warned = False

    def __init__(self, path: Path, *, optional: bool = False, api_key: str = "", companion: str = "") -> None:
        self._path = path
        self._optional = optional
        self._settings = _admins({API_KEY: api_key})
        self._companion = _admins({COMPANION: companion})
        self._stamp = _stamp(path)
        if optional and not self._stamp and not api_key and mark(path).exists():
            raise KeysError(_lost(path))
        self._keys = self._read() if self._stamp or not optional else None

    @property
    def required(self) -> bool:
        """Whether requests need a key, as things are now."""
        self._refresh()
        return self._keys is not None or bool(self._settings)

    def find(self, secret: str) -> Key | None:
        """Return the key whose secret is `secret`, or None."""
        mine = digest(secret)
        known = (*self._settings, *self._companion, *(self._keys or ()))
        found = [key for key in known if hmac.compare_digest(key.digest, mine)]
        return found[0] if found else None

    async def look(self) -> None:
        """Read the file again in a thread if it has changed.

        From then on only this method reads it.
        """
        from .threads import Stuck, Threads  # noqa: PLC0415  # settings need keys, and no asyncio

        self._thread = self._thread or Threads("tintype-keys", 1, LOOK)
        try:
            await self._thread.call(self._reread)
        except Stuck:
            if not self._warned:
                log.warning("keeping the previous keys: the disk of %s does not answer", self._path)
            self._warned = True
        else:
            self._warned = False

    def _refresh(self) -> None:
        """Read the file again if it has changed, unless `look` does."""
        if self._thread is None:
            self._reread()

    def _reread(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except KeysError as error:
            log.warning("keeping the previous keys: %s" if self._keys is not None else "accepting no key: %s", error)
            self._keys = self._keys or []

    def _read(self) -> list[Key]:
        if self._stamp:
            _check_mode(self._path, self._stamp[-1])
        keys = read(self._path)
        if self._optional:
            remember(self._path)
        return keys


def sent(headers: Mapping[str, str]) -> str:
    """Return the key in a request's headers or metadata.

    Their names are in lower case. It is empty if there is none.
    """
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic" and value.strip():
        return _password(value.strip())
    return headers.get("api-key", "").strip()


def mark(path: Path) -> Path:
    """Return the mark: the file saying that `path` has existed."""
    return path.with_name(f"{path.name}.required")


def remember(path: Path) -> None:
    """Leave the mark of a key file.

    A folder that can't be written to gets none.
    """
    if not mark(path).exists():
        with suppress(OSError):
            mark(path).write_text(_MARK, encoding="utf-8")


def check_access(keys: Keys, path: Path, address: str, *, is_open: bool) -> None:
    """Raise KeysError if an open address would be served without any key.

    `path` is the key file; `is_open` says that other machines reach the address.
    """
    if is_open and not keys.required:
        remedy = f"create a key with `tintype keys create NAME --keys {path}`, or pass --anonymous to allow it"
        raise KeysError(f"refusing to listen on {address} without authentication: {remedy}")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach HOST:PORT, or a Unix socket."""
    if address.startswith("unix"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _admins(secrets: Mapping[str, str]) -> list[Key]:
    return [Key(name=name, digest=digest(secret), admin=True) for name, secret in secrets.items() if secret]


def _lost(path: Path) -> str:
    remedy = f"restore it, create a key with `tintype keys create NAME --keys {path}`, or delete {mark(path)}"
    return f"refusing to start without authentication: the key file {path} existed and is missing; {remedy} to go on"


def _check_mode(path: Path, mode: int) -> None:
    """Raise KeysError if any user may add a key.

    Warn if others may read the hashes, or a group may add a key.
    """
    if mode & stat.S_IWOTH:
        raise KeysError(f"refusing the key file {path}, which every user can change: run `chmod 600 {path}`")
    if mode & (stat.S_IROTH | stat.S_IWGRP):
        log.warning("the key file %s is open to other users (mode %03o): run `chmod 600 %s`", path, mode & 0o777, path)


def _stamp(path: Path) -> _Stamp | None:
    """Return values that differ after each change of a file.

    The mode comes last. It is None if there is none.
    """
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_mtime_ns, now.st_ino, now.st_size, stat.S_IMODE(now.st_mode) if os.name == "posix" else 0


def _password(credentials: str) -> str:
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[2]
    except (NotBase64, ValueError):
        return ""
