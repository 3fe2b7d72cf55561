"""Certificates of the service are renewed without a restart."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.support.certificates import make_certificates
from tests.support.service.fakes import FakeDevice, FakeRepository
from tintype.service.config import ServiceConfig
from tintype.service.rpc import certificates
from tintype.service.server import start
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def channel(address: str, folder: Path, own: Path | None = None) -> grpc.aio.Channel:
    pair = ((own / "key.pem").read_bytes(), (own / "cert.pem").read_bytes()) if own else (None, None)
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *pair)
    return grpc.aio.secure_channel(address.replace("127.0.0.1", "localhost"), credentials)


async def answers(connection: grpc.aio.Channel) -> bool:
    try:
        await pb_grpc.ImageServiceStub(connection).ListModels(pb.ListModelsRequest(), timeout=30)
    except grpc.aio.AioRpcError:
        return False
    return True


@pytest.mark.parametrize("mutual", [False, True])
async def test_renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mutual: bool) -> None:
    """New files, also of the CA of clients, are used for new connections; open ones go on.

    While certificate and key don't match, the previous ones are used.
    """
    monkeypatch.setattr(certificates, "CHECK_INTERVAL", 0.0)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        make_certificates(tmp_path / name)
    old, new, used = tmp_path / "old", tmp_path / "new", tmp_path / "used"
    shutil.copytree(old, used)
    config = ServiceConfig(
        grpc="127.0.0.1:0",
        data=tmp_path / "data",
        tls_cert=used / "cert.pem",
        tls_key=used / "key.pem",
        tls_client_ca=used / "ca.pem" if mutual else None,
    )
    own, renewed = (old, new) if mutual else (None, None)
    repository, device = FakeRepository(), FakeDevice()
    async with start(config, repository=repository, device=device) as server:  # type: ignore[arg-type]  # noqa: SIM117
        async with channel(server.address, old, own) as first:
            assert await answers(first)
            shutil.copy(new / "cert.pem", used)
            async with channel(server.address, old, own) as mismatch:
                assert await answers(mismatch)
            shutil.copy(new / "key.pem", used)
            shutil.copy(new / "ca.pem", used)
            async with channel(server.address, new, renewed) as second, channel(server.address, old, own) as late:
                assert await answers(second)
                assert not await answers(late)
            assert await answers(first)
