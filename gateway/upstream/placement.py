"""Which replica gets a request: pure functions of what is known about the replicas.

- The replicas that have the model in memory come first; among them the one with the fewest requests in flight.
- A model that no replica has goes where it is on its way already, otherwise to the replica that lists it with the
  fewest requests in flight.
- A model spreads to an idle replica when each replica that has it has SPREAD_AT requests in flight.
- A model that no replica lists goes to any of them: that replica's answer says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

SPREAD_AT = 4
"""Requests in flight on each replica that has a model, from which on an idle replica loads it, too.

A service runs about that many images in one batch; fewer requests would wait longer for the load than in the batch.
"""


class Candidate(Protocol):
    """A replica that may get a request. `last_use` grows with each request that it gets."""

    @property
    def in_flight(self) -> int:
        """The number of requests for images that run there."""

    @property
    def last_use(self) -> float:
        """The number of its last request."""

    def lists(self, model: str) -> bool:
        """Whether it has the model on its list."""

    def has_loaded(self, model: str) -> bool:
        """Whether the model is in its memory."""

    def is_loading(self, model: str) -> bool:
        """Whether the model is on its way into its memory."""


C = TypeVar("C", bound=Candidate)


def choose(model: str, replicas: Sequence[C]) -> C:
    """Return the replica for a request. `replicas` must not be empty."""
    listing = [replica for replica in replicas if replica.lists(model)] or replicas
    loaded = [replica for replica in listing if replica.has_loaded(model)]
    if loaded and min(replica.in_flight for replica in loaded) < SPREAD_AT:
        return min(loaded, key=_load)
    warm = [*loaded, *(each for each in listing if each not in loaded and each.is_loading(model))]
    if warm and min(replica.in_flight for replica in warm) < SPREAD_AT:
        return min(warm, key=_load)
    idle = [replica for replica in listing if not replica.in_flight]
    return min(idle or warm or listing, key=_load)


def _load(replica: Candidate) -> tuple[int, float]:
    return replica.in_flight, replica.last_use
