"""Reading files in the safetensors format: a length, a header in JSON, and the numbers.

https://huggingface.co/docs/safetensors says what is in them; the published library is written in Rust, and this is all
that is needed of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import Fault, label

if TYPE_CHECKING:
    from pathlib import Path

    from .model import Array

MOST_HEADER = 2**26  # bytes; a file that claims more is none
KINDS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


def read_tensors(path: Path) -> dict[str, Array]:
    """Return a file's tensors by name, float32. Raises Fault."""
    try:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        if not 0 < size <= min(len(data) - 8, MOST_HEADER):
            raise Fault(f"{label(path)} is no safetensors file")
        header = json.loads(data[8 : 8 + size])
        return {name: _tensor(data[8 + size :], said) for name, said in header.items() if name != "__metadata__"}
    except OSError as error:
        raise Fault(f"{label(path)} can't be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fault(f"{label(path)} is no safetensors file: {error}") from error


def _tensor(data: bytes, said: dict[str, Any]) -> Array:
    if said["dtype"] not in KINDS:
        raise Fault(f"holds {said['dtype']}; known are {', '.join(KINDS)}")
    begin, end = said["data_offsets"]
    numbers = np.frombuffer(data[begin:end], KINDS[said["dtype"]]).reshape(said["shape"])
    if said["dtype"] == "BF16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(numbers, np.float32)
