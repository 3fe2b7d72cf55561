"""Which model a client's name for one means.

- The table in the configuration maps clients' names to ours. `*` is the default model: as a value, the default model
  itself; as a key, which model that is, in place of the service's own choice.
- OpenAI names new models often, and dates them. A name that begins as its names do means the default model, unless the
  table or the service has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANY = "*"
OPENAI = ("gpt-image-", "dall-e-", "chatgpt-image-")


@dataclass(frozen=True, slots=True)
class Names:
    """The table of names.

    `strict` says that an unknown name is an error. `only` are the models that the caller may use, empty for all.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    strict: bool = True
    only: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        """The default model; empty for the service's own."""
        name = self.aliases.get(ANY, "")
        return "" if name == ANY else name

    def resolve(self, asked: str) -> str:
        """Return our name for what a client asked for; empty for the service's default model."""
        name = self.aliases.get(asked, asked) if asked else ANY
        if asked not in self.aliases and self.only and asked not in self.only and asked.startswith(OPENAI):
            name = ANY
        return self.default if name == ANY else name

    def standing_for(self, models: Sequence[str]) -> dict[str, str]:
        """Return clients' names and the one of `models` that each means; the first of these is the service's default.

        Names that are a model's own, and names of models that are not there, are left out.
        """
        meant = {name: self.resolve(name) or models[0] for name in self.aliases if name != ANY} if models else {}
        return {name: model for name, model in meant.items() if model in models and name not in models}

    def fallback(self, tried: str) -> str | None:
        """Return the model to take after `tried` was not found, or None where that is an error."""
        replaced = not self.strict or tried.startswith(OPENAI)
        return self.default if replaced and tried != self.default else None

    def within(self, models: Sequence[str]) -> Names:
        """Return the table for a caller limited to these models.

        Its default is one of them.
        """
        if not models:
            return self
        default = {} if self.default in models else {ANY: models[0]}
        return replace(self, aliases={**self.aliases, **default}, only=tuple(models))
