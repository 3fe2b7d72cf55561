"""Name, check and write image files on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

MAX_COPIES = 1000  # files of one name, apart from their numbers
# File extensions and their MIME types.
MIME_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def mime_type(path: Path) -> str:
    """Return the MIME type for a file's extension; PNG if it has none. Raises UserError."""
    if path.suffix and path.suffix.lower() not in MIME_TYPES:
        raise UserError(f"an image file must end in {', '.join(MIME_TYPES)}; got {path}")
    return MIME_TYPES[path.suffix.lower() or ".png"]


def numbered_path(path: Path, index: int, count: int) -> Path:
    """Return the file of image `index` of `count`: `lake.png` if it is the only one, otherwise `lake-1.png` ..."""
    path = path if path.suffix else path.with_name(path.name + ".png")
    return path if count == 1 else path.with_stem(f"{path.stem}-{index + 1}")


def prepare_folder(path: Path) -> None:
    """Make the folder of a file and check that the file can be written, before images are made. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    if path.exists() and not path.is_file():  # a device or a pipe would be replaced by a file
        raise UserError(f"cannot write {path}: it is {'a folder' if path.is_dir() else 'not a regular file'}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: its folder is read-only")


def reserve(path: Path) -> Path:
    """Make an empty file of this name, with `-2`, `-3` ... if there is one, and return its path. Raises UserError."""
    for number in range(1, MAX_COPIES + 1):
        free = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            free.touch(exist_ok=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot write {free}: {error.strerror}") from error
        return free
    raise UserError(f"cannot write {path}: there are {MAX_COPIES} files of this name; name another with -o")


def save(data: bytes, path: Path) -> None:
    """Write an image file. An existing file is replaced as a whole, never by a partial one. Raises UserError."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}") from error
