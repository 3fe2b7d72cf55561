"""API keys of HTTP requests (`tintype.v1.keys` reads the key file)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.enums import ScopeType

from tintype.v1 import keys

from ..http.browsers import is_open_path
from ..jobs.errors import KeyRemoved
from .rejections import NoKey, WrongKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ASGIApp, Receive, Scope, Send

    from tintype.v1.keyfile import Key


class ClientKeys(keys.Keys):
    """The keys of the gateway's clients."""

    def authenticate(self, headers: Mapping[str, str]) -> Key | None:
        """Return the key of a request; None if no key is required. Raises NoKey, WrongKey."""
        if not self.required:
            return None
        secret = keys.request_key(headers)
        if not secret:
            raise NoKey
        found = self.find(secret)
        if found is None:
            raise WrongKey
        return found

    def of_job(self, name: str) -> Key | None:
        """Return the key that submitted a job; None if no key was required. Raises NoKey, KeyRemoved."""
        if not self.required:
            return None
        if not name:
            raise NoKey
        found = self.named(name)
        if found is None:
            raise KeyRemoved
        return found


class KeyRefresh:
    """ASGI middleware that checks the key file for changes before each request that may need a key."""

    def __init__(self, app: ASGIApp, keys: ClientKeys) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the key file, then call `app`."""
        if scope["type"] == ScopeType.HTTP and not is_open_path(scope["path"]):
            await self._keys.reload()
        await self.app(scope, receive, send)
