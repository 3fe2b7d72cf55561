"""The setting `devices`: a number, `all`, or names."""

from __future__ import annotations

import re
from dataclasses import dataclass

ALL = "all"
MOST = 64
EXPECTED = f"a number from 1 to {MOST}, all, or names separated by commas, for example 0,1"
_NAME = re.compile(r"\w[\w.:/-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Choice:
    """The devices that a setting means: those with `names`, the first `count`, or all that there are."""

    names: tuple[str, ...] = ()
    count: int = 0

    @property
    def is_all(self) -> bool:
        """Whether all devices are meant."""
        return not self.names and not self.count


def parse_choice(text: str) -> Choice:
    """Return the devices that `text` means. A number alone is a count; before a comma it is a name, also in `1,`.

    Raises ValueError.
    """
    text = text.strip()
    if text == ALL:
        return Choice()
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST:
        return Choice(count=int(text))
    names = tuple(name.strip() for name in text.removesuffix(",").split(","))
    valid = len(set(names)) == len(names) <= MOST and all(map(_NAME.fullmatch, names))
    if not valid or text.isdigit():
        raise ValueError(f"must be {EXPECTED}; got {text[:80]!r}")
    return Choice(names)
