"""`--x` and `--y`: one prompt with each value of one or two flags, for a sheet of columns and rows."""

from __future__ import annotations

import secrets
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from .flags import OF_A_PROMPT

if TYPE_CHECKING:
    from .prompts import Entry

MAX_VALUES, MAX_CELLS = 50, 200
VARIED = ["prompt", *(name for name in OF_A_PROMPT if name != "count")]
NO_SEED = 2**32  # seeds that are chosen are below


class Axis(NamedTuple):
    """A flag by its name, and the values that it takes along one side of a sheet."""

    name: str
    values: list[str]

    @property
    def labels(self) -> list[str]:
        """The label of each value; a prompt is its own label."""
        title = "" if self.name == "prompt" else self.name.replace("_", "-") + " "
        return [f"{title}{value or 'none'}" for value in self.values]


NO_AXIS = Axis("", [""])


def parse_axis(flag: str, text: str | None) -> Axis:
    """Return the axis of NAME=VALUE,...; NO_AXIS without a text. Raises UserError."""
    if text is None:
        return NO_AXIS
    title, equals, rest = text.partition("=")
    name = title.strip().lstrip("-").replace("-", "_")
    if not equals or not rest:
        raise UserError(f"--{flag} must be NAME=VALUE,..., for example steps=4,8,20; got {text!r}")
    if name not in VARIED:
        close = get_close_matches(name, VARIED, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose from: {', '.join(VARIED)}"
        raise UserError(f"--{flag} varies a flag of an image; got {title!r}; {hint}")
    values = [value.strip() for value in rest.split("|" if "|" in rest else ",")]
    if len(values) > MAX_VALUES:
        raise UserError(f"--{flag} has at most {MAX_VALUES} values; got {len(values)}")
    return Axis(name, values)


def vary(entries: list[Entry], x: Axis, y: Axis) -> list[Entry]:
    """Return an entry for each pair of values, row by row, all with the same seed. Raises UserError."""
    if x == y == NO_AXIS:
        return entries
    if len(entries) > 1:
        raise UserError('--x and --y take one prompt; vary it with --y "prompt=a lake|a forest"')
    if entries[0].values["count"] != "1":
        raise UserError("--x and --y make one image for each pair of values; vary the seed with --x seed=1,2,3")
    if x.name == y.name:
        raise UserError(f"--x and --y must vary different flags; both vary {x.name}")
    if (count := len(x.values) * len(y.values)) > MAX_CELLS:
        raise UserError(f"--x and --y make at most {MAX_CELLS} images; got {len(x.values)} x {len(y.values)} = {count}")
    common = {**entries[0].values, "seed": entries[0].values["seed"] or str(secrets.randbelow(NO_SEED))}
    return [
        entries[0]._replace(values=common | _value(x.name, column) | _value(y.name, row))
        for row in y.values
        for column in x.values
    ]


def _value(name: str, text: str) -> dict[str, Any]:
    """Return the value of a flag; several of one that may be repeated are joined by +."""
    if not name:
        return {}
    return {name: [part for part in text.split("+") if part] if OF_A_PROMPT.get(name) else text}
