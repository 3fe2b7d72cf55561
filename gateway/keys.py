"""Which key a request over HTTP came with (`tintype.v1.keys` has the keys)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.v1 import keys

from .denials import NoKey, WrongKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tintype.v1.keyfile import Key


class Keys(keys.Keys):
    """The keys of the gateway's clients."""

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
