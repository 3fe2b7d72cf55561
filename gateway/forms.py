"""Forms with files in them (`multipart/form-data`), as JSON objects whose files are bytes.

A form knows no types: numbers and truths come as text, and lists as `image[]`, `image[0]`, or one name several times.
Fields that are empty count as absent: so browsers send a file that was not chosen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from litestar.datastructures import UploadFile
from litestar.exceptions import ClientException

from .errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar import Request

FORM = "multipart/form-data"
# What Litestar says of forms that it can't read, in plainer words.
UNREADABLE = {
    "Request Entity Too Large": "The form has too many parts, or a part has too many headers: 1000 and 8 are read.",
    "Invalid multipart/form-data": "The body is no whole form: parts begin with the boundary that Content-Type names.",
}
_LISTED = re.compile(r"\[\d{0,4}\]$")


def is_form(request: Request[Any, Any, Any]) -> bool:
    """Tell whether the body says that it is such a form."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


async def read_form(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Return the fields of a form. Raises BadRequest."""
    await request.body()  # from now on it can be read again
    try:
        form = await request.form()
    except (UnicodeDecodeError, LookupError) as error:
        raise BadRequest("A field of the form is no text. Files need a filename.") from error
    except ClientException as error:
        raise BadRequest(UNREADABLE.get(error.detail, error.detail)) from error
    try:
        return gathered([(name, await _value(part)) for name, part in form.multi_items()])
    finally:
        await form.close()


def gathered(parts: Iterable[tuple[str, str | bytes]]) -> dict[str, Any]:
    """Return the values by name; those of a name that is a list, or comes again, as a list."""
    fields: dict[str, Any] = {}
    for name, value in parts:
        key, listed = _LISTED.subn("", name)
        if not value:
            continue
        if listed or key in fields:
            before = fields.get(key, [])
            fields[key] = [*(before if isinstance(before, list) else [before]), value]
        else:
            fields[key] = value
    return fields


async def _value(part: str | UploadFile) -> str | bytes:
    return await part.read() if isinstance(part, UploadFile) else part
