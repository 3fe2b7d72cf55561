"""Which replica gets a request."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tintype.gateway.upstream.placement import SPREAD_AT, choose


@dataclass
class Fake:
    """A replica with one model: absent, listed, loading or loaded."""

    name: str
    state: str
    in_flight: int = 0
    last_use: int = 0

    def lists(self, _: str) -> bool:
        return self.state != "absent"

    def has_loaded(self, _: str) -> bool:
        return self.state == "loaded"

    def is_loading(self, _: str) -> bool:
        return self.state == "loading"


@pytest.mark.parametrize(
    ("replicas", "chosen"),
    [
        ([Fake("a", "loaded", 2), Fake("b", "loaded", 1)], "b"),
        ([Fake("a", "loaded", 1, 7), Fake("b", "loaded", 1, 3)], "b"),
        ([Fake("a", "listed"), Fake("b", "loaded", SPREAD_AT - 1)], "b"),
        ([Fake("a", "listed"), Fake("b", "loaded", SPREAD_AT)], "a"),
        ([Fake("a", "absent"), Fake("b", "loaded", SPREAD_AT)], "b"),
        ([Fake("a", "listed", 1), Fake("b", "loaded", SPREAD_AT)], "b"),
        ([Fake("a", "loading", 1), Fake("b", "loaded", SPREAD_AT)], "a"),
        ([Fake("a", "loading", SPREAD_AT), Fake("b", "loaded", SPREAD_AT + 1), Fake("c", "listed")], "c"),
        ([Fake("a", "listed", 3), Fake("b", "listed", 1), Fake("c", "absent")], "b"),
        ([Fake("a", "listed"), Fake("b", "loading", 2)], "b"),
        ([Fake("a", "absent", 1), Fake("b", "absent")], "b"),
    ],
)
def test_choices(replicas: list[Fake], chosen: str) -> None:
    """Loaded first, then on the way, then listed; the fewest in flight, then the longest unused; spread when busy."""
    assert choose("m", replicas).name == chosen
