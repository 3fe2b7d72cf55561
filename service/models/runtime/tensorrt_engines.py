"""The folder of TensorRT's engines, one subfolder each.

An engine is reused after a restart, and removed when space is short. It holds for one graph with one shape of inputs,
one GPU, and one version of TensorRT and of onnxruntime; the folder's name is a hash of all of these. onnxruntime itself
compares only the names of a graph and its nodes. All engines together take at most `BYTES`; the least recently used
ones are removed.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from hashlib import sha256
from shutil import rmtree
from typing import TYPE_CHECKING

from . import nvidia
from .providers import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Shapes = Mapping[str, tuple[int, ...]]

log = logging.getLogger(__name__)

BYTES = 64 * 2**30  # about ten engines of the largest models
MARK = "tintype-engine.txt"  # what an engine was built for; its modification time is the engine's last use
_UNREADABLE = "deserialize engine"  # part of the provider's error for an engine that TensorRT refuses


def prepared(root: Path, path: Path, shapes: Shapes) -> Path:
    """Return the engine folder of a graph and shapes, made if it is missing, and record its use."""
    facts = _facts(path, shapes)
    digest = sha256("\n".join(facts).encode()).hexdigest()
    folder = root / f"{path.parent.name}-{digest[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("\n".join(facts) + "\n", "utf-8")
    return folder


def is_unreadable(error: Exception) -> bool:
    """Return whether TensorRT can't read the engine: it is damaged, or of another TensorRT or GPU."""
    return _UNREADABLE in str(error).lower()


def empty(folder: Path) -> None:
    """Empty an engine's folder, except for its description."""
    for file in folder.iterdir():
        if file.name != MARK:
            file.unlink()


def prune(root: Path, keep: Path) -> None:
    """Remove the least recently used engines until all take at most `BYTES`; never `keep`.

    Folders that tintype did not make stay.
    """
    with suppress(OSError):  # another server may remove the same ones
        marks = {mark.parent: mark.stat().st_mtime_ns for mark in root.glob(f"*/{MARK}")}
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in marks}
        excess = sum(sizes.values()) - BYTES
        for folder in sorted(marks.keys() - {keep}, key=marks.__getitem__):
            if excess <= 0:
                break
            excess -= sizes[folder]
            log.info("removing the engine %s: all engines exceed %d GiB", folder, BYTES >> 30)
            rmtree(folder)


def _facts(path: Path, shapes: Shapes) -> list[str]:
    """Return what an engine depends on, one fact per line."""
    files = sorted(file for file in path.parent.iterdir() if file.is_file())
    versions = [f"onnxruntime {onnxruntime().__version__}", f"TensorRT {nvidia.tensorrt_version()}"]
    stats = [(file.name, file.stat()) for file in files]
    return [
        str(path),
        *versions,
        f"GPU {nvidia.device()}",
        *(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats),
        *(f"{name} {shape}" for name, shape in sorted(shapes.items())),
    ]
