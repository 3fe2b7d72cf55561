"""How large the head of a request may be: nobody fills the memory with headers, or the time with one that never ends.

The parser joins what comes until a header is complete, and keeps all of them, however many. So what is counted is the
bytes since it last told of anything that is no header: that bounds the line, headers, chunk extensions and trailers.
A head that comes in one piece may be larger by that piece, which the event loop bounds.
"""

from __future__ import annotations

import msgspec

from ..dialects.openai import INVALID
from ..dialects.openai_types import ErrorBody, ErrorResponse
from .upgrades import Staying

MAX_HEAD = 2**16  # bytes
_MESSAGE = f"The head of the request has more than {MAX_HEAD} bytes."
_BODY = msgspec.json.encode(ErrorResponse(ErrorBody(message=_MESSAGE, type=INVALID, param=None, code=None)))
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class Bounded(Staying):
    """A connection that is closed when a head grows too large: with 431, unless an answer is on its way."""

    _since = 0  # bytes since the parser told of anything but a header

    def data_received(self, data: bytes) -> None:
        """Take in what comes, in pieces of at most some hundred kilobytes."""
        self._since += len(data)
        super().data_received(data)
        if self._since > MAX_HEAD and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Count from the first line of a request."""
        self._since = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Count from the end of a head."""
        self._since = 0
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Count from a chunk; behind the last one trailers may follow."""
        self._since = 0

    def on_body(self, body: bytes) -> None:
        """Count from a piece of a body."""
        self._since = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count from the end of a request."""
        self._since = 0
        super().on_message_complete()
