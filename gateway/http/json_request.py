"""JSON request bodies, with limits.

- A body is UTF-8, with or without a byte order mark (RFC 8259, section 8.1, lets a reader ignore the mark).
- The number of values and the depth of nesting are limited before any object is built: a small body can hold millions
  of lists, and each becomes a Python object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..access.rejections import WrongContentType
from ..errors import NotJson
from ..openapi.operation import FORM, JSON
from .body_limits import read_body

if TYPE_CHECKING:
    from litestar import Request

MAX_VALUES = 200_000  # above two prompts of 32,000 characters that consist of commas only
MAX_DEPTH = 64
_UTF8_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")  # UTF-16 in either order, and UTF-32 in one


async def read_json(request: Request[Any, Any, Any], *, forms: bool = False) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    `forms`: the error for a wrong content type names forms, too. Raises WrongContentType, NotJson.
    """
    content_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if content_type != JSON and not (content_type.startswith("application/") and content_type.endswith("+json")):
        expected = f"'{JSON}' or '{FORM}'" if forms else f"'{JSON}'"
        raise WrongContentType(f"The body must be of type {expected}, not '{content_type[:100]}'.")
    body = decode_json(await read_body(request))
    if not isinstance(body, dict):
        raise NotJson('The body must be a JSON object, such as {"prompt": "a lake"}.')
    return body


def decode_json(data: bytes | bytearray) -> Any:
    """Return the value of JSON text with at most MAX_VALUES values and MAX_DEPTH levels. Raises NotJson."""
    if data.startswith(_WIDE_MARKS) or b"\0" in data[:4]:
        raise NotJson("The body must be JSON in UTF-8, not in UTF-16 or UTF-32.")
    opening_brackets = data.count(b"{") + data.count(b"[")
    if opening_brackets + data.count(b",") > MAX_VALUES:
        raise NotJson(f"The body's JSON must have at most {MAX_VALUES} values (counted by brackets and commas).")
    try:
        start = len(_UTF8_MARK) if data.startswith(_UTF8_MARK) else 0
        value = msgspec.json.decode(memoryview(data)[start:])  # a view avoids a copy
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise NotJson(f"The body is not valid JSON: {error}.") from error
    if opening_brackets > MAX_DEPTH and _is_deep(value):
        raise _too_deep()
    return value


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects are nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for one in level for inner in _children(one)]
        if not level:
            return False
    return True


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> NotJson:
    return NotJson(f"The body's JSON must have at most {MAX_DEPTH} levels of nested objects and lists.")
