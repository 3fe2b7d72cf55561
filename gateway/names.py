"""Which model a client's word for one means.

The table in the configuration maps clients' names to ours. `*` is the default model: as a value, "whatever is the
default"; as a key, which one that is, instead of the service's own choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY = "*"


@dataclass(frozen=True, slots=True)
class Names:
    """The table of names; `strict` says that an unknown name is an error."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    strict: bool = True

    @property
    def default(self) -> str:
        """The default model; empty for the service's own."""
        name = self.aliases.get(ANY, "")
        return "" if name == ANY else name

    def resolve(self, asked: str) -> str:
        """Return our name for what a client asked for; empty for the service's default model."""
        name = self.aliases.get(asked, asked) if asked else ANY
        return self.default if name == ANY else name

    def fallback(self, tried: str) -> str | None:
        """Return the model to take after `tried` was not found, or None where that is an error."""
        return None if self.strict or tried == self.default else self.default
