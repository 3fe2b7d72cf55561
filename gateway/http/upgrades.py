"""Offers to go on in another protocol (`Upgrade`) are passed over, as RFC 9110, 7.8 lets servers do.

Java's own client offers HTTP/2 with each first request, and sends its body all the same. The parser takes whatever
follows such a head for the other protocol; so another one takes over there, which has read the head without the offer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Staying(HttpToolsProtocol):
    """A connection that speaks HTTP/1.1 to its end."""

    _told = False  # whether the parser reads what is known

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser: Any = _Parser(self)

    def reread(self, parser: HttpRequestParser) -> None:
        """Have another parser read the head that is there, without the offer."""
        kept = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self._told = True
        try:
            parser.feed_data(b"POST / HTTP/%b\r\n%b\r\n" % (self.scope["http_version"].encode(), b"".join(kept)))
        finally:
            self._told = False

    def on_message_begin(self) -> None:
        """Begin a request, unless it has begun."""
        if not self._told:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL, unless it is there."""
        if not self._told:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless it is there."""
        if not self._told:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, unless that has begun."""
        if not self._told:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request, but not before its body."""
        if not self.parser.should_upgrade():
            super().on_message_complete()


class _Parser:
    """httptools' parser, in whose place another one comes behind each offer."""

    def __init__(self, protocol: Staying) -> None:
        self._protocol = protocol
        self._parser = protocol.parser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> None:
        """Parse what comes. Raises HttpParserError."""
        left = memoryview(data)
        while left:
            try:
                self._parser.feed_data(left)
            except HttpParserUpgrade as offer:
                left = left[offer.args[0] :]
                self._parser = HttpRequestParser(self._protocol)
                with suppress(AttributeError):  # httptools has it since 0.6.3; the first parser has it from uvicorn
                    self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self._protocol.reread(self._parser)
            else:
                return
