"""The files of results, and medians and spreads of what they hold."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FOLDER = Path(__file__).parents[1] / "results"
OURS = "tintype"
BUSY = 1.5  # load average per core above which wall times are left out
Run = dict[str, Any]


class Spread(NamedTuple):
    """A median, and the lowest and the highest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of values."""
        return cls(statistics.median(values), min(values), max(values))


class Measure(NamedTuple):
    """A quantity of a run: its title, its value, and whether more is better."""

    title: str
    value: Callable[[Run], float]
    more_is_better: bool = False

    @property
    def is_wall(self) -> bool:
        """Whether other programs on the machine change it."""
        return "CPU" not in self.title and "memory" not in self.title


def _callers(number: int) -> Measure:
    return Measure(
        f"images per second, {number} caller{'s' * (number > 1)}",
        lambda run: run["callers"][str(number)],
        more_is_better=True,
    )


IMPORT = Measure("import, CPU s", lambda run: run["import"]["cpu"])
LOAD = Measure("load, CPU s", lambda run: run["load"]["cpu"])
LOAD_WALL = Measure("load, s", lambda run: run["load"]["wall"])
FIRST = Measure("process start to first image, s", lambda run: run["start to first image"])
FIRST_CPU = Measure(
    "process start to first image, CPU s", lambda run: sum(run[part]["cpu"] for part in ("import", "load", "first"))
)
WARM = Measure("warm image, s", lambda run: statistics.median(each["wall"] for each in run["warm"]))
FIRST_IMAGE_CPU = Measure("first image, CPU s", lambda run: run["first"]["cpu"])
WARM_CPU = Measure("warm image, CPU s", lambda run: statistics.median(each["cpu"] for each in run["warm"]))
RESIDENT = Measure("peak of resident memory, MB", lambda run: run["memory"]["resident"])
ANONYMOUS = Measure("peak of anonymous memory, MB", lambda run: run["memory"]["anonymous"])
CALLERS = tuple(map(_callers, (1, 4, 8)))
MEASURES = (IMPORT, LOAD, FIRST, FIRST_CPU, FIRST_IMAGE_CPU, WARM, WARM_CPU, *CALLERS, RESIDENT, ANONYMOUS)


def read(name: str) -> dict[str, Any]:
    """Return the content of a file of results; empty if it has not been measured."""
    path = FOLDER / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def task(model: str, title: str) -> dict[str, Any] | None:
    """Return the results of one comparison with other libraries."""
    found = (each for each in read("peers").get("tasks", ()) if (each["model"], each["title"]) == (model, title))
    return next(found, None)


def measured(found: Mapping[str, Any]) -> dict[str, list[Run]]:
    """Return the rounds of the sides that were measured."""
    return {side: runs for side, runs in found["sides"].items() if isinstance(runs, list) and runs}


def has(measure: Measure, found: Mapping[str, Any]) -> bool:
    """Return whether the runs have a quantity that means something: on a busy machine, wall times do not."""
    if measure.is_wall and found["machine"]["load"] > BUSY * found["machine"]["cores"]:
        return False
    try:
        measure.value(measured(found)[OURS][0])
    except (KeyError, statistics.StatisticsError):
        return False
    return True


def ratio(found: Mapping[str, Any], side: str, measure: Measure, base: str = OURS) -> Spread | None:
    """Return the spread of a side's ratio to another one, by round; None if one of them was not measured."""
    sides = measured(found)
    if side not in sides or base not in sides:
        return None
    pairs = zip(sides[side], sides[base], strict=False)
    return Spread.of([measure.value(run) / measure.value(other) for run, other in pairs])
