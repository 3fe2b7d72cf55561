"""Writes adapter files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

KINDS = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64"}


def write_tensors(path: Path, tensors: Mapping[str, NDArray], **metadata: str) -> Path:  # type: ignore[type-arg]
    """Write a safetensors file, and return its path."""
    header: dict[str, object] = {"__metadata__": metadata or {"by": "a test"}}
    end = 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": KINDS[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(array.tobytes() for array in tensors.values())
    return path
