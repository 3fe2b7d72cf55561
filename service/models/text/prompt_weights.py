r"""Prompt weights, and BREAKs between chunks, in the syntax of AUTOMATIC1111's web UI.

    (word)        1.1 times as much      [word]      1 / 1.1 times as much      ((word))   1.21 times as much
    (word:1.3)    1.3 times as much      \( \) \[ \] \\ \: \|   the sign itself
    BREAK         the following text begins a new chunk of the text encoder

Brackets nest, and their weights are multiplied, the innermost first. A bracket that is never closed extends to the
end of the prompt; a closing bracket without an opening one is text.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter

WeightedText = tuple[str, float]

MAX_NESTING = 50
"""Brackets within brackets. A deeper prompt is a mistake or an attack; 1.1 to this power is already 117."""
MAX_WEIGHT = 1000.0
_STEP = 1.1
# Possessive quantifiers, so that no run of digits or spaces is read twice.
_SIGN = re.compile(
    r"\\[()\[\]\\:|]|:\s*+([+-]?(?:\d++\.?+\d*+|\.\d++))\s*+\)|[()\[\]]|[^\\()\[\]:]++|[\\:]",
)
_CLOSES = {")": ("(", _STEP), "]": ("[", 1 / _STEP)}
_BREAK = re.compile(r"\bBREAK\b")


class PromptSyntaxError(ValueError):
    """An error in a prompt's brackets; the message says what would be right."""


class _Brackets:
    """The brackets of one prompt, numbered as they open; number 0 is the whole text."""

    def __init__(self) -> None:
        self._signs, self._outer, self._weights = [""], [0], [1.0]
        self._depth = 0
        self.at = 0

    def open(self, sign: str) -> None:
        """Enter a bracket, with the weight that it has if it is never closed.

        Raises:
            PromptSyntaxError: brackets are nested too deeply.
        """
        self._depth += 1
        check_nesting(self._depth)
        self._signs.append(sign)
        self._outer.append(self.at)
        self._weights.append(_STEP if sign == "(" else 1 / _STEP)
        self.at = len(self._signs) - 1

    def close(self, sign: str, weight: float) -> bool:
        """Leave the innermost bracket and set its weight; return False if it did not open with `sign`."""
        if self._signs[self.at] != sign:
            return False
        self._weights[self.at] = weight
        self._depth -= 1
        self.at = self._outer[self.at]
        return True

    def weight(self, number: int) -> float:
        """Return the product of the weights of a bracket and of all brackets around it, the innermost first.

        Raises:
            PromptSyntaxError: the product is too large.
        """
        weight = 1.0
        while number:
            weight *= self._weights[number]
            number = self._outer[number]
        if not abs(weight) <= MAX_WEIGHT:
            raise PromptSyntaxError(f"must have weights from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}, not {weight:g}")
        return weight


def check_nesting(depth: int) -> None:
    """Raise PromptSyntaxError if brackets are nested too deeply."""
    if depth > MAX_NESTING:
        raise PromptSyntaxError(
            f"must not nest brackets more than {MAX_NESTING} deep; write \\( or \\[ for the sign itself"
        )


def parse_weights(text: str) -> list[list[WeightedText]]:
    """Return the sections of a prompt between its BREAKs. Takes time linear in the text.

    A section is a list of texts with their weights, in order, at least one. Neighbours of equal weight are joined.

    Raises:
        PromptSyntaxError: brackets are nested too deeply, or a weight is too large.
    """
    brackets = _Brackets()
    sections: list[list[tuple[str, int]]] = [[]]
    for match in _SIGN.finditer(text):
        sign, number = match.group(), match.group(1)
        if number and brackets.close("(", float(number)):
            continue
        if sign in ("(", "["):
            brackets.open(sign)
        elif sign not in _CLOSES or not brackets.close(*_CLOSES[sign]):
            first, *more = _split_at_breaks(sign[1:] if len(sign) == 2 and sign[0] == "\\" else sign)
            sections[-1].append((first, brackets.at))
            sections += [[(words, brackets.at)] for words in more]
    weights = {number: brackets.weight(number) for section in sections for _, number in section}
    return [_merged([(words, weights[number]) for words, number in section]) for section in sections]


def _split_at_breaks(words: str) -> list[str]:
    """Split a text at its BREAKs, and remove the space around them."""
    parts = _BREAK.split(words)
    last = len(parts) - 1
    return [_stripped(part, left=at > 0, right=at < last) for at, part in enumerate(parts)]


def _stripped(part: str, *, left: bool, right: bool) -> str:
    part = part.lstrip() if left else part
    return part.rstrip() if right else part


def _merged(texts: list[WeightedText]) -> list[WeightedText]:
    groups = groupby(texts, key=itemgetter(1))
    return [("".join(words for words, _ in group), weight) for weight, group in groups] or [("", 1.0)]
