"""What a repository says about itself: its licence, whether it is gated, and whether it is an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_README = 1 << 20  # bytes
MOST_LINES = 500  # of a README's front matter
ADAPTER_TAGS = {"lora", "dora", "lycoris"}


@dataclass(frozen=True, slots=True)
class Card:
    """Licence, gating and kind of a repository.

    `gated` is how access is granted, `auto` or `manual`; empty for a repository that is not gated, None if that is
    unknown. `adapter` is the kind of an adapter, such as `lora`, and empty for a model.
    """

    licence: str = ""
    gated: str | None = None
    adapter: str = ""

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> Card:
        """Return the card in the hub's answer about a repository."""
        data, tags = _mapping(info.get("cardData")), set(_texts(info.get("tags")))
        named = next((tag.partition(":")[2] for tag in sorted(tags) if tag.startswith("license:")), "")
        gated = info.get("gated")
        return cls(
            licence=_licence(data) or printable(named, 100),
            gated=printable(str(gated), 20) if gated else "",
            adapter=min(ADAPTER_TAGS & tags, default=""),
        )

    @classmethod
    def from_readme(cls, text: str) -> Card:
        """Return the licence in the front matter of a README; only lines of `key: value` are read."""
        lines = text.splitlines()[:MOST_LINES]
        if not lines or lines[0].strip() != "---":
            return cls()
        pairs = (line.partition(":") for line in lines[1 : _end(lines)] if not line.startswith((" ", "-")))
        return cls(licence=_licence({key.strip(): value.strip().strip("'\"") for key, _, value in pairs}))

    def describe(self, page: str) -> str:
        """Return the licence and the gating in one line."""
        licence = f"licence {self.licence}" if self.licence else f"no licence stated at {page}"
        if self.gated is None:
            return licence
        return licence + (f"; gated: its terms must be accepted at {page}" if self.gated else "; not gated")


def _licence(data: Mapping[str, Any]) -> str:
    """Return the licence; for `other`, the name that the author gave."""
    licences = ", ".join(_texts(data.get("license")))
    own = data.get("license_name")
    return printable(own if licences == "other" and isinstance(own, str) and own else licences, 100)


def _end(lines: list[str]) -> int:
    return next((number for number, line in enumerate(lines) if number and line.strip() == "---"), 0)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> Iterable[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str) and each]
