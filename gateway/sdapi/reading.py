"""Reading the bodies of `/sdapi/v1` as the web UI does: text is taken for numbers, and what is cut off is no error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dialects import reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..dialects.reading import Read


def read(kind: type[Read], body: Mapping[str, Any]) -> Read:
    """Return `body` as a `kind`, whose whole numbers may be given with a fraction. Raises InvalidValue."""
    whole = reading.integers(kind)
    cut = {key: int(value) if isinstance(value, float) and key in whole else value for key, value in body.items()}
    return reading.read(kind, cut, strict=False)
