"""A Ray cluster of two nodes on this machine, for tests that need Ray (`make test-cluster`)."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest

from tests.support.cluster.nodes import HOST, Nodes, free_port, wait_until
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.limits import MESSAGE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

collect_ignore_glob = [] if find_spec("ray") else ["test_*.py"]


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """Two nodes, each with a replica of the built-in model that takes all its cores."""
    both = Nodes()
    try:
        both.deploy("--replicas", "2", "--cpus", "2")
        wait_until(lambda: answers(both.addresses[1]), "the second proxy answers")
        yield both
    finally:
        both.close()


@pytest.fixture(scope="session")
def gateway(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway in front of both proxies."""
    folder = tmp_path_factory.mktemp("gateway")
    address = f"{HOST}:{free_port()}"
    process = start_gateway(folder, address, ",".join(nodes.addresses))
    try:
        wait_until(lambda: is_ready(address), f"the gateway is ready: {(folder / 'log').read_text()}")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)
        print((folder / "log").read_text())  # noqa: T201  # shown if a test fails


@pytest.fixture
def stub(nodes: Nodes) -> Iterator[Callable[[int], pb_grpc.ImageServiceStub]]:
    """Return a function that returns a client of one proxy."""
    channels = [grpc.insecure_channel(address, options=MESSAGE_OPTIONS) for address in nodes.addresses]
    yield lambda number: pb_grpc.ImageServiceStub(channels[number])
    for channel in channels:
        channel.close()


def start_gateway(folder: Path, rest: str, target: str) -> subprocess.Popen[bytes]:
    """Start a gateway in a separate process."""
    flags = ["--ray-serve", "--rest", rest, "--grpc", target, "--data", str(folder), "--grace", "5", "--lame-duck", "0"]
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-P", "-m", "tintype.cli", "gateway", *flags]
        return subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))


def is_ready(address: str) -> bool:
    """Whether a gateway is ready."""
    try:
        return httpx.get(f"http://{address}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def answers(address: str) -> bool:
    """Whether a proxy serves calls."""
    with grpc.insecure_channel(address) as channel:
        try:
            pb_grpc.ImageServiceStub(channel).GetModel(pb.GetModelRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return True
