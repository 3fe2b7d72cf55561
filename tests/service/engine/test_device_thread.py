"""The device thread and asyncio event loops, in real time."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from tests.support.engine.exact import Bench, ExactModel, Shelf, spec
from tintype.service.engine import DeviceThread, Engine, Limits, device_thread
from tintype.service.engine.device_thread import HANG_FACTOR, MAX_PREVIEWS, EventBuffer, Heartbeat
from tintype.service.engine.events import Completed, Event, Failed, Finished, Preview, Progress, Queued
from tintype.service.errors import DeadlineExceeded, GenerationFailed, InvalidField, QueueFull, Unavailable
from tintype.service.job import Job

Test = Callable[[DeviceThread, ExactModel], Coroutine[Any, Any, None]]


def on_device(test: Test, **limits: int) -> None:
    """Run `test` on a device thread whose model calls take no time."""
    model = ExactModel()
    engine = Engine(Shelf(model), limits=Limits(**limits))  # type: ignore[arg-type]

    async def main() -> None:
        with DeviceThread(engine) as device:
            await asyncio.wait_for(test(device, model), 20)

    asyncio.run(main())
    assert not engine.busy
    assert not [thread for thread in threading.enumerate() if thread.name == "tintype-device"]


async def all_of(device: DeviceThread, prompt: str = "a lake", **job: Any) -> list[Event]:
    async with aclosing(device.events(Job(prompt=prompt, **job))) as events:
        return [event async for event in events]


async def until_idle(device: DeviceThread) -> None:
    """Wait until the engine has no live task."""
    while device._engine.busy:  # noqa: ASYNC110 - a test
        await asyncio.sleep(0.005)


class Gate:
    """Blocks denoiser calls until it is opened."""

    def __init__(self, model: ExactModel) -> None:
        self.entered, self._open = threading.Event(), threading.Event()
        model.on_call = self._wait

    def _wait(self, name: str, _rows: int) -> None:
        if name == "denoise":
            self.entered.set()
            assert self._open.wait(10)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)

    def open(self) -> None:
        self._open.set()


def test_events_reach_the_event_loop() -> None:
    """Events arrive in order, from admission to Completed, and then the generator ends."""

    async def test(device: DeviceThread, _model: ExactModel) -> None:
        events = await all_of(device, steps=3)
        assert isinstance(events[0], Queued)
        assert [type(event) for event in events[-2:]] == [Finished, Completed]

    on_device(test)


def test_a_deadline_ends_a_task_during_a_unit() -> None:
    """Tasks learn of a passed deadline at once, during their own call, which is stopped, or another one."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        running = asyncio.create_task(all_of(device, steps=2, deadline=time.monotonic() + 0.5))
        await gate.reached()
        waiting = await all_of(device, steps=2, seed=2, deadline=time.monotonic() + 0.1)
        for reported in (waiting, await running):
            assert isinstance(reported[-1], Failed)
            assert isinstance(reported[-1].error, DeadlineExceeded)
        assert model.stops == 1
        gate.open()
        await until_idle(device)

    on_device(test)


def test_concurrent_tasks_get_their_own_events() -> None:
    """Each of twenty concurrent jobs gets the images of its own seeds."""

    async def test(device: DeviceThread, _model: ExactModel) -> None:
        reported = await asyncio.gather(*(all_of(device, seed=n, count=1 + n % 3, steps=2) for n in range(20)))
        for n, events in enumerate(reported):
            seeds = sorted(event.seed for event in events if isinstance(event, Finished))
            assert seeds == [n + k for k in range(1 + n % 3)]

    on_device(test)


def test_a_refused_job_raises_before_any_event() -> None:
    """A refused job raises before any event and leaves nothing behind."""

    async def test(device: DeviceThread, _model: ExactModel) -> None:
        with pytest.raises(InvalidField):
            await all_of(device, sampler="nothing")
        assert not device._buffers

    on_device(test)


def test_closing_the_generator_cancels() -> None:
    """A closed generator releases everything before the next step."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        async with aclosing(device.events(Job(prompt="a lake", steps=150))) as events:
            await anext(events)
            await gate.reached()
        gate.open()
        await until_idle(device)
        assert len(model.timesteps) == 1
        assert not device._buffers

    on_device(test)


def test_cancelling_the_asyncio_task_cancels_the_job() -> None:
    """This is how an RPC ends when its client disconnects."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        waiting = asyncio.create_task(all_of(device, steps=150))
        await gate.reached()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.open()
        await until_idle(device)
        assert len(model.timesteps) == 1

    on_device(test)


