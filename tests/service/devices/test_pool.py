"""The processes of devices: one that does not answer is ended, and one that can't start says why."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.service.devices import FakeDevices, connection_lost
from tintype.service.config import ServiceConfig
from tintype.service.devices import front, pool
from tintype.service.devices.pool import DevicePool, State
from tintype.service.devices.process import child_config
from tintype.service.rpc.listen import ServeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Health:
    """A connection whose process answers `answers` times, and then no more."""

    def __init__(self, answers: int) -> None:
        self.left = answers

    async def is_serving(self) -> bool:
        self.left -= 1
        if self.left < 0:
            raise connection_lost()
        return True

    async def list_models(self) -> Any:
        return type("Models", (), {"models": []})


@pytest.mark.parametrize("answers", [0, 3])
def test_a_process_that_hangs_is_dropped(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    """A process that has not answered its health check for a time is ended; until then it is left alone."""
    monkeypatch.setattr(pool, "HUNG_AFTER", 0.1)
    monkeypatch.setattr(pool, "POLL", 0.01)

    async def scenario() -> Any:
        fakes = FakeDevices(1)
        (device,) = fakes.pool.devices
        health = Health(answers)
        device.connection, device.answered = health, asyncio.get_running_loop().time()  # type: ignore[assignment]
        watch = asyncio.create_task(fakes.pool._watch(device))
        await asyncio.sleep(0.05)
        early = list(fakes.dropped)
        await asyncio.sleep(0.4)
        watch.cancel()
        return early, fakes.dropped[:1], health.left < 0

    assert asyncio.run(scenario()) == ([], ["0"], True)


class Process:
    """A process that announces lines and then ends."""

    pid = 1

    def __init__(self, lines: list[tuple[str, str]]) -> None:
        self.lines = lines

    async def announcements(self) -> AsyncIterator[tuple[str, str]]:
        for line in self.lines:
            yield line

    async def end(self) -> str:
        return "its process was ended by SIGSEGV"


def play(monkeypatch: pytest.MonkeyPatch, *lives: list[tuple[str, str]]) -> list[str]:
    """Let the processes of all devices announce `lives`, one after the other; return the addresses of their sockets."""
    started: list[str] = []

    @asynccontextmanager
    async def device_process(_: object, config: ServiceConfig) -> AsyncIterator[Process]:
        started.append(config.grpc)
        yield Process(lives[len(started) - 1] if len(started) <= len(lives) else [])

    monkeypatch.setattr(pool, "device_process", device_process)
    return started


@pytest.mark.parametrize(
    ("life", "reason"),
    [([("failed", "model x is broken")], "model x is broken"), ([], "its process was ended by SIGSEGV")],
)
def test_a_device_that_can_not_start(monkeypatch: pytest.MonkeyPatch, life: list[tuple[str, str]], reason: str) -> None:
    """The front does not start if a device can't serve, and gives the reason of its process."""
    play(monkeypatch, life)

    async def scenario() -> None:
        async with front.running(ServiceConfig(grpc="127.0.0.1:0", devices="1", providers=("cpu",))):
            pass

    with pytest.raises(ServeError, match=f"^device 0: {reason}$") as caught:
        asyncio.run(scenario())
    assert caught.value.exit_code == 2


def test_a_process_that_the_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system on starting a process is the reason as well."""

    def refuse(*_: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(pool, "device_process", refuse)

    async def scenario() -> None:
        async with front.running(ServiceConfig(grpc="127.0.0.1:0", devices="1", providers=("cpu",))):
            pass

    with pytest.raises(ServeError, match="Resource temporarily unavailable"):
        asyncio.run(scenario())


def test_a_late_error_does_not_end_the_next_process() -> None:
    """A device is dropped for the process that reported the loss, not for the one that was started since."""

    async def scenario() -> list[str]:
        fakes = FakeDevices(1)
        (device,) = fakes.pool.devices
        before, device.connection = device.connection, Health(0)  # type: ignore[assignment]
        DevicePool.drop(fakes.pool, device, "lost", before)
        return [device.state.name, device.problem]

    assert asyncio.run(scenario()) == ["SERVING", ""]


def test_a_process_that_crashes_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each restart waits longer, and has an address of its own; the front stays ready."""
    monkeypatch.setattr(pool, "RESTART_DELAYS", (0.01, 0.02))
    started = play(monkeypatch, [("ready", "")])

    async def scenario() -> None:
        async with front.running(ServiceConfig(grpc="127.0.0.1:0", devices="1", providers=("cpu",))):
            await asyncio.sleep(0.3)

    asyncio.run(scenario())
    assert len(started) >= 4
    assert len(set(started)) == len(started)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"devices": "2", "providers": ("webgpu",)}, "--devices works with the providers"),
        ({"devices": "2", "grpc": "127.0.0.1:99999"}, "--grpc must be HOST:PORT"),
        ({"devices": "2", "threads": -1}, "--threads must be at least 0"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], problem: str) -> None:
    """Settings are checked before a process starts."""

    async def scenario() -> None:
        async with front.start(ServiceConfig(**settings)):
            pass

    with pytest.raises(ServeError, match=problem):
        asyncio.run(scenario())


def test_configuration_of_a_process(tmp_path: Path) -> None:
    """A process has no TLS and no further devices; it accepts the key of the front, and computes on its share."""
    config = ServiceConfig(devices="2", tls_cert=tmp_path, tls_key=tmp_path, tls_client_ca=tmp_path, api_key="public")

    async def scenario() -> Any:
        return await front._pool(config)

    devices = asyncio.run(scenario()).devices
    child = child_config(config, devices[0].spec, tmp_path / "s", "secret")
    assert (child.devices, child.tls_cert, child.tls_key, child.tls_client_ca) == ("", None, None, None)
    assert child.api_key == "secret"
    assert not child.is_open
    assert devices[0].state is State.ENDED
    if devices[0].spec.share:
        assert (child.providers, child.threads) == (("cpu",), devices[0].spec.share.threads)
