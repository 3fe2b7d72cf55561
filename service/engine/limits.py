"""What the engine may take on at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`queue` jobs may wait; `max_batch` pictures share a call (0: what pays, see `widths`).

    A job climbs one level of priority after every `patience` seconds of waiting; nor does it wait longer for memory
    that a model keeps for its turn.
    """

    queue: int = 64
    max_batch: int = 0
    patience: float = 10.0

    def __post_init__(self) -> None:
        if self.queue < 1:
            raise ValueError(f"--queue must be at least 1, not {self.queue}")
        if self.max_batch < 0:
            raise ValueError(f"--max-batch must be at least 0, not {self.max_batch}")
        if self.patience <= 0:
            raise ValueError(f"patience must be above 0 seconds, not {self.patience}")
