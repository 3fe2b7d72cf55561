"""Errors for invalid choices, and the comparison of names.

InvalidChoice(ValueError)      .field, .value, .problem
├── UnknownName                no sampler or schedule has this name
├── Incompatible               the name exists, but does not go with the model or with another choice
├── OutOfRange                 a number is outside its limits
└── InvalidSetting             .field is a key of the model's own scheduler_config.json
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches


class InvalidChoice(ValueError):
    """A choice that is not possible: the name of its `field`, its `value`, and a `problem` that says what is right."""

    def __init__(self, field: str, value: object, problem: str) -> None:
        super().__init__(f"{field} {value!r} {problem}")
        self.field = field
        self.value = value
        self.problem = problem


class UnknownName(InvalidChoice):
    """The table has no row of this name."""

    def __init__(self, field: str, value: object, names: Iterable[str]) -> None:
        names = sorted(names)
        close = get_close_matches(canonical_name(str(value)), names, n=1)
        hint = f"did you mean {close[0]!r}? Known" if close else "known"
        super().__init__(field, value, f"is not known; {hint} names: {', '.join(names)}")


class Incompatible(InvalidChoice):
    """A known name that does not go with this model or with another choice."""


class OutOfRange(InvalidChoice):
    """A number outside its limits."""


class InvalidSetting(InvalidChoice):
    """A setting in the model's own scheduler_config.json that is not supported."""


def canonical_name(name: str) -> str:
    """Return the canonical spelling of a name: `DPM++ 2M Karras` becomes `dpmpp_2m_karras`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("++", "pp")).strip("_")


def compact_name(name: str) -> str:
    """Return the key by which spellings are compared: `DPM++ 2M` and `dpmpp-2m` are both `dpmpp2m`."""
    return canonical_name(name).replace("_", "")
