"""Which key a request over HTTP came with (`tintype.v1.keys` has the keys).

The key file may be on a disk that does not answer. In the application a thread looks at it before each request that
may need a key; if that takes too long, the keys stay as they are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from litestar.enums import ScopeType

from tintype.v1 import keys

from .browsers import is_open
from .denials import NoKey, WrongKey
from .threads import Stuck, Threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ASGIApp, Receive, Scope, Send

    from tintype.v1.keyfile import Key

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds for a look at the file


class Keys(keys.Keys):
    """The keys of the gateway's clients."""

    _thread: Threads | None = None
    _warned = False

    def caller(self, headers: Mapping[str, str]) -> Key | None:
        """Return the key that a request came with; None if none is required. Raises NoKey, WrongKey."""
        if not self.required:
            return None
        secret = keys.sent(headers)
        if not secret:
            raise NoKey
        found = self.find(secret)
        if found is None:
            raise WrongKey
        return found

    async def look(self) -> None:
        """Read the file again in a thread if it has changed; from now on only this method reads it."""
        self._thread = self._thread or Threads("tintype-keys", 1, LOOK)
        try:
            await self._thread.call(super()._refresh)
        except Stuck:
            if not self._warned:
                log.warning("keeping the previous keys: the disk of %s does not answer", self._path)
            self._warned = True
        else:
            self._warned = False

    def _refresh(self) -> None:
        """Read the file again if it has changed, unless `look` does."""
        if self._thread is None:
            super()._refresh()


class Looking:
    """An ASGI application around `app` that looks at the key file before each request that may need a key."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as `app` does."""
        if scope["type"] == ScopeType.HTTP and not is_open(scope["path"]):
            await self._keys.look()
        await self.app(scope, receive, send)
