"""A fake service in a process of its own: `python -m tests.support.gateway.fake_replica`; it prints its address.

An image takes half a second. A request with the prompt KILL ends the process as a crash does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.gateway.fakes import QUEUED, make_images, running_service
from tests.support.source import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tintype.v1 import image_service_pb2 as pb

KILL = "kill"


class FakeReplica:
    """A running process and its address."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.address = process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextmanager
def fake_replicas(count: int) -> Iterator[list[FakeReplica]]:
    """Run `count` processes, and kill them at the end."""
    command = [sys.executable, "-m", "tests.support.gateway.fake_replica"]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield [FakeReplica(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


async def _behave(request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    yield QUEUED
    if request.prompt == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.5)
    async for event in make_images(request, context):
        yield event


async def _serve() -> None:
    async with running_service() as service:
        service.fake.behave = _behave
        sys.stdout.write(f"{service.address}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
