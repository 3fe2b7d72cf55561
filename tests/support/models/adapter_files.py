"""Writes adapter files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

KINDS = {"float32": "F32", "float16": "F16"}


def write_tensors(path: Path, tensors: Mapping[str, NDArray]) -> None:  # type: ignore[type-arg]
    """Write a safetensors file."""
    header: dict[str, object] = {"__metadata__": {"by": "a test"}}
    data = b""
    for name, array in tensors.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": KINDS[array.dtype.name], "shape": array.shape, "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
