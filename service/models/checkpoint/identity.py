"""A stored identity matrix, for a projection that a file leaves out."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ..files import ModelFileError, label
from ..weights.pieces import ComponentWeights, Piece

if TYPE_CHECKING:
    from pathlib import Path

    from ..templates.filling import Component

NAME = "identity"
MAX_WIDTH = 8192  # of published text encoders at most 4,096
PROJECTION = "text_projection.weight"
ONE = 0x38  # 1.0 as an 8-bit float, F8_E4M3


def with_projection(component: Component, cache: Path) -> Component:
    """Return a text encoder whose projection is an identity matrix that is kept in `cache`.

    Raises:
        ModelFileError: the matrix cannot be written.
    """
    stored, width = component.weights, component.config["hidden_size"]

    def naming(name: str) -> tuple[Piece, ...]:
        return (Piece(NAME),) if name == PROJECTION else stored.naming(name)

    files = (*stored.files, identity_file(cache.expanduser(), width))
    return component._replace(weights=ComponentWeights(files, naming, stored.scope, stored.ignored))


def identity_file(cache: Path, width: int) -> Path:
    """Return a safetensors file in `cache` with the identity matrix [width, width]; write it if it is missing.

    Raises:
        ModelFileError: it cannot be written.
    """
    if width > MAX_WIDTH:
        raise ModelFileError(f"a text encoder must have at most {MAX_WIDTH} numbers for a token; got {width}")
    path = cache / f"identity-{width}.safetensors"
    header = json.dumps({NAME: {"dtype": "F8_E4M3", "shape": [width, width], "data_offsets": [0, width**2]}}).encode()
    size = 8 + len(header) + width**2
    if path.is_file() and path.stat().st_size == size:
        return path
    partial = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(
            len(header).to_bytes(8, "little") + header + (np.eye(width, dtype=np.uint8) * ONE).tobytes()
        )
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ModelFileError(
            f"{label(path)} cannot be written: {error.strerror or error}; choose another folder with --weights-cache"
        ) from error
    return path
