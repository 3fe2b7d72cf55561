"""Types of setting values: how a value is read from text (flags, variables) and from TOML.

A setting's type follows from the annotation of its field, or from `unit` in the field's metadata. A reader raises
ValueError for a value of another type; the caller's message names the setting and what is `expected`.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
# OWNER/NAME, optionally a file of it, optionally @REVISION. The hub's client checks the parts.
HUB_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(/[\w./ -]+\.safetensors)?(@[\w./+=#-]+)?")
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class UnknownHome(UserError, ValueError):
    """A path begins with `~` or `~user`, and that home directory is unknown."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the home directory in {path!r} is unknown; write the full path")


class PathTooLong(UserError, ValueError):
    """A path is longer than the file system allows."""

    def __init__(self, path: str) -> None:
        super().__init__(f"path too long: '{path[:40]}…' has {len(path)} characters")


class WebAddress(UserError, ValueError):
    """A model is given by the address of its page."""

    def __init__(self, text: str) -> None:
        repository = "/".join(text.partition("://")[2].split("/")[1:3])
        example = f"for {text!r} write {repository!r}" if HUB_MODEL.fullmatch(repository) else f"got {text!r}"
        super().__init__(f"a model on the Hugging Face hub is written OWNER/NAME, not as an address; {example}")


class EmptyModel(UserError, ValueError):
    """A model is an empty text."""

    def __init__(self) -> None:
        super().__init__("a model must not be empty; name a path or OWNER/NAME")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the Hugging Face hub: OWNER/NAME, with /FILE.safetensors or @REVISION as far as needed."""

    text: str

    def __str__(self) -> str:
        return self.text

    def or_path(self, folder: Path) -> Path | HubModel:
        """Return the path of this text in `folder` if it exists, otherwise this id."""
        path = folder / self.text
        try:
            path.lstat()  # a link that leads nowhere, or to itself, is meant as a path, too
        except PermissionError:
            return path  # it may be there; the server names what may not be read
        except OSError:
            return self
        return path


@dataclass(frozen=True, slots=True)
class ValueType(Generic[T_co]):
    """One type of value: its placeholder in `--help`, what is expected (for messages), and its readers."""

    metavar: str
    expected: str
    from_text: Callable[[str], T_co]
    from_toml: Callable[[object], T_co]


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `6GiB`, `500MB`, `1.5g` or `1048576`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not match or match[2] not in UNITS:
        raise ValueError(text)
    size = float(match[1]) * UNITS[match[2]]
    if not isfinite(size):
        raise ValueError(text)
    return int(size)


def format_size(size: int) -> str:
    """Return a number of bytes in the largest fitting unit, such as `2 GiB` or `11.4 MiB`."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # noqa: B007  # the last unit is used after the loop
        if value < 1024:
            break
        value /= 1024
    return f"{value:.3g} {unit}"


def parse_path(text: str) -> Path:
    """Return a path with `~` expanded. Raises UnknownHome, PathTooLong."""
    try:
        path = Path(text).expanduser()
        path.lstat()
    except RuntimeError as error:
        raise UnknownHome(text) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PathTooLong(text) from error
    return path


def parse_model(text: str) -> Path | HubModel:
    """Return the hub id that a text looks like, otherwise a path with `~` expanded. Raises UserError."""
    if not text:
        raise EmptyModel
    if "://" in text:
        raise WebAddress(text)
    return HubModel(text) if HUB_MODEL.fullmatch(text) else parse_path(text)


def parse_text(text: str) -> str:
    """Return a text if it is valid UTF-8; other bytes of a command line are surrogates and raise ValueError."""
    text.encode()
    return text


