r"""Prompts that change from step to step.

The syntax is that of AUTOMATIC1111's web UI.

    [from:to:when]   `from` up to step `when`, then `to`
    [to:when]        nothing, then `to`                      [from::when]   `from`, then nothing
    [a|b|c]          a at the first step, b at the second, c at the third, a at the fourth, ...

`when` with a point is a share of the steps (0.5: half of them), otherwise it is a number of steps. Changes nest.
Brackets that are no change stay in the text, for their weights; so do `\[`, `\:` and the other escapes. As there, a
`(` holds its colons and bars to itself, and `[a:b]` without a number is a weight.

`a AND b` composes two prompts there, which is not served: it is read as `a, b`, and a prompt's own weight (`a :1.2 AND
b`) is left out.

In a second pass over an image that was drawn before, steps go on counting, as with the web UI's "Hires. fix": numbers
count the steps of the first pass, and shares of the second pass begin at 1.

The web UI's documentation counts as said here; its program counts from 0 and so changes one step later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from .prompt_weights import Malformed, check_nesting

MAX_CHANGES = 100
MAX_TEXTS = 64
MAX_CHARACTERS = 64_000
"""Of all texts of one prompt together: each is encoded, so they cost as much as prompts of their own."""

_SIGN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]++|\\", re.DOTALL)
_WHEN = re.compile(r"\s*+([+-]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][+-]?\d++)?)\s*+")
_AND = re.compile(r"\bAND\b")
_OWN_WEIGHT = re.compile(r"\s*+:\s*+[+-]?(?:\d++\.?+\d*+|\.\d++)$")
LONGEST_WEIGHT = 32  # characters


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a prompt with several texts.

    They follow each other up to step `when`, or alternate where it is empty.
    """

    options: tuple[Items, ...]
    when: str = ""

    def at(self, step: int, steps: int, earlier: int) -> Items:
        """Return the text at `step` of `steps`, counted from 1.

        A first pass of `earlier` steps may have come before.
        """
        if not self.when:
            return self.options[(step - 1) % len(self.options)]
        when = float(self.when)
        last = (when - (earlier > 0)) * steps if "." in self.when else when - earlier
        return self.options[step > max(min(last, steps), 0)]


Items = tuple["str | Change", ...]


@dataclass(frozen=True, slots=True)
class Texts:
    """The distinct texts of a prompt, and each step's index into them."""

    texts: tuple[str, ...]
    steps: tuple[int, ...]

    def at(self, step: int) -> int:
        """Return the number of the text at `step`, counted from 0."""
        return self.steps[min(step, len(self.steps) - 1)]


def joined(text: str) -> str:
    """Return a prompt with commas for its ANDs, without their weights.

    The weights are those before the ANDs.
    """
    parts = _AND.split(text)
    if len(parts) == 1:
        return text
    return ", ".join(filter(None, (_unweighted(part).strip() for part in parts)))


def _unweighted(part: str) -> str:
    part = part.rstrip()
    weight = _OWN_WEIGHT.search(part[-LONGEST_WEIGHT:])
    return part[: len(part) - len(weight[0])] if weight else part


def read(text: str) -> Items:
    """Return the parts of a prompt, texts and changes in turns.

    The work is linear. Raises Malformed.
    """
    reader = _Reader()
    for match in _SIGN.finditer(text):
        reader.take(match.group())
    return _merged(reader.items)


def texts(items: Items, steps: int, earlier: int = 0) -> Texts:
    """Return the text of a prompt at each of `steps`.

    A first pass of `earlier` steps may have come before. Without steps it is what it is in one.

    Raises Malformed where that is too much.
    """
    if not any(isinstance(item, Change) for item in items):
        return Texts(("".join(map(str, items)),), (0,))
    steps, numbers = max(steps, 1), dict[str, int]()
    each = (_resolved(items, step, steps, earlier) for step in range(1, steps + 1))
    at = tuple(numbers.setdefault(text, len(numbers)) for text in each)
    size = sum(map(len, numbers))
    if len(numbers) > MAX_TEXTS:
        raise Malformed(f"must change to at most {MAX_TEXTS} texts over the steps, not {len(numbers)}")
    if len(numbers) > 1 and size > MAX_CHARACTERS:
        raise Malformed(f"must have at most {MAX_CHARACTERS} characters in all its texts over the steps, not {size}")
    return Texts(tuple(numbers), at)


class _Reader:
    """Collects signs in a flat list.

    Each change is cut out of it when its bracket closes.
    """

    def __init__(self) -> None:
        self.items: list[str | Change] = []
        self._open: list[tuple[str, int, list[int]]] = []  # bracket, its place, and those of its separators
        self._changes = 0

    def take(self, sign: str) -> None:
        """Read one sign."""
        place = len(self.items)
        self.items.append(sign)
        if sign in ("[", "("):
            self._open.append((sign, place, []))
            check_nesting(len(self._open))
        elif sign in (":", "|"):
            if self._open:
                self._open[-1][2].append(place)
        elif sign == ")" and self._open and self._open[-1][0] == "(":
            self._open.pop()
        elif sign == "]" and self._open and self._open[-1][0] == "[":
            self._close(*self._open.pop()[1:])

    def _close(self, place: int, separators: list[int]) -> None:
        change = self._change(place, separators) if separators else None
        if change is None:
            return
        del self.items[place:]
        self.items.append(change)
        self._changes += 1
        if self._changes > MAX_CHANGES:
            raise Malformed(f"must change in at most {MAX_CHANGES} places, such as [a:b:0.5] or [a|b]")

    def _change(self, place: int, separators: list[int]) -> Change | None:
        """Return the change between a bracket and the last sign.

        The bracket is at `place`. None if there is no change.
        """
        signs = {self.items[at] for at in separators}
        ends = [*separators, len(self.items) - 1]
        parts = [self.items[first + 1 : end] for first, end in zip([place, *separators], ends, strict=True)]
        if signs == {"|"}:
            return Change(tuple(map(_merged, parts)))
        if signs != {":"} or len(parts) not in (2, 3):
            return None
        *options, last = parts
        when = _WHEN.fullmatch("".join(map(str, last))) if all(isinstance(item, str) for item in last) else None
        before = options[0] if len(options) == 2 else []
        return Change((_merged(before), _merged(options[-1])), when[1]) if when else None


def _merged(items: list[str | Change]) -> Items:
    """Make one of neighbouring texts."""
    made: list[str | Change] = []
    for is_text, group in groupby(items, key=lambda item: isinstance(item, str)):
        if is_text:
            made.append("".join(map(str, group)))
        else:
            made.extend(group)
    return tuple(made)


def _resolved(items: Items, *at: int) -> str:
    return "".join(item if isinstance(item, str) else _resolved(item.at(*at), *at) for item in items)
