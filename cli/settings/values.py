"""How the value of a setting is read: from the text of a flag or variable, and from TOML.

A kind is chosen by the annotation of the setting's field, or by the `unit` in its metadata. Both readers raise
ValueError for what is none of their kind; whoever asked says which setting it was and what it `wants`.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class NoHome(UserError, ValueError):
    """A path begins with `~`, and that is nobody's home here."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path!r} begins with a home that is not known here: write the whole path")


class TooLong(UserError, ValueError):
    """A path is longer than the file system allows."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path[:40]!r}… is too long for a path: it has {len(path)} characters")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: its short name in `--help`, what it wants, for people, and its readers."""

    metavar: str
    wants: str
    from_text: Callable[[str], Any]
    from_toml: Callable[[Any], Any]


def parse_size(text: str) -> int:
    """Bytes of a size such as `6GiB`, `500MB`, `1.5g` or `1048576`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not match or match[2] not in UNITS:
        raise ValueError(text)
    size = float(match[1]) * UNITS[match[2]]
    if not isfinite(size):
        raise ValueError(text)
    return int(size)


def format_size(size: int) -> str:
    """The shortest way to write a number of bytes, such as `2 GiB` or `11.4 MiB`."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # noqa: B007  # the last one that fits is wanted
        if value < 1024:
            break
        value /= 1024
    return f"{value:.3g} {unit}"


def parse_path(text: str) -> Path:
    """A path; `~` is the home. Raises NoHome, TooLong."""
    try:
        path = Path(text).expanduser()
        path.lstat()
    except RuntimeError as error:
        raise NoHome(text) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise TooLong(text) from error
    return path


def parse_text(text: str) -> str:
    """Check that a text is UTF-8; from a command line it may hold other bytes, as surrogates."""
    text.encode()
    return text


def parse_address(text: str) -> str:
    """Check HOST:PORT; the host may be a name, an IPv4 address, or an IPv6 address in brackets."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):(\d{1,5})", text.strip())
    if not match or int(match[2]) > 65535:
        raise ValueError(text)
    if not match[1].startswith("["):
        match[1].encode("idna")  # as the resolver does: no part of a name is empty or above 63 characters
    return match[0]


def split_address(address: str) -> tuple[str, int]:
    """Host, without brackets, and port of a checked HOST:PORT."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _truth(text: str) -> bool:
    if text.strip().lower() not in TRUTH:
        raise ValueError(text)
    return TRUTH[text.strip().lower()]


def _number(text: str) -> float:
    value = float(text)
    if not abs(value) < float("inf"):
        raise ValueError(text)
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in parse_text(text).split(",") if name.strip())


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(parse_path(path) for path in text.split(os.pathsep) if path)


def _one_path(text: str) -> tuple[Path, ...]:
    return (parse_path(text),)


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in _names(text)]
    if not all(key.strip() and equals for key, equals, _ in pairs):
        raise ValueError(text)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _exactly(*types: type) -> Callable[[Any], Any]:
    """A reader that takes only values of these types; in TOML a boolean is no number."""

    def read(value: Any) -> Any:
        if type(value) not in types:
            raise ValueError(value)
        return value

    return read


def _text_or(read: Callable[[str], Any], *types: type) -> Callable[[Any], Any]:
    """A reader for what TOML has no type for: text, read as elsewhere, or values of these types."""
    return lambda value: read(value) if type(value) is str else _exactly(*types)(value)


def _list_of(read: Callable[[str], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    """A reader for a list of texts, or one text."""

    def each(value: Any) -> tuple[Any, ...]:
        items = value if type(value) is list else [value]
        return tuple(part for item in items for part in read(_exactly(str)(item)))

    return each


def _table(value: Any) -> dict[str, str]:
    return {key: _exactly(str)(item) for key, item in _exactly(dict)(value).items()}


FOLDER = Kind("PATH", "a path", parse_path, _text_or(parse_path))

# Annotation or unit of a field: how it is read.
KINDS: dict[str, Kind] = {
    "str": Kind("TEXT", "text in UTF-8", parse_text, _exactly(str)),
    "int": Kind("N", "a whole number", int, _exactly(int)),
    "float": Kind("X", "a number", _number, lambda value: float(_exactly(int, float)(value))),
    "bool": Kind("YES|NO", "true or false", _truth, _exactly(bool)),
    "Path": FOLDER,
    "Path | None": FOLDER,
    "tuple[str, ...]": Kind("NAME", "names, separated by commas", _names, _list_of(_names)),
    "tuple[Path, ...]": Kind("FOLDER", f"paths, separated by {os.pathsep!r}", _paths, _list_of(_one_path)),
    "dict[str, str]": Kind("NAME=NAME", "NAME=NAME pairs, separated by commas", _pairs, _table),
    "bytes": Kind("SIZE", "a size, such as 6GiB or 500MB", parse_size, _text_or(parse_size, int)),
    "address": Kind(
        "HOST:PORT",
        "HOST:PORT with a port of at most 65535, such as 127.0.0.1:9000",
        parse_address,
        _text_or(parse_address),
    ),
}
