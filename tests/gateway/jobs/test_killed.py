"""A gateway that is killed while jobs run, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.gateway.jobs import Gate, ended, requests_of, submit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway.fakes import FakeService, Service
    from tintype.v1 import image_service_pb2 as pb

pytestmark = pytest.mark.anyio
# A gateway whose jobs are taken over a second after its end, not ten.
SCRIPT = """
import sys
from pathlib import Path
from tintype.gateway.config import GatewayConfig
from tintype.gateway.jobs import runner, store
from tintype.gateway.server import run
store.LEASE, runner.BEAT, runner.IDLE_BEAT = 1.0, 0.2, 0.2
config = GatewayConfig(rest="127.0.0.1:0", grpc=sys.argv[1], data=Path(sys.argv[2]), jobs_running=2)
run(config, ready=lambda url: print(url, flush=True))
"""


@contextlib.asynccontextmanager
async def gateway_process(
    service: Service, data: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """Start a gateway in a process of its own; yield the process and a client, and kill it at the end."""
    command = (sys.executable, "-c", SCRIPT, service.address, str(data))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout
        url = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            yield process, client
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class PromptGates:
    """A service that makes the images of a prompt once its gate is open."""

    def __init__(self) -> None:
        self.gates = {prompt: Gate() for prompt in ("deadly", "other", "last")}

    def open(self, *prompts: str) -> None:
        """Open gates."""
        for prompt in prompts:
            self.gates[prompt].open.set()

    async def __call__(self, request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        async for event in self.gates[request.prompt](request, context):
            yield event


async def kill(process: asyncio.subprocess.Process) -> None:
    """End a process without giving it a chance to clean up."""
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def test_killed_jobs_run_again(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """After kill -9 finished jobs have their results, and the others run with their seeds; none runs a third time.

    Two jobs run in the first process and one is queued. In the second process one of the two ends, then that is killed,
    too. The third process does not run the other one again, as it may be the reason.
    """
    async with gateway_process(service, tmp_path) as (process, client):
        done = await ended(client, (await submit(client))["id"])
        fake.behave = gates = PromptGates()
        jobs = {prompt: await submit(client, {"prompt": prompt}) for prompt in gates.gates}
        await requests_of(fake, 3)
        await kill(process)
    gates.open("other")
    async with gateway_process(service, tmp_path) as (process, client):
        assert await ended(client, done["id"]) == done
        assert (await ended(client, jobs["other"]["id"]))["status"] == "succeeded"
        await requests_of(fake, 6)
        await kill(process)
    gates.open("deadly", "last")
    async with gateway_process(service, tmp_path) as (_, client):
        found = await ended(client, jobs["deadly"]["id"])
        assert (found["status"], found["error"]["reason"]) == ("failed", "JOB_ABANDONED")
        result = await client.get(f"/v1/jobs/{found['id']}/result")
        assert (result.status_code, result.json()["error"]["type"]) == (500, "server_error")
        assert (await ended(client, jobs["last"]["id"]))["status"] == "succeeded"
    made = Counter((request.prompt, request.seed) for request in fake.requests[1:])
    assert made == {(prompt, job["seed"]): 2 for prompt, job in jobs.items()}
