"""The folder of TensorRT's engines, one subfolder for each.

An engine is found again after a restart, and removed when space is short. An engine is for one graph with one shape of
inputs, one GPU, and one version of TensorRT and of onnxruntime: all of these are in its folder's name. onnxruntime
itself looks only at the names of a graph and its nodes. All engines together have at most `BYTES`; those that were used
longest ago go.
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

BYTES = 64 * 2**30  # some ten engines of the largest models
MARK = "tintype-engine.txt"  # says what an engine is of; its time of change is the engine's last use
_UNREADABLE = "deserialize engine"  # in what the provider says of an engine that TensorRT refuses


def prepared(root: Path, path: Path, shapes: Shapes) -> Path:
    """Return the engine folder of a graph and shapes; note its use.

    It is made if it is missing.
    """
    facts = _facts(path, shapes)
    digest = sha256("\n".join(facts).encode()).hexdigest()
    folder = root / f"{path.parent.name}-{digest[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("\n".join(facts) + "\n", "utf-8")
    return folder


def is_unreadable(error: Exception) -> bool:
    """Whether an existing engine can't be read.

    It is of another TensorRT or GPU, or damaged.
    """
    return _UNREADABLE in str(error).lower()


def empty(folder: Path) -> None:
    """Empty an engine's folder, except for its description."""
    for file in folder.iterdir():
        if file.name != MARK:
            file.unlink()


def prune(root: Path, keep: Path) -> None:
    """Remove engines, oldest use first, until `BYTES` suffice; never `keep`.

    Folders that tintype did not make are left alone.
    """
    with suppress(OSError):  # another server may remove the same ones
        marks = {mark.parent: mark.stat().st_mtime_ns for mark in root.glob(f"*/{MARK}")}
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in marks}
        excess = sum(sizes.values()) - BYTES
        for folder in sorted(marks.keys() - {keep}, key=marks.__getitem__):
            if excess <= 0:
                break
            excess -= sizes[folder]
            log.info("the engine %s makes room for others", folder)
            rmtree(folder)


def _facts(path: Path, shapes: Shapes) -> list[str]:
    """Return what an engine depends on, one fact a line."""
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