def test_a_failed_job_ends_with_its_error() -> None:
    """The last event carries the error, and the next job is served."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        def fail(_name: str, _rows: int) -> None:
            model.on_call = lambda _name, _rows: None
            raise RuntimeError("once")

        model.on_call = fail
        last = (await all_of(device))[-1]
        assert isinstance(last, Failed)
        assert isinstance(last.error, GenerationFailed)
        assert isinstance((await all_of(device))[-1], Completed)

    on_device(test)


def test_the_thread_survives_a_fault_of_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    """Running tasks end with an error, waiting tasks continue, and the exception is logged."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        running = asyncio.create_task(all_of(device, seed=1, steps=3, priority=1))
        await gate.reached()
        waiting = asyncio.create_task(all_of(device, seed=2, steps=3))
        await asyncio.sleep(0.01)
        engine, whole = device._engine, device._engine.step

        def step() -> bool:
            engine.step = whole  # type: ignore[method-assign]
            raise ZeroDivisionError("a mistake in the engine")

        engine.step = step  # type: ignore[method-assign]
        gate.open()
        last = (await running)[-1]
        assert isinstance(last, Failed)
        assert "a mistake in the engine" in str(last.error)
        assert isinstance((await waiting)[-1], Completed)

    on_device(test, max_batch=1)
    assert "a mistake in the engine" in caplog.text


def test_a_slow_reader_gets_every_image() -> None:
    """A reader that pauses gets the newest progress, every image and the last event, in a bounded buffer."""

    async def test(device: DeviceThread, _model: ExactModel) -> None:
        async with aclosing(device.events(Job(prompt="a lake", steps=50, count=4, seed=1))) as events:
            await anext(events)
            await until_idle(device)
            await asyncio.sleep(0.05)
            rest = [event async for event in events]
        assert len(rest) <= 4 + 4 + 2
        assert sorted(event.seed for event in rest if isinstance(event, Finished)) == [1, 2, 3, 4]
        assert {(event.index, event.step) for event in rest if isinstance(event, Progress)} == {
            (k, 50) for k in range(4)
        }
        assert isinstance(rest[-1], Completed)

    on_device(test)


def test_draining_lets_running_jobs_end() -> None:
    """New jobs are refused, running ones finish, and drain returns after the last."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        running = asyncio.create_task(all_of(device))
        await gate.reached()
        drained = asyncio.create_task(device.drain(10))
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await all_of(device)
        assert not drained.done()
        gate.open()
        await drained
        assert isinstance((await running)[-1], Completed)

    on_device(test)


def test_draining_fails_tasks_after_the_grace_period() -> None:
    """Tasks that take longer end with Unavailable."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        running = asyncio.create_task(all_of(device, steps=150))
        await gate.reached()
        began = time.monotonic()
        await device.drain(0.05)
        assert time.monotonic() - began < 5
        gate.open()
        last = (await running)[-1]
        assert isinstance(last, Failed)
        assert isinstance(last.error, Unavailable)

    on_device(test)


def test_an_idle_device_drains_at_once() -> None:
    """Draining an idle device does not wait."""

    async def test(device: DeviceThread, _model: ExactModel) -> None:
        began = time.monotonic()
        await device.drain(10)
        assert time.monotonic() - began < 5

    on_device(test)


def test_closing_fails_all_tasks() -> None:
    """Tasks end with Unavailable, and the thread ends (checked by on_device)."""
    model = ExactModel()

    async def main() -> None:
        device = DeviceThread(Engine(Shelf(model)))  # type: ignore[arg-type]
        gate = Gate(model)
        running = asyncio.create_task(all_of(device, steps=150))
        await gate.reached()
        threading.Timer(0.02, gate.open).start()
        await asyncio.to_thread(device.close)
        last = (await running)[-1]
        assert isinstance(last, Failed)
        assert isinstance(last.error, Unavailable)

    asyncio.run(main())


