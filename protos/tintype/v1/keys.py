"""Keys of a running gateway or service: find the key of a request, and whether one is required.

- The key file is read again when it changes, so keys can be added and removed without a restart. If it becomes
  unreadable or disappears, the previous keys stay valid, and a warning is logged. If a new file is unreadable, no key
  is valid.
- The file may be on a disk that does not respond. A running server reads it in a thread before each call that may need
  a key (`reload`); if that takes too long, the previous keys stay valid.
- A key is sent as `Authorization: Bearer KEY`, as the password of `Basic`, or as `api-key: KEY`; in gRPC these headers
  are metadata.
- Without a key file no key is required, and credentials that clients send are ignored. A marker next to the file says
  that the file has existed: a server that finds the marker without the file does not start, because it would accept
  requests without a key.
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
API_KEY = "api_key"  # name of the key from the setting `api_key`
COMPANION = "gateway"  # name of the key that `tintype up` creates for its gateway
RELOAD_TIMEOUT = 5.0  # seconds
_Stamp: TypeAlias = tuple[int, int, int, int]
_MARKER_TEXT = """\
There has been a key file in this folder. Without the key file, tintype refuses to start, because it would accept
requests without a key. Delete this file to allow that.
"""


class Keys:
    """The keys in a file.

    An `optional` file may be missing: no key is required until it appears. `api_key` is an additional key; if it is
    set, a key is always required. `companion` is a key that is accepted, but does not make keys required. Both are
    admin keys.

    Raises:
        KeysError: the file is missing, unreadable or writable by every user.
    """

    _thread: Threads | None = None
    _warned = False

    def __init__(self, path: Path, *, optional: bool = False, api_key: str = "", companion: str = "") -> None:
        self._path = path
        self._optional = optional
        self._settings = _admins({API_KEY: api_key})
        self._companion = _admins({COMPANION: companion})
        self._stamp = _stamp(path)
        if optional and not self._stamp and not api_key and marker(path).exists():
            raise KeysError(_missing(path))
        self._keys = self._read() if self._stamp or not optional else None

    @property
    def required(self) -> bool:
        """Whether requests need a key now."""
        self._refresh()
        return self._keys is not None or bool(self._settings)

    def find(self, secret: str) -> Key | None:
        """Return the key whose secret is `secret`, or None."""
        wanted = digest(secret)
        known = (*self._settings, *self._companion, *(self._keys or ()))
        found = [key for key in known if hmac.compare_digest(key.digest, wanted)]
        return found[0] if found else None

    def named(self, name: str) -> Key | None:
        """Return the key with this name, or None."""
        known = (*self._settings, *self._companion, *(self._keys or ()))
        return next((key for key in known if key.name == name), None)

    async def reload(self) -> None:
        """Read the file again in a thread if it has changed.

        After the first call only this method reads the file.
        """
        from .threads import CallTimeout, Threads  # noqa: PLC0415  # settings import this module, without asyncio

        self._thread = self._thread or Threads("tintype-keys", 1, RELOAD_TIMEOUT)
        try:
            await self._thread.call(self._read_if_changed)
        except CallTimeout:
            if not self._warned:
                log.warning("keeping the previous keys: the disk of %s does not answer", self._path)
            self._warned = True
        else:
            self._warned = False

    async def configure(self, path: Path, *, optional: bool, api_key: str) -> None:
        """Use another file or another `api_key` from now on, and read the file again.

        Raises:
            KeysError: as at the start; nothing is changed then.
        """
        from .threads import CallTimeout, Threads  # noqa: PLC0415  # as above

        self._thread = self._thread or Threads("tintype-keys", 1, RELOAD_TIMEOUT)
        try:
            await self._thread.call(self._configure, path, optional, api_key)
        except CallTimeout:
            raise KeysError(f"the disk of {path} does not answer") from None

    def _configure(self, path: Path, optional: bool, api_key: str) -> None:  # noqa: FBT001
        new = Keys(path, optional=optional, api_key=api_key)
        self._path, self._optional, self._stamp = path, optional, new._stamp
        self._keys, self._settings = new._keys, new._settings

    def _refresh(self) -> None:
        """Read the file again if it has changed, unless `reload` does."""
        if self._thread is None:
            self._read_if_changed()

    def _read_if_changed(self) -> None:
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
            write_marker(self._path)
        return keys


def authorization(key: str) -> tuple[str, str]:
    """Return name and value of the header, or the metadata, that sends `key`."""
    return "authorization", f"Bearer {key}"


def request_key(headers: Mapping[str, str]) -> str:
    """Return the key in a request's headers or metadata, by lower-case name; empty if there is none."""
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic" and value.strip():
        return _password(value.strip())
    return headers.get("api-key", "").strip()


def marker(path: Path) -> Path:
    """Return the path of the marker: the file that says that the key file `path` has existed."""
    return path.with_name(f"{path.name}.required")


def write_marker(path: Path) -> None:
    """Write the marker of a key file, unless the folder is not writable."""
    if not marker(path).exists():
        with suppress(OSError):
            marker(path).write_text(_MARKER_TEXT, encoding="utf-8")


def check_access(keys: Keys, path: Path, address: str, *, is_open: bool) -> None:
    """Raise KeysError if the address is open and no key is required.

    `path` is the key file; `is_open` says that other machines can connect to the address.
    """
    if is_open and not keys.required:
        remedy = f"create a key with `tintype keys create NAME --keys {path}`, or pass --anonymous to allow it"
        raise KeysError(f"refusing to listen on {address} without authentication: {remedy}")


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to HOST:PORT, or to a Unix socket."""
    if address.startswith("unix"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _admins(secrets: Mapping[str, str]) -> list[Key]:
    return [Key(name=name, digest=digest(secret), admin=True) for name, secret in secrets.items() if secret]


def _missing(path: Path) -> str:
    remedy = (
        f"restore it, create a key with `tintype keys create NAME --keys {path}`, "
        f"or delete {marker(path)} to start without keys"
    )
    return f"refusing to start without authentication: the key file {path} existed and is missing; {remedy}"


def _check_mode(path: Path, mode: int) -> None:
    """Raise KeysError if every user can write the file; warn if others can read it, or a group can write it."""
    if mode & stat.S_IWOTH:
        raise KeysError(f"refusing the key file {path}, because every user can write it: run `chmod 600 {path}`")
    if mode & (stat.S_IROTH | stat.S_IWGRP):
        log.warning("the key file %s is open to other users (mode %03o): run `chmod 600 %s`", path, mode & 0o777, path)


def _stamp(path: Path) -> _Stamp | None:
    """Return values that change with each change of a file, the mode last; None if there is no file."""
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
