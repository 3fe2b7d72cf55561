"""How long usage per key is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from tintype.v1.settings import Common

from ..errors import StartError

MOST_DAYS = 36_500  # a century


@dataclass(frozen=True, kw_only=True)
class UsageSettings(Common):
    """Settings of usage per key."""

    usage_days: int = field(
        default=400,
        metadata={"help": "days for which usage per key is kept in the data folder (0: no usage is counted)"},
    )

    def check_usage(self) -> None:
        """Raise StartError for an invalid value."""
        if not 0 <= self.usage_days <= MOST_DAYS:
            raise StartError(f"--usage-days must be 0 to {MOST_DAYS}; got {self.usage_days}")
