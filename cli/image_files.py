"""Pictures as files on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

# Ending of a file: its type.
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def mime_type(path: Path) -> str:
    """The type that a file's ending names; PNG where it has none. Raises UserError."""
    if path.suffix and path.suffix.lower() not in TYPES:
        raise UserError(f"{path} ends in {path.suffix!r}; pictures end in {', '.join(TYPES)}")
    return TYPES[path.suffix.lower() or ".png"]


def numbered(path: Path, index: int, count: int) -> Path:
    """The file of picture `index` of `count`: `lake.png` alone, else `lake-1.png`, `lake-2.png` ..."""
    path = path if path.suffix else path.with_name(path.name + ".png")
    return path if count == 1 else path.with_stem(f"{path.stem}-{index + 1}")


def prepare(path: Path) -> None:
    """Make the folder of a file, so that nothing is made in vain. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror}") from error
    if path.exists() and not path.is_file():  # a device or a pipe would be replaced
        raise UserError(f"can't write {path}: it is {'a folder' if path.is_dir() else 'not a regular file'}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"can't write {path}: its folder is read-only")


def save(data: bytes, path: Path) -> None:
    """Write a picture; a file of that name is replaced, but never by half a picture. Raises UserError."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UserError(f"can't write {path}: {error.strerror}") from error
