"""What a bench measures with clients whose times are known, and what it leaves out when the time is short."""

from __future__ import annotations

import asyncio
import itertools
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tintype.cli.bench import phases, schedule
from tintype.cli.bench.clients import Sample
from tintype.cli.bench.figures import Figures, Rate
from tintype.cli.bench.phases import callers, gateway_in_turns, one_caller
from tintype.cli.bench.report import format_figures, format_report, format_seconds
from tintype.cli.bench.schedule import Schedule, steps_to_measure
from tintype.cli.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

FINDINGS = [
    *(Finding(name, name) for name in ("processor", "cores", "python", "tintype", "onnxruntime", "system")),
    Finding("memory", 2**34, "16 GiB"),
    Finding("limit", 0, "none"),
]


class Clock:
    """A clock that only the client moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class SlowClient:
    """A client each of whose images takes a time by the clock; one image is made at a time."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self.seeds: list[int] = []
        self._lock = asyncio.Lock()

    async def image(self, steps: int, seed: int) -> Sample:
        self.seeds.append(seed)
        async with self._lock:
            await asyncio.sleep(0)
            self.clock.now += self.seconds
        return Sample(self.seconds, 0.1 * self.seconds, 0.02 * self.seconds * steps, 0.2 * self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(phases, "time", SimpleNamespace(perf_counter=found.perf_counter))
    monkeypatch.setattr(schedule, "time", SimpleNamespace(perf_counter=found.perf_counter))
    return found


def cpu_of(clock: Clock) -> Callable[[], float]:
    return lambda: 2 * clock.now


def test_one_caller(clock: Clock) -> None:
    """An image, a step and the rest are measured until the time ends; the CPU time is the mean."""
    found, client = Figures().of(20), SlowClient(clock, 0.5)
    asyncio.run(one_caller(client, found, 5.0, cpu_of(clock)))
    assert found.image.values == [0.5] * 10
    assert found.step.median == pytest.approx(0.01)
    assert found.outside.median == pytest.approx(0.5 * (1 - 0.1 - 0.4 - 0.2))
    assert found.cpu.values == [pytest.approx(1.0)]
    assert found.rates[1].per_second == pytest.approx(2.0)


def test_callers(clock: Clock) -> None:
    """The rate of several callers is over all of their images, without the first round."""
    found, client = Figures().of(4), SlowClient(clock, 0.25)
    asyncio.run(callers(client, found, 4, 9.5))
    assert found.rates[4].images == 32
    assert found.rates[4].per_second == pytest.approx(4.0)
    assert len(client.seeds) == 36
    assert len(set(client.seeds)) == 36


def test_gateway(clock: Clock) -> None:
    """What the gateway adds is the difference of pairs of requests with one seed."""
    found = Figures().of(4)
    service, gateway = SlowClient(clock, 0.25), SlowClient(clock, 0.5)
    asyncio.run(gateway_in_turns(service, gateway, found, 4.0))
    assert found.through_gateway.values == [0.25] * 4
    assert service.seeds == gateway.seeds[2:]


def test_what_does_not_fit_is_left_out(clock: Clock) -> None:
    """A model that is slow has fewer figures, and the report says which are missing."""
    figures, shown = Figures(), list[str]()
    plan = Schedule(60, shown.append, figures.notes.append)
    client = SlowClient(clock, 8.0)
    asyncio.run(plan.measure_steps(client, [figures.of(4)], after=1))
    assert figures.of(4).image.values == [8.0] * 3
    assert figures.of(4).rates.keys() == {1}
    assert [note.partition(" is")[0] for note in figures.notes] == ["4 callers with 4 steps", "8 callers with 4 steps"]
    assert shown == ["1 caller, 4 steps", "4 callers, 4 steps", "8 callers, 4 steps"]
    assert clock.now < 60


@pytest.mark.parametrize(("seconds", "number"), [*itertools.product((0.02, 0.1, 0.3), (1, 3))])
def test_the_time_is_kept(clock: Clock, seconds: float, number: int) -> None:
    """All phases together end in time, and each of them has its share."""
    figures = Figures()
    plan = Schedule(60, lambda _: None, figures.notes.append)
    each = [figures.of(4 * (index + 1)) for index in range(number)]
    asyncio.run(plan.measure_steps(SlowClient(clock, seconds), each))
    assert figures.notes == []
    assert all(found.rates.keys() == {1, 4, 8} for found in each)
    assert clock.now < 60


def test_steps() -> None:
    """The model's own steps and 20 are measured, each once, unless others are named."""
    assert [steps_to_measure((), default) for default in (0, 4, 20)] == [[20], [4, 20], [20]]
    assert steps_to_measure((1, 2), 4) == [1, 2]


def test_report() -> None:
    """The table has medians with ranges and units, leaves out what was not measured, and JSON has the same numbers."""
    figures = Figures(model="m", provider="cpu", load_average=0.25, notes=["a note"])
    figures.first.values = [0.5]
    found = figures.of(4)
    found.image.values, found.rates[1] = [0.1, 0.09, 0.2], Rate(30, 2.0)
    figures.of(20).image.values = [1.5]
    text = format_report(figures, FINDINGS)
    assert "machine   processor, cores cores, 16 GiB, load 0.2 before" in text
    assert "first image  500 ms" in text
    assert "image, 1 caller     100 ms (90.0 ms to 200 ms, 3)  1.50 s" in text
    assert "images/s, 1 caller  15 (30 in 2.0 s)               -" in text
    assert text.endswith("\n\n- a note")
    assert "gateway" not in text
    assert max(map(len, text.splitlines())) < 100
    content = json.loads(format_figures(figures, FINDINGS))
    assert content["by_steps"][0]["image"] == {"median": 0.1, "least": 0.09, "most": 0.2, "count": 3}
    assert content["by_steps"][0]["images_per_second"] == {"1": 15.0}
    assert (content["first"]["median"], content["load"], content["machine"]["memory"]) == (0.5, None, 2**34)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.00012, "0.12 ms"),
        (0.0123, "12.3 ms"),
        (0.999, "999 ms"),
        (-0.002, "-2.00 ms"),
        (1.234, "1.23 s"),
        (99.96, "99.96 s"),
        (123.4, "123 s"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    """Durations have three digits, in milliseconds below a second."""
    assert format_seconds(seconds) == expected
