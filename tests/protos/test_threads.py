"""Threads that may get stuck."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from tintype.v1 import threads
from tintype.v1.threads import CallTimeout, Threads

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

SOON = 0.05  # seconds that a call may take here
SURELY = 60.0  # seconds after which a test has failed


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What stuck calls wait for."""
    event = threading.Event()
    yield event
    event.set()


async def test_results() -> None:
    """A call gives what its function returns or raises, a TimeoutError of the function included."""
    pool = Threads("test", 2)
    assert await pool.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.call(divmod, 7, 0)

    def late() -> None:
        raise TimeoutError("the disk's")

    with pytest.raises(TimeoutError, match="the disk's"):
        await pool.call(late)


async def test_stuck(gate: threading.Event) -> None:
    """A call that takes too long is given up, counted while it lasts, and not waited for when all threads are stuck."""
    pool = Threads("test", 2, SOON)
    for _ in range(2):
        with pytest.raises(CallTimeout):
            await pool.call(gate.wait)
    assert pool.stuck == 2
    begun: list[int] = []
    with pytest.raises(CallTimeout):
        await pool.call(begun.append, 1)
    gate.set()
    while pool.stuck:  # noqa: ASYNC110 - a thread can't call us
        await asyncio.sleep(0.01)
    assert await asyncio.wrap_future(pool.submit(str, 5)) == "5"  # however long the machine takes
    assert not begun


async def test_begun_late(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was given up is stuck, also if it began later than its caller to wait."""
    pool = Threads("test", 1, SOON)
    monkeypatch.setattr(threads, "monotonic", lambda: 0.0)  # all of it at one time
    with pytest.raises(CallTimeout):
        await pool.call(gate.wait)
    assert pool.stuck == 1


async def test_given_up_before_it_began(gate: threading.Event) -> None:
    """A call that waits in vain for a thread never runs."""
    begun: list[int] = []
    pool = Threads("test", 1, SOON)
    results = await asyncio.gather(pool.call(gate.wait), pool.call(begun.append, 1), return_exceptions=True)
    assert [type(result) for result in results] == [CallTimeout, CallTimeout]
    gate.set()
    while pool.stuck:  # noqa: ASYNC110 - a thread can't call us
        await asyncio.sleep(0.01)
    await asyncio.wrap_future(pool.submit(str, 5))
    assert not begun


async def test_as_many_as_needed(gate: threading.Event) -> None:
    """Calls at the same time have threads of their own up to the bound, and one after the other share one."""
    pool = Threads("test-many", 3)

    def alive() -> int:
        return sum(thread.name == "test-many" for thread in threading.enumerate())

    for _ in range(5):
        await pool.call(str)
        await asyncio.sleep(SOON)  # until the thread waits again
    assert alive() == 1
    waiting = [asyncio.create_task(pool.call(gate.wait)) for _ in range(5)]
    await asyncio.sleep(SOON)
    assert alive() == 3
    gate.set()
    assert await asyncio.gather(*waiting) == [True] * 5


class Pausing(SimpleQueue[Any]):
    """A queue whose first reader stops between having something and returning it, as the system may stop a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.going_on = threading.Event(), threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as there
        got = super().get(block, timeout)
        if not self.taken.is_set():
            self.taken.set()
            self.going_on.wait()
        return got


def test_a_thread_that_has_just_taken_a_call() -> None:
    """A call never waits for a thread that has another call already, while there may be more threads."""
    pool = Threads("test", 2)
    pool._work = work = Pausing()
    first = pool.submit(str, 1)
    assert work.taken.wait(SURELY)
    assert pool.submit(str, 2).result(SURELY) == "2"
    work.going_on.set()
    assert first.result(SURELY) == "1"


async def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads without work end by themselves, and new ones come when there is work again."""
    monkeypatch.setattr(threads, "IDLE", SOON)
    pool = Threads("test-idle", 2)
    assert await pool.call(str, 1) == "1"
    while any(thread.name == "test-idle" for thread in threading.enumerate()):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    assert await pool.call(str, 2) == "2"


SCRIPT = """
import asyncio, threading
from tintype.v1.threads import Threads

async def main():
    asyncio.get_running_loop().set_default_executor(Threads("work", 2))
    task = asyncio.create_task(asyncio.to_thread(threading.Event().wait))
    await asyncio.sleep(0.1)
    task.cancel()

asyncio.run(main())
print("ended", flush=True)
"""


def test_the_end() -> None:
    """A stuck thread keeps neither the event loop nor the process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("ended\n", "")
