"""Who may ask: keys of clients, in a file with a line for each, `NAME SHA256`.

- A key is 256 random bits, so one round of a hash keeps it: nobody finds it from the file.
- The file is read again when it changes: keys come and go without a restart.
- A key comes as `Authorization: Bearer KEY`, as the password of `Basic`, or as `api-key: KEY`. Where no file is
  configured, whatever clients send there is passed over.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from base64 import b64decode
from binascii import Error as NotBase64
from typing import TYPE_CHECKING

from .errors import NoKey, StartError, WrongKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "tt-"  # so that a key is known as one where it has got lost
_LINE = re.compile(r"([A-Za-z0-9._@-]{1,64})\s+([0-9a-f]{64})")


def create(path: Path, name: str) -> str:
    """Add a new key to the file, which is made where it is missing, and return it: it can't be read back later.

    Raises StartError for a name that is none, or is there already.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name} {_digest(key)}"
    if not _LINE.fullmatch(line):
        raise StartError(f"the name of a key must be 1 to 64 letters, digits or any of . _ @ -, not {name!r}")
    if path.exists() and name in _read(path).values():
        raise StartError(f"{path} has a key of that name: {name}")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:  # noqa: PTH123 - for its mode
        file.write(line + "\n")
    return key


class Keys:
    """The keys in a file; without one, none are needed. Raises StartError where it can't be read."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._changed = _changed(path) if path else 0
        self._names = _read(path) if path else {}

    def caller(self, headers: Mapping[str, str]) -> str:
        """Return the name of the key that a request came with; empty where none is needed. Raises NoKey, WrongKey."""
        if self._path is None:
            return ""
        key = _sent(headers)
        if not key:
            raise NoKey
        self._refresh(self._path)
        digest = _digest(key)
        found = [name for known, name in self._names.items() if hmac.compare_digest(known, digest)]
        if not found:
            raise WrongKey
        return found[0]

    def _refresh(self, path: Path) -> None:
        """Read the file again if it has changed; one that is broken or gone leaves things as they are."""
        try:
            changed = _changed(path)
            if changed != self._changed:
                self._names, self._changed = _read(path), changed
        except StartError:
            return


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


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise StartError(f"the keys in {path} can't be read: {error.strerror}") from error


def _read(path: Path) -> dict[str, str]:
    """Return names by digest. Raises StartError: it can't be read, or a line is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the keys in {path} can't be read: {error}") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise StartError(f"{path}, line {number} must be a name and a SHA-256 in hexadecimal digits")
        names[match[2]] = match[1]
    return names
