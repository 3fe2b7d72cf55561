"""Two devices, shares of this machine's CPU, as real processes behind one address, with the built-in model.

Each call computes one row: with several, the last bit of a pixel may depend on the others in its batch.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tintype.service.config import ServiceConfig
from tintype.service.server import running
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="uses Unix sockets and signals")]

PATIENCE = 60  # seconds
FRONT = """
import logging, sys
from tintype.service import ServiceConfig, run
logging.basicConfig()
logging.getLogger("tintype").setLevel(logging.DEBUG)
config = ServiceConfig(grpc="127.0.0.1:0", devices="2", providers=("cpu",), threads=1, max_batch=1, grace=1,
                       metrics="127.0.0.1:0")
run(config, on_ready=lambda address: print(address, "numpy" in sys.modules, flush=True))
"""


class Front:
    """A running front: its process, its log, and a stub."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log
        assert process.stdout is not None
        self.address, self.imports_numpy = process.stdout.readline().split()
        self.channel = grpc.insecure_channel(self.address)
        self.stub: Any = pb_grpc.ImageServiceStub(self.channel)

    def log(self) -> str:
        return self._log.read_text()

    def device_processes(self) -> list[int]:
        """Return the newest process of each device."""
        found = re.findall(r"device (\S+) .*serves, in process (\d+)", self.log())
        return [int(pid) for _, pid in sorted(dict(found).items())]

    def device_of_last_call(self) -> int:
        return int(re.findall(r"id=\S+ goes to device (\d+)", self.log())[-1])

    def devices_of_calls(self) -> list[str]:
        return re.findall(r"device=(\S+) status=OK", self.log())

    def wait_for(self, text: str) -> None:
        self.wait_until(lambda: re.search(text, self.log()))

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)


@contextmanager
def running_front(folder: Path) -> Iterator[Front]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", FRONT], stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        try:
            yield Front(process, folder / "log")
        finally:
            process.kill()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_front(tmp_path_factory.mktemp("front")) as started:
        yield started


def request(**fields: Any) -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(**{"prompt": "a red house", "width": 64, "height": 64, "steps": 3, **fields})


def files(response: pb.GenerateImagesResponse) -> list[tuple[int, bytes]]:
    return [(image.seed, image.data) for image in response.images]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_images_are_those_of_one_device(front: Front) -> None:
    """A seed gives the file that a service with one device makes; the front itself computes nothing."""
    wanted = request(seed=11, count=2)

    async def on_one_device() -> Any:
        async with (
            running(ServiceConfig(grpc="127.0.0.1:0", threads=1, max_batch=1)) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            return await pb_grpc.ImageServiceStub(channel).GenerateImages(wanted)

    assert files(front.stub.GenerateImages(wanted)) == files(asyncio.run(on_one_device()))
    assert front.imports_numpy == "False"


def test_both_devices_work(front: Front) -> None:
    """Requests at the same time run on both devices, and each gets its own images."""
    alone = {seed: files(front.stub.GenerateImages(request(seed=seed))) for seed in (1, 2)}
    before = len(front.devices_of_calls())
    seeds = [1, 2, 1, 2]
    with ThreadPoolExecutor(len(seeds)) as pool:
        together = list(pool.map(lambda seed: files(front.stub.GenerateImages(request(seed=seed))), seeds))
    assert together == [alone[seed] for seed in seeds]
    front.wait_until(lambda: len(front.devices_of_calls()) == before + len(seeds))
    # A request that an idle device has taken over has both in its line.
    assert set(",".join(front.devices_of_calls()[before:]).split(",")) == {"0", "1"}


def test_metrics_of_all_devices(front: Front) -> None:
    """The front exports what each of its devices has measured, with the device as a label."""
    front.stub.GenerateImages(request())
    (url,) = re.findall(r"serving metrics on (\S+)", front.log())
    text = httpx.get(url).text
    for device in ("0", "1"):
        assert f'tintype_service_device_up{{device="{device}"}} 1.0' in text
        assert f'tintype_service_models_loaded{{device="{device}"}} 1.0' in text
        assert f'tintype_service_images_total{{device="{device}",model="tintype-demo"}}' in text
    assert 'tintype_service_requests_total{call="GenerateImages",status="OK"}' in text


def test_models_and_health(front: Front) -> None:
    """The list names the devices that have the default model, which is loaded everywhere; health and errors pass."""
    (model,) = front.stub.ListModels(pb.ListModelsRequest()).models
    assert (model.is_default, model.state, list(model.devices)) == (True, pb.MODEL_STATE_LOADED, ["0", "1"])
    health = health_pb2_grpc.HealthStub(front.channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        front.stub.GenerateImages(request(steps=900))
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "900" in error.details()
    assert "grpc-status-details-bin" in dict(error.trailing_metadata())


def test_cancelling_reaches_the_device(front: Front) -> None:
    """The work of a cancelled call ends: a request on each device is done long before that work would be."""
    wanted = pb.StreamImagesRequest(generation=request(steps=150, count=10))
    for call in [front.stub.StreamImages(wanted) for _ in range(2)]:
        next(event for event in call if event.HasField("progress"))
        call.cancel()
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda seed: front.stub.GenerateImages(request(seed=seed), timeout=PATIENCE), (1, 2)))
    assert [len(response.images) for response in done] == [1, 1]
    assert max(response.timings.queue.ToMilliseconds() for response in done) < 5_000
    front.wait_for("status=CANCELLED")


def test_a_killed_device(front: Front) -> None:
    """The client of a device that is killed gets the same files, without an error; the device comes back."""
    wanted = pb.StreamImagesRequest(generation=request(seed=5, count=2, steps=6), previews=pb.Previews(count=2))
    undisturbed = list(front.stub.StreamImages(wanted))
    events = []
    for event in front.stub.StreamImages(wanted):
        events.append(event)
        if sum(each.HasField("progress") for each in events) == 4 and event.HasField("progress"):
            lost = front.device_of_last_call()
            os.kill(front.device_processes()[lost], signal.SIGKILL)
    assert contents(events) == contents(undisturbed)
    steps, expected = (
        sorted((event.progress.index, event.progress.step) for event in each if event.HasField("progress"))
        for each in (events, undisturbed)
    )
    assert steps == expected
    front.wait_for(rf"device {lost}: its process was ended by SIGKILL; starting it again in 1 s")
    front.wait_for(rf"(?s)starting it again.*device {lost} .*serves, in process")


def contents(events: list[pb.StreamImagesResponse]) -> Any:
    """Return images and previews, sorted, and the usage."""
    images = sorted((event.image.index, event.image.seed, event.image.data) for event in events if event.image.data)
    previews = sorted(
        (event.preview.index, event.preview.step, event.preview.data) for event in events if event.preview.data
    )
    return images, previews, events[-1].completed.usage


def test_interrupting_ends_every_process(front: Front) -> None:
    """Ctrl-C ends the front with success, and no process of a device is left; these ignore a signal of their own."""
    pids = front.device_processes()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    assert len(front.stub.GenerateImages(request(seed=1)).images) == 1
    assert all(map(is_alive, pids))
    front.process.send_signal(signal.SIGINT)
    assert front.process.wait(PATIENCE) == 0
    assert not any(map(is_alive, pids))
