r"""Prompt editing: prompts that change from step to step, in the syntax of AUTOMATIC1111's web UI.

    [from:to:when]   `from` up to step `when`, then `to`
    [to:when]        nothing, then `to`                      [from::when]   `from`, then nothing
    [a|b|c]          a at the first step, b at the second, c at the third, a at the fourth, ...

`when` with a decimal point is a share of the steps (0.5: half of them), otherwise a number of steps. Changes nest.
Other brackets stay in the text, for prompt weights; so do `\[`, `\:` and the other escapes. As in the web UI, colons
and bars inside `( )` do not separate the options of a `[ ]` around it, and `[a:b]` without a number is a weight.

`a AND b` composes two prompts in the web UI. That is not supported: it is read as `a, b`, and the weight of a prompt
(`a :1.2 AND b`) is left out.

In a second pass over an image, steps are counted on, as with the web UI's "Hires. fix": numbers count from the first
step of the first pass, and shares of the second pass begin at 1.

Steps are counted as in the web UI's documentation. Its program counts from 0, and so changes one step later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from .prompt_weights import PromptSyntaxError, check_nesting

MAX_CHANGES = 100
MAX_TEXTS = 64
MAX_CHARACTERS = 64_000
"""Of all texts of one prompt together: each text is encoded, and costs as much as a prompt of its own."""

_SIGN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]++|\\", re.DOTALL)
_WHEN = re.compile(r"\s*+([+-]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][+-]?\d++)?)\s*+")
_AND = re.compile(r"\bAND\b")
_OWN_WEIGHT = re.compile(r"\s*+:\s*+[+-]?(?:\d++\.?+\d*+|\.\d++)$")
MAX_WEIGHT_LENGTH = 32  # characters


@dataclass(frozen=True, slots=True)
class PromptChange:
    """A part of a prompt that has several texts.

    The second follows the first after step `when`; without `when`, the texts alternate.
    """

    options: tuple[PromptParts, ...]
    when: str = ""

    def at(self, step: int, steps: int, earlier: int) -> PromptParts:
        """Return the option at `step`, counted from 1, of `steps`, after a first pass of `earlier` steps."""
        if not self.when:
            return self.options[(step - 1) % len(self.options)]
        when = float(self.when)
        last = (when - (earlier > 0)) * steps if "." in self.when else when - earlier
        return self.options[step > max(min(last, steps), 0)]


PromptParts = tuple["str | PromptChange", ...]


@dataclass(frozen=True, slots=True)
class StepTexts:
    """The distinct texts of a prompt, and for each step the index of its text."""

    texts: tuple[str, ...]
    steps: tuple[int, ...]

    def at(self, step: int) -> int:
        """Return the index of the text at `step`, counted from 0."""
        return self.steps[min(step, len(self.steps) - 1)]


def replace_and(text: str) -> str:
    """Return a prompt with commas in place of AND; weights of the parts before an AND are left out."""
    parts = _AND.split(text)
    if len(parts) == 1:
        return text
    return ", ".join(filter(None, (_without_weight(part).strip() for part in parts)))


def _without_weight(part: str) -> str:
    part = part.rstrip()
    weight = _OWN_WEIGHT.search(part[-MAX_WEIGHT_LENGTH:])
    return part[: len(part) - len(weight[0])] if weight else part


def parse_changes(text: str) -> PromptParts:
    """Return the parts of a prompt: texts, and changes between them. Takes time linear in the text.

    Raises:
        PromptSyntaxError: there are too many changes, or brackets are nested too deeply.
    """
    parser = _ChangeParser()
    for match in _SIGN.finditer(text):
        parser.take(match.group())
    return _merged(parser.items)


def step_texts(parts: PromptParts, steps: int, earlier: int = 0) -> StepTexts:
    """Return the text of a prompt at each of `steps`, after a first pass of `earlier` steps.

    With 0 steps, the text is that of a run of one step.

    Raises:
        PromptSyntaxError: there are too many texts, or they are too long together.
    """
    if not any(isinstance(part, PromptChange) for part in parts):
        return StepTexts(("".join(map(str, parts)),), (0,))
    steps, numbers = max(steps, 1), dict[str, int]()
    each = (_text_at(parts, step, steps, earlier) for step in range(1, steps + 1))
    at = tuple(numbers.setdefault(text, len(numbers)) for text in each)
    size = sum(map(len, numbers))
    if len(numbers) > MAX_TEXTS:
        raise PromptSyntaxError(f"must change to at most {MAX_TEXTS} texts over the steps, not {len(numbers)}")
    if len(numbers) > 1 and size > MAX_CHARACTERS:
        raise PromptSyntaxError(
            f"must have at most {MAX_CHARACTERS} characters in all its texts over the steps, not {size}"
        )
    return StepTexts(tuple(numbers), at)


class _ChangeParser:
    """Collects signs in a flat list, and replaces those of a change when its bracket closes."""

    def __init__(self) -> None:
        self.items: list[str | PromptChange] = []
        self._open: list[tuple[str, int, list[int]]] = []  # bracket, its place, and the places of its separators
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
            raise PromptSyntaxError(f"must change in at most {MAX_CHANGES} places, such as [a:b:0.5] or [a|b]")

    def _change(self, place: int, separators: list[int]) -> PromptChange | None:
        """Return the change between the bracket at `place` and the last sign; None if it is not a change."""
        signs = {self.items[at] for at in separators}
        ends = [*separators, len(self.items) - 1]
        parts = [self.items[first + 1 : end] for first, end in zip([place, *separators], ends, strict=True)]
        if signs == {"|"}:
            return PromptChange(tuple(map(_merged, parts)))
        if signs != {":"} or len(parts) not in (2, 3):
            return None
        *options, last = parts
        when = _WHEN.fullmatch("".join(map(str, last))) if all(isinstance(item, str) for item in last) else None
        before = options[0] if len(options) == 2 else []
        return PromptChange((_merged(before), _merged(options[-1])), when[1]) if when else None


def _merged(items: list[str | PromptChange]) -> PromptParts:
    """Join neighbouring texts."""
    parts: list[str | PromptChange] = []
    for is_text, group in groupby(items, key=lambda item: isinstance(item, str)):
        if is_text:
            parts.append("".join(map(str, group)))
        else:
            parts.extend(group)
    return tuple(parts)


def _text_at(parts: PromptParts, *at: int) -> str:
    return "".join(part if isinstance(part, str) else _text_at(part.at(*at), *at) for part in parts)