def test_the_thread_polls_for_a_loading_model() -> None:
    """The thread polls while a task waits for a model."""
    model = ExactModel(spec())
    shelf = Shelf(model)
    shelf.absent.add("exact")

    async def main() -> None:
        with DeviceThread(Engine(shelf)) as device:  # type: ignore[arg-type]
            waiting = asyncio.create_task(all_of(device))
            await asyncio.sleep(0.05)
            shelf.absent.clear()
            assert isinstance((await asyncio.wait_for(waiting, 10))[-1], Completed)

    asyncio.run(main())


def test_an_idle_device_sleeps() -> None:
    """Without tasks the thread takes no steps."""

    async def test(device: DeviceThread, _model: ExactModel) -> None:
        await all_of(device)
        await asyncio.sleep(0.05)
        steps, whole = [], device._step
        device._step = lambda: steps.append(1) or whole()  # type: ignore[method-assign, func-returns-value]
        await asyncio.sleep(0.1)
        assert not steps

    on_device(test)


def test_an_idle_device_rests_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Memory is returned after each time of work, not before one and not again; an error of it is only logged."""
    monkeypatch.setattr(device_thread, "REST", 0.01)
    rests: SimpleQueue[int] = SimpleQueue()

    def rest() -> None:
        rests.put(threading.get_ident())
        raise RuntimeError("no memory to return")

    async def main() -> None:
        with DeviceThread(Engine(Shelf(ExactModel())), rest=rest) as device:  # type: ignore[arg-type]
            for _ in range(2):
                await asyncio.sleep(0.05)
                assert rests.empty()
                assert isinstance((await all_of(device))[-1], Completed)
                assert await asyncio.to_thread(rests.get, timeout=10) == device._thread.ident

    asyncio.run(main())
    assert "no memory to return" in caplog.text


def test_queue_full_is_raised_to_the_caller() -> None:
    """QueueFull is raised to the caller of `events`."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        jobs = [asyncio.create_task(all_of(device, seed=1))]
        await gate.reached()
        jobs.append(asyncio.create_task(all_of(device, seed=2)))
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFull):
            await all_of(device, seed=3)
        gate.open()
        assert all(isinstance(events[-1], Completed) for events in await asyncio.gather(*jobs))

    on_device(test, queue=1)


def test_close_ends_the_thread_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device closed just before its thread clears the wake flag still ends."""
    device = DeviceThread(Bench().engine)
    clear, closing = device._wake.clear, threading.Thread(target=device.close, daemon=True)

    def closed() -> bool:
        return device._closed

    def closed_meanwhile() -> None:
        if not device._closed:
            closing.start()
            while not closed():
                time.sleep(0.001)
            device._wake.wait(10)
        clear()

    monkeypatch.setattr(device._wake, "clear", closed_meanwhile)
    device._wake.set()
    device._thread.join(20)
    assert not device._thread.is_alive()


def test_buffers_keep_the_newest_previews() -> None:
    """The number of buffered previews per image is bounded, and their order is kept."""

    async def main() -> None:
        box, pixels = EventBuffer(), np.zeros((3, 1, 1), np.float32)
        box.put([Preview(n % 2, n // 2, n // 2, pixels) for n in range(40)])
        kept = [await box.get() for _ in range(len(box))]
        assert [(e.index, e.number) for e in kept if isinstance(e, Preview)] == [
            (k, n) for n in range(20 - MAX_PREVIEWS, 20) for k in (0, 1)
        ]

    asyncio.run(main())


def test_a_call_that_does_not_end_hangs() -> None:
    """While a call runs for longer than allowed the device hangs; afterwards it does not."""

    async def test(device: DeviceThread, model: ExactModel) -> None:
        gate = Gate(model)
        task = asyncio.create_task(all_of(device))
        await gate.reached()
        while not device.hangs(0.05):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not device.hangs(3600)
        gate.open()
        await task
        assert not device.hangs(0.05)

    on_device(test)


def test_slow_devices_do_not_hang() -> None:
    """A step counts as hung only after several times the longest one that has ended."""
    heartbeat = Heartbeat()
    assert not heartbeat.hangs(1000, after=10)
    heartbeat.begin(0)
    assert not heartbeat.hangs(10, after=10)
    assert heartbeat.hangs(11, after=10)
    heartbeat.end(20)
    heartbeat.begin(100)
    assert not heartbeat.hangs(100 + 20 * HANG_FACTOR, after=10)
    assert heartbeat.hangs(101 + 20 * HANG_FACTOR, after=10)