def parse_address(text: str) -> str:
    """Return a valid HOST:PORT. The host is a name, an IPv4 address, or an IPv6 address in brackets."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):(\d{1,5})", text.strip())
    if not match or int(match[2]) > 65535:
        raise ValueError(text)
    if not match[1].startswith("["):
        match[1].encode("idna")  # the resolver's rule: every label has 1 to 63 characters
    return match[0]


def split_address(address: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of a checked HOST:PORT."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _parse_boolean(text: str) -> bool:
    if text.strip().lower() not in BOOLEANS:
        raise ValueError(text)
    return BOOLEANS[text.strip().lower()]


def _parse_number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in parse_text(text).split(",") if name.strip())


def _parse_models(text: str) -> tuple[Path | HubModel, ...]:
    return tuple(parse_model(model) for model in text.split(os.pathsep) if model)


def _parse_one_model(text: str) -> tuple[Path | HubModel, ...]:
    return (parse_model(text),)


def _parse_pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in _parse_names(text)]
    if not all(key.strip() and equals for key, equals, _ in pairs):
        raise ValueError(text)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _typed_reader(expected: type[T]) -> Callable[[object], T]:
    """Return a reader that accepts only values of exactly this type: a TOML boolean is not an integer."""

    def read(value: object) -> T:
        if type(value) is not expected or not isinstance(value, expected):
            raise ValueError(value)
        return value

    return read


_string, _integer, _dict = _typed_reader(str), _typed_reader(int), _typed_reader(dict)


def _from_string(parse: Callable[[str], T]) -> Callable[[object], T]:
    """Return a reader of a TOML string that is parsed as on the command line, for values without a TOML type."""
    return lambda value: parse(_string(value))


def _list_reader(parse: Callable[[str], tuple[T, ...]]) -> Callable[[object], tuple[T, ...]]:
    """Return a reader for a list of strings, or one string."""

    def read(value: object) -> tuple[T, ...]:
        items = value if isinstance(value, list) else [value]
        return tuple(part for item in items for part in parse(_string(item)))

    return read


def _toml_number(value: object) -> float:
    return float(_integer(value)) if isinstance(value, int) else _typed_reader(float)(value)


def _toml_devices(value: object) -> str:
    """Return a number, a text or a list of devices as text."""
    if isinstance(value, list):
        return "".join(f"{_toml_devices(item)}," for item in value)
    return str(_integer(value)) if isinstance(value, int) else _string(value)


def _toml_size(value: object) -> int:
    return parse_size(value) if isinstance(value, str) else _integer(value)


def _toml_pairs(value: object) -> dict[str, str]:
    return {key: _string(item) for key, item in _dict(value).items()}


INTEGER = ValueType("N", "an integer", int, _integer)
NUMBER = ValueType("X", "a number", _parse_number, _toml_number)
PATH = ValueType("PATH", "a path", parse_path, _from_string(parse_path))
SIZE = ValueType("SIZE", "a size, for example 6GiB or 500MB", parse_size, _toml_size)
ADDRESS = ValueType(
    "HOST:PORT",
    "HOST:PORT with a port of at most 65535, for example 127.0.0.1:9000",
    parse_address,
    _from_string(parse_address),
)

# The annotation or unit of a field, and the type of its values.
VALUE_TYPES: dict[str, ValueType[object]] = {
    "str": ValueType("TEXT", "text in UTF-8", parse_text, _string),
    "int": INTEGER,
    "float": NUMBER,
    "bool": ValueType("YES|NO", "true or false", _parse_boolean, _typed_reader(bool)),
    "Path": PATH,
    "Path | None": PATH,
    "tuple[str, ...]": ValueType("NAME", "names, separated by commas", _parse_names, _list_reader(_parse_names)),
    "models": ValueType(
        "MODEL",
        f"paths or OWNER/NAME, separated by {os.pathsep!r}",
        _parse_models,
        _list_reader(_parse_one_model),
    ),
    "model": ValueType("MODEL", "a path or OWNER/NAME", parse_model, _from_string(parse_model)),
    "dict[str, str]": ValueType(
        "NAME=NAME", "NAME=NAME pairs, separated by commas, for example dall-e-3=sdxl", _parse_pairs, _toml_pairs
    ),
    "devices": ValueType(
        "DEVICES",
        "a number of devices, all, or names separated by commas, for example 0,1",
        parse_text,
        _toml_devices,
    ),
    "bytes": SIZE,
    "address": ADDRESS,
}
