"""JSON bodies with large files, whose base64 is encoded while it is sent.

Ten images are 20 MB of base64. Encoded at once, they would block the event loop for tens of milliseconds and be in
memory twice. Encoded in pieces, they do neither, and each piece is still in the processor's cache when it is sent.
"""

from __future__ import annotations

import secrets
from binascii import b2a_base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tintype.v1 import image_service_pb2 as pb

PIECE = 3 * 2**16  # bytes of a file encoded at once; a multiple of 3 needs no padding in between


@dataclass(frozen=True, slots=True)
class JsonBody:
    """JSON text in `parts`, with the base64 of one file between each two of them."""

    parts: Sequence[bytes]
    files: Sequence[bytes] = ()

    def __len__(self) -> int:
        """Return the bytes of the whole body."""
        return sum(map(len, self.parts)) + sum((len(file) + 2) // 3 * 4 for file in self.files)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces."""
        yield self.parts[0]
        for file, part in zip(self.files, self.parts[1:], strict=True):
            view = memoryview(file)
            for start in range(0, len(view), PIECE):
                yield b2a_base64(view[start : start + PIECE], newline=False)
            yield part


def render_body(render: Callable[[pb.GenerateImagesResponse], Any], response: pb.GenerateImagesResponse) -> JsonBody:
    """Return the body that `render` makes of a response, with its files left out of the JSON until it is sent.

    `render` must give the files as `bytes`, in order, or leave all of them out. Removes the files from `response`.
    """
    files = [image.data for image in response.images]
    placeholder = secrets.token_bytes(24)  # its base64 has no padding and can't be guessed
    for image in response.images:
        image.data = placeholder
    return _with_files(render(response), placeholder, files)


def file_body(render: Callable[[bytes], Any], file: bytes) -> JsonBody:
    """Return the body that `render` makes of a file, with the file left out of the JSON until it is sent."""
    return files_body(lambda marks: render(*marks), [file])


def files_body(render: Callable[[list[bytes]], Any], files: Sequence[bytes]) -> JsonBody:
    """Return the body that `render` makes of several files, in order, left out of the JSON until it is sent."""
    placeholder = secrets.token_bytes(24)
    return _with_files(render([placeholder] * len(files)), placeholder, files)


def _with_files(document: Any, placeholder: bytes, files: Sequence[bytes]) -> JsonBody:
    """Return a document as JSON, with the files in place of the mark."""
    parts = msgspec.json.encode(document).split(b2a_base64(placeholder, newline=False))
    return JsonBody(parts, files if len(parts) > 1 else ())
