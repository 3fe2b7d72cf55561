"""Shares: how much work each caller has got, so that none lives at the cost of the others.

Fair queueing (Demers, Keshav & Shenker, 1989): a job's tag is what its caller has got plus what it needs; the smallest
tag goes first. While a job runs, what its caller has got rises by as much as its need falls: tags stand still, and a
job runs on until one with a smaller tag arrives. Short jobs have smaller tags; a caller with many jobs pays for each.

Virtual time is what a caller who was always there has got by now: it rises by the work done, divided by the number of
callers. A caller who arrives starts from it; so absence earns nothing, and everybody's turn comes.
Work is in microseconds, whole numbers, for tags to stand still exactly.
"""

from __future__ import annotations

from collections import Counter


class Shares:
    """What each caller with a living job has got."""

    def __init__(self) -> None:
        self._virtual = 0
        self._got: dict[str, int] = {}
        self._living: Counter[str] = Counter()

    def __getitem__(self, caller: str) -> int:
        return self._got[caller]

    def enter(self, caller: str) -> int:
        """Count one job more of `caller`; return what the caller has got."""
        if caller not in self._living:
            self._got[caller] = max(self._got.get(caller, 0), self._virtual)
        self._living[caller] += 1
        return self._got[caller]

    def leave(self, caller: str) -> None:
        """Count one job less; forget callers from whom nothing can be learnt any more."""
        self._living[caller] -= 1
        self._living += Counter()  # drops those at 0
        if not self._living:
            self._virtual, self._got = 0, {}
        self._got = {name: got for name, got in self._got.items() if name in self._living or got > self._virtual}

    def charge(self, caller: str, work: int) -> None:
        """Note that `work` was done for `caller`, who has a living job."""
        self._got[caller] += work
        self._virtual += work // len(self._living)
