"""The name of a model, from the path of its folder or file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOTS, REPOSITORY = "snapshots", "models--"


def model_name(path: Path) -> str:
    """Return a model's name: the repository's in a hub cache, a file's without its suffix, or the folder's.

    A hub cache holds `models--OWNER--NAME/snapshots/COMMIT`.
    """
    if path.is_file():
        return path.stem
    return repository_id(path).rpartition("/")[2] or path.resolve().name


def repository_id(path: Path) -> str:
    """Return OWNER/NAME of a snapshot in a hub cache; "" for other paths."""
    repository = path.absolute().parent.parent.name
    if path.absolute().parent.name != SNAPSHOTS or not repository.startswith(REPOSITORY):
        return ""
    return repository.removeprefix(REPOSITORY).replace("--", "/", 1)
