"""Alphas in an adapter's metadata, as PEFT writes them: one for all layers, or one for each pattern of names.

PEFT takes a pattern for a regular expression that matches a layer's whole name or its end after a dot. The first one
that matches applies. diffusers writes the names of layers, thousands in a file; they are looked up, not searched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN = re.compile(r"\^?(?:[\w.-]|\\\.)+")
OPERATORS = re.compile(r"[*+?{|(]")
MAX_OPERATORS, MAX_EXPRESSIONS = 4, 32
"""Limits of one regular expression and of their number: a file must not decide how long matching takes."""


class PeftMetadata:
    """Metadata of an adapter. Its keys begin with the component's name: `unet.lora_alpha`, `unet.alpha_pattern`."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = values or {}
        self._patterns: dict[str, NamePatterns] = {}

    def scale(self, part: str, module: str, rank: int | None) -> float:
        """Return alpha / rank of a module of the component `part`; 1 if there is no alpha.

        `rank` is that of the tensors, None if they have none. Raises ValueError, TypeError, ZeroDivisionError.
        """
        alpha = self._look_up(part, module, "alpha", "lora_alpha", "alpha")
        rank = rank or self._look_up(part, module, "rank", "r")
        if alpha is None or rank is None:
            return 1.0
        return float(alpha) / (rank**0.5 if self._values.get(f"{part}.use_rslora") else rank)

    def _look_up(self, part: str, module: str, key: str, *names: str) -> Any:
        pattern_key = f"{part}.{key}_pattern"
        if pattern_key not in self._patterns:
            self._patterns[pattern_key] = NamePatterns(self._values.get(pattern_key) or {})
        found = self._patterns[pattern_key].find(module)
        general = (self._values[f"{part}.{name}"] for name in names if f"{part}.{name}" in self._values)
        return next(general, None) if found is None else found


class NamePatterns:
    """Values by patterns of layer names. Raises ValueError for an invalid table of patterns."""

    def __init__(self, patterns: Mapping[str, Any]) -> None:
        if not isinstance(patterns, dict):
            raise TypeError("patterns must be a JSON object")
        self._plain: dict[str, tuple[int, Any]] = {}
        self._expressions: list[tuple[int, re.Pattern[str], Any]] = []
        for place, (pattern, value) in enumerate(patterns.items()):
            if PLAIN.fullmatch(pattern):
                self._plain.setdefault(pattern.replace("\\.", "."), (place, value))
            else:
                self._expressions.append((place, _compile(pattern), value))
        if len(self._expressions) > MAX_EXPRESSIONS:
            raise ValueError(
                f"{len(self._expressions)} patterns are regular expressions; the limit is {MAX_EXPRESSIONS}"
            )

    def find(self, module: str) -> Any:
        """Return the value of the first pattern that matches; None if none does."""
        words = module.split(".")
        ends = (f"^{module}", *(".".join(words[n:]) for n in range(len(words))))
        found = [self._plain[end] for end in ends if end in self._plain]
        found += [(place, value) for place, expression, value in self._expressions if expression.match(module)]
        return min(found, key=lambda item: item[0])[1] if found else None


def _compile(pattern: str) -> re.Pattern[str]:
    if len(OPERATORS.findall(pattern)) > MAX_OPERATORS:
        raise ValueError(f"the pattern {pattern[:80]!r} has more than {MAX_OPERATORS} operators")
    try:
        return re.compile(rf"(.*\.)?({pattern})$")
    except re.error as error:
        raise ValueError(f"the pattern {pattern[:80]!r} is invalid: {error}") from None
