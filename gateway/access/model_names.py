"""Resolution of the model names that clients send.

- The configured table maps clients' names to served models. As a value, `*` means the default model. As a key, it sets
  the default model, which the service chooses otherwise.
- OpenAI often adds models with new, dated names. A name with one of OpenAI's prefixes means the default model, unless
  the table or the service has the name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_NAME = "*"
OPENAI_PREFIXES = ("gpt-image-", "dall-e-", "chatgpt-image-")


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The table of model names.

    With `strict`, an unknown name is an error. `allowed` are the models that the caller may use; empty for all.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    strict: bool = True
    allowed: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        """The default model; empty for the service's own."""
        name = self.aliases.get(DEFAULT_NAME, "")
        return "" if name == DEFAULT_NAME else name

    def resolve(self, name: str) -> str:
        """Return the served model that a client's name means; empty for the service's default model."""
        model = self.aliases.get(name, name) if name else DEFAULT_NAME
        if name not in self.aliases and self.allowed and name not in self.allowed and name.startswith(OPENAI_PREFIXES):
            model = DEFAULT_NAME
        return self.default if model == DEFAULT_NAME else model

    def aliases_of(self, models: Sequence[str]) -> dict[str, str]:
        """Return the aliases of `models`: client's name to model. The first model is the service's default.

        Aliases that are names of models themselves, and aliases of models that are not served, are left out.
        """
        models_by_alias = (
            {name: self.resolve(name) or models[0] for name in self.aliases if name != DEFAULT_NAME} if models else {}
        )
        return {name: model for name, model in models_by_alias.items() if model in models and name not in models}

    def fallback(self, missing: str) -> str | None:
        """Return the model that replaces the unknown model `missing`; None if an unknown name is an error."""
        is_replaceable = not self.strict or missing.startswith(OPENAI_PREFIXES)
        return self.default if is_replaceable and missing != self.default else None

    def limited_to(self, models: Sequence[str]) -> ModelNames:
        """Return the table for a caller that may use only these models; its default is one of them."""
        if not models:
            return self
        default = {} if self.default in models else {DEFAULT_NAME: models[0]}
        return replace(self, aliases={**self.aliases, **default}, allowed=tuple(models))
