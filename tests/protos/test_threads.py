"""Threads for calls that may never return."""

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

SOON = 0.05  # seconds until calls time out
SURELY = 60.0  # seconds until a test fails


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Return an event that stuck calls wait for."""
    event = threading.Event()
    yield event
    event.set()


async def test_results() -> None:
    """A call returns what its function returns, and raises what it raises, including TimeoutError."""
    pool = Threads("test", 2)
    assert await pool.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.call(divmod, 7, 0)

    def late() -> None:
        raise TimeoutError("the disk's")

    with pytest.raises(TimeoutError, match="the disk's"):
        await pool.call(late)


async def test_call_timeout(gate: threading.Event) -> None:
    """A slow call raises CallTimeout and counts as stuck; if all threads are stuck, calls fail at once."""
    pool = Threads("test", 2, SOON)
    for _ in range(2):
        with pytest.raises(CallTimeout):
            await pool.call(gate.wait)
    assert pool.stuck == 2
    begun: list[int] = []
    with pytest.raises(CallTimeout):
        await pool.call(begun.append, 1)
    gate.set()
    while pool.stuck:  # noqa: ASYNC110 - threads set no event
        await asyncio.sleep(0.01)
    assert await asyncio.wrap_future(pool.submit(str, 5)) == "5"  # a slow machine takes longer than SOON
    assert not begun


async def test_call_that_began_late_is_stuck(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that timed out counts as stuck, even if it began later than its caller began to wait."""
    pool = Threads("test", 1, SOON)
    monkeypatch.setattr(threads, "monotonic", lambda: 0.0)  # time stands still
    with pytest.raises(CallTimeout):
        await pool.call(gate.wait)
    assert pool.stuck == 1


async def test_call_that_timed_out_in_the_queue_never_runs(gate: threading.Event) -> None:
    """A call that times out while it waits for a thread never runs."""
    begun: list[int] = []
    pool = Threads("test", 1, SOON)
    results = await asyncio.gather(pool.call(gate.wait), pool.call(begun.append, 1), return_exceptions=True)
    assert [type(result) for result in results] == [CallTimeout, CallTimeout]
    gate.set()
    while pool.stuck:  # noqa: ASYNC110 - threads set no event
        await asyncio.sleep(0.01)
    await asyncio.wrap_future(pool.submit(str, 5))
    assert not begun


async def test_number_of_threads(gate: threading.Event) -> None:
    """Concurrent calls have separate threads up to the maximum; consecutive calls share one."""
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


class PausingQueue(SimpleQueue[Any]):
    """A queue whose first reader pauses between taking an item and returning it, as a preempted thread would."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.going_on = threading.Event(), threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as there
        got = super().get(block, timeout)
        if not self.taken.is_set():
            self.taken.set()
            self.going_on.wait()
        return got


def test_busy_thread_is_not_counted_as_idle() -> None:
    """A call does not wait for a busy thread while another thread may be started."""
    pool = Threads("test", 2)
    pool._work = work = PausingQueue()
    first = pool.submit(str, 1)
    assert work.taken.wait(SURELY)
    assert pool.submit(str, 2).result(SURELY) == "2"
    work.going_on.set()
    assert first.result(SURELY) == "1"


async def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle threads end, and new ones are started for new calls."""
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


def test_stuck_thread_does_not_block_exit() -> None:
    """A stuck thread blocks neither the event loop nor the exit of the process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("ended\n", "")
