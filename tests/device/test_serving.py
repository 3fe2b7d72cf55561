"""The engine on a device: images, cancellation, a model that loads meanwhile, and memory over many requests.

The memory of a software device is memory of this process.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.engine import Engine, Limits
from tintype.service.engine.events import Failed, Finished, Progress
from tintype.service.errors import Cancelled
from tintype.service.images.pixels import to_floats
from tintype.service.job import Job
from tintype.service.models import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tintype.service.engine import Ticket
    from tintype.service.engine.events import Event

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a software device compiles shaders for a minute

LARGEST, MEAN = 4 / 255, 0.5 / 255  # of an image; levels are rounded; in floats llvmpipe showed 0.0016 of 255
REQUESTS = int(os.environ.get("TINTYPE_TEST_REQUESTS", "200"))  # a software device takes two seconds for each
AT_ONCE, ROWS, SIDE = 4, 2, 64
GROWTH = 48 * 2**20  # bytes of memory between the first quarter of the requests and the last
STATM, PAGE = Path("/proc/self/statm"), 4096


@pytest.fixture(scope="module")
def repository(provider: str) -> Iterator[Repository]:
    with Repository(providers=[provider]) as repository:
        assert repository.wait(timeout=600).spec.provider == provider
        yield repository


@pytest.fixture
def engine(repository: Repository) -> Engine:
    return Engine(repository, limits=Limits(max_batch=ROWS))


def job(seed: int = 1, prompt: str = "a red circle", steps: int = 2, scale: float = 3.0) -> Job:
    return Job(prompt=prompt, seed=seed, steps=steps, guidance_scale=scale, width=SIDE, height=SIDE)


def run(engine: Engine) -> list[tuple[Ticket, Event]]:
    """Step until nothing is left to do, and return all events."""
    while engine.step():
        pass
    return engine.collect()


def pixels(events: list[tuple[Ticket, Event]]) -> list[np.ndarray]:
    return [to_floats(event.pixels) for _, event in events if isinstance(event, Finished)]


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """Return the CPU's image."""
    with Repository(providers=["cpu"]) as repository:
        repository.wait(timeout=600)
        engine = Engine(repository)
        engine.admit(job())
        return pixels(run(engine))[0]


def test_an_image_equals_that_of_the_cpu(engine: Engine, reference: np.ndarray) -> None:
    """Text encoder, guided steps and VAE on the device, alone and in a batch."""
    engine.admit(job())
    (alone,) = pixels(run(engine))
    difference = np.abs(alone - reference)
    assert difference.max() <= LARGEST
    assert difference.mean() <= MEAN
    tickets = [engine.admit(job(seed)) for seed in (1, 2)]
    found = {ticket: to_floats(event.pixels) for ticket, event in run(engine) if isinstance(event, Finished)}
    assert np.abs(found[tickets[0]] - reference).max() <= LARGEST
    assert np.abs(found[tickets[1]] - reference).max() > LARGEST


def test_a_cancelled_request_ends(engine: Engine, reference: np.ndarray) -> None:
    """It gets no image; a request in the same batch gets its own, and so does the next one."""
    kept, cancelled = engine.admit(job()), engine.admit(job(seed=2))
    for _ in range(3):  # prompts, and a step
        engine.step()
    engine.cancel(cancelled)
    events = run(engine)
    (failed,) = [event for ticket, event in events if ticket == cancelled and isinstance(event, Failed)]
    assert isinstance(failed.error, Cancelled)
    assert [ticket for ticket, event in events if isinstance(event, Finished)] == [kept]
    assert np.abs(pixels(events)[0] - reference).max() <= LARGEST


def test_a_model_loads_beside_a_running_one(engine: Engine, provider: str, reference: np.ndarray) -> None:
    """Loading in another thread disturbs no call, and the loaded model has the same images."""

    def load() -> None:
        with Repository(providers=[provider]) as other:
            other.wait(timeout=600)
            loaded.append(other.spec().provider)

    loaded: list[str] = []
    thread = Thread(target=load)
    engine.admit(job())
    thread.start()
    events = run(engine)
    thread.join(600)
    assert loaded == [provider]
    assert np.abs(pixels(events)[0] - reference).max() <= LARGEST


@pytest.mark.skipif(not STATM.exists() or REQUESTS < 4 * AT_ONCE, reason="no /proc, or few requests")
@pytest.mark.timeout(3600)
def test_memory_does_not_grow(engine: Engine) -> None:
    """Over REQUESTS requests that differ in prompt, guidance and steps, one in four cancelled, after a warm-up."""
    numbers, held, finished = count(), [], 0
    for _ in range(REQUESTS // AT_ONCE):
        tickets = [engine.admit(mixed_job(next(numbers))) for _ in range(AT_ONCE)]
        events = until_a_step(engine)
        for ticket in tickets[1::AT_ONCE]:
            engine.cancel(ticket)
        finished += len(pixels([*events, *run(engine)]))
        held.append(int(STATM.read_text().split()[1]) * PAGE)
    assert finished == REQUESTS - len(held)
    quarter = len(held) // 4
    assert max(held[-quarter:]) - max(held[:quarter]) <= GROWTH, [size >> 20 for size in held]


def until_a_step(engine: Engine) -> list[tuple[Ticket, Event]]:
    """Step until a request has made progress, and return the events."""
    events: list[tuple[Ticket, Event]] = []
    while not any(isinstance(event, Progress) for _, event in events):
        assert engine.step()
        events += engine.collect()
    return events


def mixed_job(number: int) -> Job:
    """Return a request: two of three prompts are unguided, and the number of rows differs from turn to turn."""
    scale = 3.0 if number // AT_ONCE % 5 == 0 and number % 3 == 0 else 1.0
    return job(seed=number, prompt=f"a red circle {number % 3}", steps=1 if number % 7 else 2, scale=scale)
