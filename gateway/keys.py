"""Who may ask: whose key a request came with.

- The file is read again when it changes: keys come and go without a restart. One that breaks or vanishes changes
  nothing, and the log says so.
- A key comes as `Authorization: Bearer KEY`, as the password of `Basic`, or as `api-key: KEY`.
- Where there is no file, no key is needed, and whatever clients send there is passed over.
"""

from __future__ import annotations

import hmac
import logging
from base64 import b64decode
from binascii import Error as NotBase64
from typing import TYPE_CHECKING, TypeAlias

from .denials import NoKey, WrongKey
from .errors import StartError
from .keyfile import Key, digest, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

API_KEY = "api_key"  # name of the key that is a setting
_Stamp: TypeAlias = tuple[int, int, int]


class Keys:
    """The keys in a file. Raises StartError where it can't be read.

    An `optional` file need not be there; as long as there is none no key is needed, and from its appearance on one is.
    With `api_key` one is always, and that one is good for everything.
    """

    def __init__(self, path: Path, *, optional: bool = False, api_key: str = "") -> None:
        self._path = path
        self._own: list[Key] = [Key(name=API_KEY, digest=digest(api_key))] if api_key else []
        self._stamp = _stamp(path)
        self._keys = read(path) if self._stamp or not optional else None

    def caller(self, headers: Mapping[str, str]) -> Key | None:
        """Return the key that a request came with; None where none is needed. Raises NoKey, WrongKey."""
        self._refresh()
        if self._keys is None and not self._own:
            return None
        sent = _sent(headers)
        if not sent:
            raise NoKey
        mine = digest(sent)
        found: list[Key] = [key for key in (*self._own, *(self._keys or ())) if hmac.compare_digest(key.digest, mine)]
        if not found:
            raise WrongKey
        return found[0]

    def _refresh(self) -> None:
        """Read the file again if it has changed."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = read(self._path)
        except StartError as error:
            log.warning("the keys are the ones from before: %s", error)


def _stamp(path: Path) -> _Stamp | None:
    """Return what is another after each change of a file; None where there is none."""
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_mtime_ns, now.st_ino, now.st_size


def _sent(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic" and value.strip():
        return _password(value.strip())
    return headers.get("api-key", "").strip()


def _password(credentials: str) -> str:
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[2]
    except (NotBase64, ValueError):
        return ""
