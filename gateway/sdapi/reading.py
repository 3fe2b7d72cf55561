"""Reading the bodies of `/sdapi/v1` as the web UI does: text is taken for numbers, and what is cut off is no error."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from ..dialects import reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..dialects.reading import Read


def read(kind: type[Read], body: Mapping[str, Any]) -> Read:
    """Return `body` as a `kind`, whose whole numbers may be given with a fraction. Raises InvalidValue."""
    cut = {
        key: int(value) if isinstance(value, float) and key in _whole(kind) else value for key, value in body.items()
    }
    return reading.read(kind, cut, strict=False)


@cache
def _whole(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of the fields that are whole numbers."""
    return frozenset(one.encode_name for one in msgspec.structs.fields(kind) if _is_whole(one.type))


def _is_whole(kind: Any) -> bool:
    known = msgspec.inspect.type_info(kind)
    options = known.types if isinstance(known, msgspec.inspect.UnionType) else (known,)
    return any(isinstance(option, msgspec.inspect.IntType) for option in options)
