"""JSON with large files in it, whose base64 comes into being as it is sent.

Ten pictures are 20 MB of base64. Written at once they would hold the event loop for tens of milliseconds and lie in
memory twice; piece by piece they do neither, and each piece is still in the processor's cache when it is sent.
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

PIECE = 3 * 2**16  # bytes of a file that are encoded at once; a multiple of 3 needs no padding in between


@dataclass(frozen=True, slots=True)
class Body:
    """JSON in `parts`, with a file's base64 between each two of them."""

    parts: Sequence[bytes]
    files: Sequence[bytes] = ()

    def __len__(self) -> int:
        """Bytes of the whole."""
        return sum(map(len, self.parts)) + sum((len(file) + 2) // 3 * 4 for file in self.files)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the whole, piece by piece."""
        yield self.parts[0]
        for file, part in zip(self.files, self.parts[1:], strict=True):
            view = memoryview(file)
            for start in range(0, len(view), PIECE):
                yield b2a_base64(view[start : start + PIECE], newline=False)
            yield part


def render_body(render: Callable[[pb.GenerateImagesResponse], Any], response: pb.GenerateImagesResponse) -> Body:
    """Return what `render` makes of a response, whose files it takes away: they stay out of the JSON until it is sent.

    `render` gives files as `bytes`, in their order, or not at all.
    """
    files = [image.data for image in response.images]
    mark = secrets.token_bytes(24)  # in base64 it has no padding, and nobody can guess it
    for image in response.images:
        image.data = mark
    return _around(render(response), mark, files)


def file_body(render: Callable[[bytes], Any], file: bytes) -> Body:
    """Return what `render` makes of a file, which stays out of the JSON until it is sent."""
    mark = secrets.token_bytes(24)
    return _around(render(mark), mark, [file])


def _around(document: Any, mark: bytes, files: Sequence[bytes]) -> Body:
    """Return a document with the files in the places of the mark."""
    parts = msgspec.json.encode(document).split(b2a_base64(mark, newline=False))
    return Body(parts, files if len(parts) > 1 else ())
