"""Which model a client's word for one means.

The table in the configuration maps clients' names to ours. `*` is the default model: as a value, "whatever is the
default"; as a key, which one that is, instead of the service's own choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    def standing_for(self, models: Sequence[str]) -> dict[str, str]:
        """Return clients' names and the one of `models` that each means; the first of these is the service's default.

        Names that are a model's own, and names of models that are not there, are left out.
        """
        meant = {name: self.resolve(name) or models[0] for name in self.aliases if name != ANY} if models else {}
        return {name: model for name, model in meant.items() if model in models and name not in models}

    def fallback(self, tried: str) -> str | None:
        """Return the model to take after `tried` was not found, or None where that is an error."""
        return None if self.strict or tried == self.default else self.default

    def within(self, models: Sequence[str]) -> Names:
        """Return the table for one who may use these models only: the default is one of them."""
        if not models or self.default in models:
            return self
        return replace(self, aliases={**self.aliases, ANY: models[0]})
