"""Example requests and responses of each dialect, for `openapi.json` and the documentation page.

The dialects render the responses.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec

from tintype.v1 import image_service_pb2 as pb

from ..dialects.fields import EXAMPLE_IMAGE, EXAMPLE_URL
from ..errors import BadRequest, InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..dialects import Dialect

CREATED = 1_767_225_600  # 2026-01-01
LINK = "https://tintype.example/files/1767229200-5f0c1d3e9a7b48c2b6f4e8d0a1c3b5d7/0f2d4c6b8a90e1f3d5c7b9a8e6f4d2c0.png"


def page_examples(dialects: Iterable[Dialect]) -> dict[str, Any]:
    """Return the examples of the documentation page by dialect; a program is a list of lines."""
    return {
        dialect.name: {
            "title": dialect.example.title,
            "about": dialect.example.about,
            "path": f"/{dialect.name}{dialect.paths[0]}",
            "body": dialect.example.body,
            "python": dialect.example.program.splitlines(),
        }
        for dialect in dialects
    }


def request(dialect: Dialect) -> dict[str, Any]:
    """Return a valid request body: that of the documentation page, with an image if one is required."""
    known = {field.name for field in msgspec.structs.fields(dialect.request_type)}
    body = {key: value for key, value in dialect.example.body.items() if key in known}
    try:
        dialect.parse(body)
    except BadRequest:
        return body | {"image": EXAMPLE_URL}
    return body


def response(dialect: Dialect, body: Mapping[str, Any]) -> Any:
    """Return the response of a dialect to a body, with one image."""
    call = dialect.parse(body)
    image = pb.Image(seed=7, mime_type="image/png", width=512, height=512, data=base64.b64decode(EXAMPLE_IMAGE))
    generated = pb.GenerateImagesResponse(images=[image], model="tintype-tiny", usage=pb.Usage(prompt_tokens=7))
    return msgspec.to_builtins(dialect.render(generated, call, CREATED, [] if call.links is False else [LINK]))


def error(dialect: Dialect) -> Any:
    """Return the error of a dialect for an invalid field."""
    return msgspec.to_builtins(dialect.error(InvalidValue("n", "must be an integer from 1 to 10, not 11")).body)
