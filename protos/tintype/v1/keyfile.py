"""The key file of service and gateway, a text file that people can read and edit.

Each line is one key: `NAME SHA256 field=value ...`.

    alice 9f86d0…  created=2026-01-31T12:00:00Z requests=60 images=100 models=tiny,org/sdxl priority=10
    ops   60303a…  created=2026-01-31T12:00:00Z admin=yes

- A key is 256 random bits, so one round of a hash is enough: the file does not reveal the key.
- Fields are optional; blank lines and lines that begin with `#` are ignored and kept.
- Writers hold a lock and replace the file atomically: readers never see half a file, and concurrent writers lose no
  key.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from .limits import RANGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PREFIX = "tt-"  # lets secret scanners recognise a leaked key
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeysError(Exception):
    """An error in the keys.

    The message is one line for the operator; `exit_code` is the exit status of the command.
    """

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: its holder's name and permissions. Raises KeysError for invalid values.

    `requests` and `images` are limits per minute; 0 is unlimited, None the server's own limit. `models` are the only
    models that the key may use, the first is its default; empty means all models. `priority` is that of
    `GenerateImagesRequest`. An `admin` key may load and unload models, and set the `caller` and `priority` of its
    requests, as a gateway does for its clients.
    """

    name: str
    digest: str = ""
    created: str = ""
    requests: int | None = None
    images: int | None = None
    models: tuple[str, ...] = ()
    priority: int = 0
    admin: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise KeysError(f"the name of a key must be 1 to 64 letters, digits or any of . _ @ -, not {self.name!r}")
        for field in ("requests", "images"):
            if (getattr(self, field) or 0) < 0:
                raise KeysError(f"{field} of a key must be 0 or more, not {getattr(self, field)}")
        lowest, highest = RANGES["priority"]
        if not lowest <= self.priority <= highest:
            raise KeysError(f"priority of a key must be {lowest} to {highest}, not {self.priority}")


_DEFAULTS = Key(name="x")
_TRUTH = {"yes": True, "no": False}

# Parser of each field; `_line` writes them.
_FIELDS: dict[str, Callable[[str], Any]] = {
    "created": str,
    "requests": int,
    "images": int,
    "models": lambda text: tuple(unquote(name) for name in text.split(",") if name),
    "priority": int,
    "admin": lambda text: _TRUTH[text],
}
_EXPECTED = {"admin": "yes or no"}  # all other fields: a whole number


def digest(key: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal digits, as the file has it."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def create(path: Path, name: str, **limits: Any) -> str:
    """Add a new key to the file and return it; it cannot be read back later.

    A missing file is created. `limits` are fields of Key. Raises KeysError for invalid limits, or if the name exists.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    key = Key(name=name, digest=digest(secret), created=created, **limits)
    with _editing(path) as lines:
        if name in (known.name for known in _parse(path, lines)):
            raise KeysError(f"{path} already has a key named {name}; remove it with `tintype keys revoke {name}`")
        lines.append(_line(key))
    return secret


def revoke(path: Path, name: str) -> None:
    """Remove a key from the file. Raises KeysError if it has no key of this name."""
    with _editing(path) as lines:
        kept = [line for line in lines if name not in (key.name for key in _parse(path, [line]))]
        if len(kept) == len(lines):
            raise KeysError(f"{path} has no key named {name}; `tintype keys list` lists its keys")
        lines[:] = kept


def read(path: Path) -> list[Key]:
    """Return the keys of a file.

    Raises KeysError if the file can't be read, or a line is not a key.
    """
    return _parse(path, _lines(path))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        remedy = f"create it with `tintype keys create NAME --keys {path}`"
        raise KeysError(f"cannot read the key file {path}: it does not exist; {remedy}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"cannot read the key file {path}: {error}") from error


def _parse(path: Path, lines: Sequence[str]) -> list[Key]:
    numbered = enumerate(map(str.split, lines), 1)
    return [_key(words, f"{path}, line {number}") for number, words in numbered if words and words[0][0] != "#"]


def _key(words: list[str], where: str) -> Key:
    """Return the key of one line. Errors do not repeat the line, because it may contain a secret."""
    if len(words) < 2 or not _DIGEST.fullmatch(words[1].lower()):
        raise KeysError(f"{where} must be a name and a SHA-256 in hexadecimal digits")
    fields = dict(_field(word, where) for word in words[2:])
    try:
        return Key(name=words[0], digest=words[1].lower(), **fields)
    except KeysError as error:
        raise KeysError(f"{where}: {error}") from error


def _field(word: str, where: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    if name not in _FIELDS:
        known = ", ".join(f"{name}=" for name in _FIELDS)
        raise KeysError(f"{where}: fields after the SHA-256 must be some of {known}")
    try:
        return name, _FIELDS[name](value)
    except (ValueError, KeyError) as error:
        raise KeysError(f"{where}: {name} must be {_EXPECTED.get(name, 'a whole number')}") from error


def _line(key: Key) -> str:
    models = ",".join(quote(model, safe="/:@+") for model in key.models)
    values = asdict(key) | {"models": models, "admin": "yes"}
    changed = [name for name in _FIELDS if getattr(key, name) != getattr(_DEFAULTS, name)]
    return " ".join([key.name, key.digest, *(f"{name}={values[name]}" for name in changed)])


@contextmanager
def _editing(path: Path) -> Iterator[list[str]]:
    """Yield the lines of a file under a lock, and write them back at the end of the block. Raises KeysError."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise KeysError(f"cannot write the key file {path}: it is not a regular file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            lines = _lines(path) if path.exists() else []
            yield lines
            _replace(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise KeysError(f"cannot write the key file {path}: {error.strerror}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder of the key file; a lock on the file would not work, because each change replaces it."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has none; concurrent writers are not locked there
    except ImportError:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically. Only its owner can read the new file.

    If root writes, the owner is that of the old file, or of the folder.
    """
    owner = (path if path.exists() else path.parent).stat()
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                os.fchown(handle, owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(handle)
        Path(part).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(part).unlink()
        raise
