"""The files of models on disk: which models are in a folder, and whether one has changed or is being copied."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, TypeAlias

from ..folder.tintype_json import TINTYPE_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FileStamp: TypeAlias = tuple[int, int, int]  # size, modification time in ns, inode

SETTLED_AFTER = 2.0  # seconds since the last change of a file, after which a copy is taken for complete
MAX_MODELS, MAX_FILES = 1000, 10_000  # of a folder of models, of one model
DEPTH = 3  # of folders in a model: a second stage, and its components
# LoadModel lists these again; they do not make another model.
ADDITIONS = ("loras", "embeddings", "controlnets", "image_adapters")


@dataclass(frozen=True, slots=True)
class ModelStamp:
    """What changes with any file of a model: its files by path, and when the last one changed, in seconds."""

    files: dict[str, FileStamp]
    changed: float

    @property
    def is_settled(self) -> bool:
        """Whether no file has changed for SETTLED_AFTER seconds."""
        return not 0 <= time.time() - self.changed < SETTLED_AFTER

    def differs_only_in_settings(self, other: ModelStamp) -> bool:
        """Return whether all files but tintype.json are those of `other`."""
        return self._others() == other._others()

    def _others(self) -> dict[str, FileStamp]:
        return {path: stamp for path, stamp in self.files.items() if path != TINTYPE_JSON}


def stamp_of(model: Path, checker: Path | None = None) -> ModelStamp:
    """Return the stamp of a model's folder or file; without files if it is missing.

    `checker` is the folder of a safety checker, whose files count as the model's.
    """
    files, changed = {}, 0.0
    for path, status in chain(_files(model, "", DEPTH), _files(checker, str(checker), 0) if checker else ()):
        files[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
        changed = max(changed, status.st_mtime, status.st_ctime)
        if len(files) >= MAX_FILES:
            break
    return ModelStamp(files, changed)


def models_in(folder: Path) -> list[Path]:
    """Return the models in a folder, by name: its folders and .safetensors files, without hidden ones.

    Raises OSError if the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_model(entry))
    return [folder / name for name in names[:MAX_MODELS]]


def _is_model(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir() or (entry.name.endswith(".safetensors") and entry.is_file())
    return False


def _files(path: Path, name: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and status of each file of a model, relative to it; those that cannot be read are left out."""
    with suppress(OSError):
        status = path.stat()
        if S_ISREG(status.st_mode):
            yield name, status
        elif S_ISDIR(status.st_mode) and depth >= 0:
            for entry in sorted(path.iterdir()):
                if entry.name not in ADDITIONS and not entry.name.startswith("."):
                    yield from _files(entry, f"{name}/{entry.name}" if name else entry.name, depth - 1)
