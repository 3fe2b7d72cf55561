"""Reading a model folder's text files, with errors that name the file and say what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class ModelFileError(ValueError):
    """A file of a model's folder that cannot be used; the message is for the folder's owner."""


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text. Raises ModelFileError."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ModelFileError(f"{label(path)} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{label(path)} can't be read: {error}") from error


def read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """Return a file's JSON object; {} for a file that is optional and not there. Raises ModelFileError."""
    if optional and not path.exists():
        return {}
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ModelFileError(f"{label(path)} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{label(path)} must hold a JSON object, not {type(value).__name__}")
    return value


def weight(folder: Path) -> int:
    """Return the bytes of a component's graph and what lies beside it, but for configurations and torch's weights."""
    others = (".json", ".safetensors")
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file() and path.suffix not in others)


def label(path: Path) -> str:
    """Return a file's name with its folder's, which is enough to find it."""
    return f"{path.parent.name}/{path.name}"
