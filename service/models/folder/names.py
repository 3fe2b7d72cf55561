"""The name of a model, from the path of its folder or file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOTS, REPOSITORY = "snapshots", "models--"


def model_name(path: Path) -> str:
    """Return a model's name: the repository's in a hub cache, a file's without its suffix, or the folder's.

    A hub cache holds `models--OWNER--NAME/snapshots/COMMIT`.
    """
    with suppress(OSError):  # the path leads through a folder that may not be entered
        if path.is_file():
            return path.stem
    return repository_id(path).rpartition("/")[2] or PurePath(os.path.realpath(path)).name


def repository_id(path: Path) -> str:
    """Return OWNER/NAME of a snapshot in a hub cache; "" for other paths."""
    repository = path.absolute().parent.parent.name
    if path.absolute().parent.name != SNAPSHOTS or not repository.startswith(REPOSITORY):
        return ""
    return repository.removeprefix(REPOSITORY).replace("--", "/", 1)
