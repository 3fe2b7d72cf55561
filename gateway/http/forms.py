"""Forms with files (`multipart/form-data`), read as JSON objects whose files are bytes.

- A form has no types: numbers and booleans arrive as text.
- A list arrives as `image[]`, `image[0]`, or a repeated name. A list of objects arrives as `loras[0][name]`, or
  without the number, as SDKs send it.
- An empty field counts as absent: browsers send one, without a filename, for a file that was not chosen. An empty
  file counts: only the field's reader knows what it means.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
)

from ..errors import BadRequest, InvalidValue
from ..openapi.operation import FORM
from .body_limits import stream_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar import Request

MAX_PARTS = 1000  # most parts of one form
_LIST_NAME = re.compile(r"\[\d{0,4}\]$")
_OBJECT_NAME = re.compile(r"([^\[\]]+)\[(\d{0,4})\]\[([^\[\]]+)\]")


class NumberedList(list[Any]):
    """The objects of a list; `numbers` are those that the client gave them, in order."""

    def __init__(self, objects: Iterable[Any], numbers: Iterable[int]) -> None:
        super().__init__(objects)
        self.numbers = tuple(numbers)


def is_form(request: Request[Any, Any, Any]) -> bool:
    """Return whether Content-Type names a multipart form."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


async def read_form(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Return the fields of a form. Raises BadRequest."""
    boundary = request.content_type[1].get("boundary", "")
    reader = _FormReader()
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            async for piece in stream_body(request):
                for part in parser.parse(piece) if piece and not parser.closed else ():
                    reader.take(part)
    except (UnicodeDecodeError, LookupError) as error:
        raise BadRequest("A field of the form is not valid text; a file needs a filename.") from error
    except ParserLimitReached as error:
        raise BadRequest(f"The form must have at most {MAX_PARTS} parts, and each part at most 8 headers.") from error
    except MultipartError as error:
        raise BadRequest(
            "The body is not a complete form: each part must begin with the boundary named in Content-Type."
        ) from error
    return group_fields(reader.parts)


class _FormReader:
    """The parts of a form: a part with a filename as bytes, any other as text."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, str | bytes]] = []
        self._head: MultipartSegment | None = None
        self._data = bytearray()

    def take(self, part: MultipartSegment | bytearray | None) -> None:
        """Take a part's head, a piece of its data, or its end. Raises UnicodeDecodeError, LookupError."""
        if isinstance(part, MultipartSegment):
            self._head, self._data = part, bytearray()
        elif part:
            self._data += part
        elif self._head:
            is_file, charset = self._head.filename, self._head.charset or "utf-8"
            value = bytes(self._data) if is_file else self._data.decode(charset)
            self.parts.append((self._head.name, value))
            self._head, self._data = None, bytearray()


def group_fields(parts: Iterable[tuple[str, str | bytes]]) -> dict[str, Any]:
    """Return the values by name, as a list where the name is a list's or repeated. Raises InvalidValue."""
    fields: defaultdict[str, list[str | bytes]] = defaultdict(list)
    lists: set[str] = set()
    objects: defaultdict[str, list[tuple[str, str, str | bytes]]] = defaultdict(list)
    for name, value in parts:
        key, is_list = _LIST_NAME.subn("", name)
        if value == "":
            continue
        if object_match := _OBJECT_NAME.fullmatch(name):
            objects[object_match[1]].append((object_match[2], object_match[3], value))
        else:
            fields[key].append(value)
            lists.update([key] if is_list else [])
    plain = {key: found if key in lists or len(found) > 1 else found[0] for key, found in fields.items()}
    return plain | {key: _objects(key, found) for key, found in objects.items()}


def _objects(key: str, found: list[tuple[str, str, str | bytes]]) -> NumberedList:
    """Return the objects of a list from the found (index, field, value).

    Without indexes the second `name` belongs to the second object: OpenAI's SDK sends all names, then all weights.
    """
    counts: Counter[str] = Counter()
    objects: defaultdict[int, dict[str, str | bytes]] = defaultdict(dict)
    for index, field, value in found:
        objects[int(index or counts[field])][field] = value
        counts[field] += not index
    if len(objects) > 1 and len(set(counts.values())) > 1:
        raise InvalidValue(key, f"must number its objects, for example '{key}[0][{found[0][1]}]'")
    numbers = sorted(objects)
    return NumberedList((objects[number] for number in numbers), numbers)
