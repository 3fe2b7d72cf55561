"""The database of usage: one row for each day, key and model. `tintype usage` reads it without a gateway.

Several gateways of one data folder add to the same rows. Days are of UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

FILE = "usage.db"  # in the data folder
MIGRATIONS = (
    (
        """
        CREATE TABLE usage (
            day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
            requests INTEGER NOT NULL, images INTEGER NOT NULL, pixels INTEGER NOT NULL,
            steps INTEGER NOT NULL, device_microseconds INTEGER NOT NULL,
            PRIMARY KEY (day, key, model)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX usage_by_key ON usage (key, day)",
    ),
)
_ADD = """
    INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (day, key, model) DO UPDATE SET
        requests = requests + excluded.requests, images = images + excluded.images, pixels = pixels + excluded.pixels,
        steps = steps + excluded.steps, device_microseconds = device_microseconds + excluded.device_microseconds
"""
_FIND = """
    SELECT * FROM usage WHERE day >= ? AND day <= ? AND (? OR key = ?) ORDER BY day, key, model
"""


class UsageKey(NamedTuple):
    """What usage is counted by: a day as YYYY-MM-DD, the name of a key (empty without one), and a model."""

    day: str
    key: str
    model: str


@dataclass(slots=True)
class Counts:
    """Work done: requests that made images, images, their pixels, denoiser evaluations, and time on the device."""

    requests: int = 0
    images: int = 0
    pixels: int = 0
    steps: int = 0
    device_microseconds: int = 0

    def add(self, other: Counts) -> None:
        """Add other counts to these."""
        self.requests += other.requests
        self.images += other.images
        self.pixels += other.pixels
        self.steps += other.steps
        self.device_microseconds += other.device_microseconds

    @property
    def megapixels(self) -> float:
        """Pixels of all images, in millions."""
        return self.pixels / 1e6

    @property
    def device_seconds(self) -> float:
        """Time on the device in seconds."""
        return self.device_microseconds / 1e6


def add_counts(connection: sqlite3.Connection, counts: Mapping[UsageKey, Counts]) -> None:
    """Add counts to those in the database."""
    connection.executemany(
        _ADD,
        [
            (*key, each.requests, each.images, each.pixels, each.steps, each.device_microseconds)
            for key, each in counts.items()
        ],
    )


def find_counts(
    connection: sqlite3.Connection, *, since: str, until: str = "9999-12-31", key: str | None = None
) -> Iterable[tuple[UsageKey, Counts]]:
    """Yield the counts from the day `since` to the day `until`, of one key or of all, by day, key and model."""
    for row in connection.execute(_FIND, (since, until, key is None, key)):
        yield UsageKey(*row[:3]), Counts(*row[3:])


def delete_before(connection: sqlite3.Connection, day: str) -> None:
    """Delete the counts of all days before `day`."""
    connection.execute("DELETE FROM usage WHERE day < ?", (day,))
