"""Which key a request over HTTP came with (`tintype.v1.keys` has the keys)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.enums import ScopeType

from tintype.v1 import keys

from ..http.browsers import is_open
from .denials import NoKey, WrongKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ASGIApp, Receive, Scope, Send

    from tintype.v1.keyfile import Key


class Keys(keys.Keys):
    """The keys of the gateway's clients."""

    def caller(self, headers: Mapping[str, str]) -> Key | None:
        """Return the key that a request came with.

        It is None if none is required. Raises NoKey, WrongKey.
        """
        if not self.required:
            return None
        secret = keys.sent(headers)
        if not secret:
            raise NoKey
        found = self.find(secret)
        if found is None:
            raise WrongKey
        return found


class Looking:
    """An ASGI application that checks the key file for changes.

    It does so before `app` answers a request that may need a key.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as `app` does."""
        if scope["type"] == ScopeType.HTTP and not is_open(scope["path"]):
            await self._keys.look()
        await self.app(scope, receive, send)
