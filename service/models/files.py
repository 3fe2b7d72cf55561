"""Reading the files of a model's folder, with errors that name the file and the problem."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MAX_TEXT = 2**27  # bytes; the largest published tokenizer.json has 34 million


class ModelFileError(ValueError):
    """A file of a model's folder cannot be used; the message is for the folder's owner."""


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file of at most MAX_TEXT bytes.

    Raises:
        ModelFileError: it is missing, too large or not UTF-8, or not a regular file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may have no end
            raise ModelFileError(f"{label(path)} must be a file")
        if status.st_size > MAX_TEXT:
            raise ModelFileError(f"{label(path)} must have at most {MAX_TEXT} bytes, not {status.st_size}")
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ModelFileError(f"{label(path)} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{label(path)} cannot be read: {error}") from error


def read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """Return the JSON object in a file; {} if the file is `optional` and missing.

    Raises:
        ModelFileError: the file is missing, or does not hold a JSON object.
    """
    if optional and not path.exists():
        return {}
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{label(path)} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{label(path)} must hold a JSON object, not {type(value).__name__}")
    return value


def component_files(folder: Path) -> tuple[Path, ...]:
    """Return a component's graph and its external data, sorted, without configurations and torch's weights."""
    others = (".json", ".safetensors")
    return tuple(sorted(path for path in folder.glob("*") if path.is_file() and path.suffix not in others))


def component_bytes(folder: Path) -> int:
    """Return the bytes of a component's graph and its external data."""
    return sum(path.stat().st_size for path in component_files(folder))


def label(path: Path) -> str:
    """Return a file's name with that of its folder, if the path names one, to identify it in a message."""
    return PurePath(path.parent.name, path.name).as_posix()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
