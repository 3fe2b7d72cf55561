"""A name that somebody typed becomes a row of a table, or an error that says which names there are.

InvalidChoice(ValueError)      .field, .value, and a message that says what would be right
├── UnknownName                no such sampler or schedule
├── Incompatible               it exists, but not beside the other choices or for this model
├── OutOfRange                 a number outside its limits
└── InvalidSetting             .field is the key in the model's own scheduler_config.json
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches


class InvalidChoice(ValueError):
    """Somebody chose what can't be; `field` names the choice and `value` is what was chosen."""

    def __init__(self, field: str, value: object, problem: str) -> None:
        super().__init__(f"{field} {value!r} {problem}")
        self.field = field
        self.value = value
        self.problem = problem


class UnknownName(InvalidChoice):
    """No row of the table has this name."""

    def __init__(self, field: str, value: object, names: Iterable[str]) -> None:
        names = sorted(names)
        close = get_close_matches(canonical_name(str(value)), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        super().__init__(field, value, f"is not known; {hint}known are {', '.join(names)}")


class Incompatible(InvalidChoice):
    """The name is known, but makes no sense with this model or beside the other choices."""


class OutOfRange(InvalidChoice):
    """A number outside its limits."""


class InvalidSetting(InvalidChoice):
    """A setting in the model's own scheduler_config.json that can't be followed."""


def canonical_name(name: str) -> str:
    """Return the one spelling of a name: `DPM++ 2M Karras` becomes `dpmpp_2m_karras`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("++", "pp")).strip("_")


def compact_name(name: str) -> str:
    """Return a name by which spellings are compared: `DPM++ 2M Karras` and `dpmpp-2m_karras` are `dpmpp2mkarras`."""
    return canonical_name(name).replace("_", "")
