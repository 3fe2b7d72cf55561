r"""Weights of words in a prompt, in the syntax that AUTOMATIC1111's web UI made common.

    (word)        1.1 times as much      [word]      1.1 times less      ((word))   1.21 times as much
    (word:1.3)    1.3 times as much      \( \) \[ \] \\   the sign itself

Brackets nest, and their weights multiply. One that is never closed holds to the end; one that closes nothing is text.
"""

from __future__ import annotations

import re

Segment = tuple[str, float]

_STEP = 1.1
_SIGN = re.compile(r"\\[()\[\]\\]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[()\[\]]|[^\\()\[\]:]+|[\\:]")
_CLOSES = {")": ("(", _STEP), "]": ("[", 1 / _STEP)}


def parse(text: str) -> list[Segment]:
    """Return a prompt's texts with their weights, in order; neighbours of one weight are one segment."""
    segments: list[Segment] = []
    open_: list[tuple[str, int]] = []  # bracket, and the segment that it stands before

    def close(bracket: str, weight: float) -> bool:
        if not open_ or open_[-1][0] != bracket:
            return False
        _, first = open_.pop()
        segments[first:] = [(words, own * weight) for words, own in segments[first:]]
        return True

    for match in _SIGN.finditer(text):
        sign, number = match.group(), match.group(1)
        if number and close("(", float(number)):
            continue
        if sign in ("(", "["):
            open_.append((sign, len(segments)))
        elif sign not in _CLOSES or not close(*_CLOSES[sign]):
            segments.append((sign[1:] if len(sign) == 2 and sign[0] == "\\" else sign, 1.0))
    while open_:
        bracket = open_[-1][0]
        close(bracket, _STEP if bracket == "(" else 1 / _STEP)
    return _merged(segments)


def _merged(segments: list[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for words, weight in segments:
        if merged and merged[-1][1] == weight:
            words = merged.pop()[0] + words  # noqa: PLW2901 - the one before is part of this one
        merged.append((words, weight))
    return merged or [("", 1.0)]
