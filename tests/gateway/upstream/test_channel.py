"""The connection to the service: credentials of each call, and why a connection failed."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.certificates import make_certificates
from tests.support.gateway.fakes import (
    PATH,
    FakeService,
    Refusal,
    Service,
    config,
    running_gateway,
    running_service,
)
from tintype.gateway.errors import ServiceError, StartError
from tintype.gateway.upstream.channel import HANDSHAKE_FAILED, Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.v1 import certificates
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("pems"))


@asynccontextmanager
async def tls_service(pems: Path, *, mutual: bool) -> AsyncIterator[str]:
    """Run a fake service with TLS at `localhost`; yield its port. With `mutual` it requires a client certificate."""
    pair = ((pems / "key.pem").read_bytes(), (pems / "cert.pem").read_bytes())
    ca = (pems / "ca.pem").read_bytes() if mutual else None
    async with running_service(credentials=grpc.ssl_server_credentials([pair], ca, mutual)) as service:
        yield service.address.rpartition(":")[2]


async def connection_problem(route: Route) -> str:
    """Return why the service can't be reached; try again where a time limit of a busy machine hides the reason."""
    reason = ""
    for _ in range(10):
        async with ServiceClient(route) as client:
            reason = await client.health_problem()
        if reason not in ("the image service does not answer", HANDSHAKE_FAILED):
            break
    return reason


async def test_each_call_has_the_key(service: Service, fake: FakeService) -> None:
    """The key is in the metadata of requests for images."""
    async with ServiceClient(Route(service.address, key="sesame")) as client:
        await client.generate(pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x")))
        await client.models()
    assert fake.metadata[0]["authorization"] == "Bearer sesame"


async def test_a_client_certificate_is_accepted(pems: Path) -> None:
    """With a client certificate the gateway reaches a service that requires one."""
    async with tls_service(pems, mutual=True) as port:
        assert not await connection_problem(
            Route(f"localhost:{port}", pems / "ca.pem", pems / "cert.pem", pems / "key.pem")
        )


@pytest.mark.parametrize("mutual", [False, True])
async def test_missing_tls_is_reported(pems: Path, mutual: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A gateway without --tls-ca reports a service with TLS."""
    async with tls_service(pems, mutual=mutual) as port:
        assert "it may expect TLS: set --tls-ca" in await connection_problem(Route(f"localhost:{port}"))


async def test_unexpected_tls_is_reported(service: Service, pems: Path) -> None:
    """A gateway with --tls-ca reports a service without TLS."""
    port = service.address.rpartition(":")[2]
    assert "TLS handshake with the image service failed: it does not speak TLS" in await connection_problem(
        Route(f"127.0.0.1:{port}", pems / "ca.pem")
    )


async def test_certificates_that_do_not_match_are_reported(pems: Path) -> None:
    """Another CA, another host name, a missing and an unknown client certificate are each reported."""
    ca, other, key = pems / "ca.pem", pems / "other.pem", pems / "other.key"
    async with tls_service(pems, mutual=True) as port:
        target = f"localhost:{port}"
        assert "is not signed by --tls-ca" in await connection_problem(Route(target, other))
        assert "is for another host name than --grpc" in await connection_problem(Route(f"127.0.0.1:{port}", ca))
        assert "may expect a client certificate: set --service-cert" in await connection_problem(Route(target, ca))
        assert "may not accept the certificate in --service-cert" in await connection_problem(
            Route(target, ca, other, key)
        )


@pytest.mark.parametrize("message", ["Socket closed", "recvmsg:Connection reset by peer (104)"])
def test_closed_and_reset_connections_mean_the_same(message: str) -> None:
    """A service that refuses a client's certificate closes or resets the connection, depending on the timing."""
    details = f"connections to all backends failing; last error: UNAVAILABLE: ipv4:127.0.0.1:50051: {message}"
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    ca, cert, key = (Path(name) for name in ("ca.pem", "cert.pem", "key.pem"))
    closed = "the image service closed the connection; it may"
    assert Route("x").failure_reason(error) == f"{closed} expect TLS: set --tls-ca"
    assert Route("x", ca).failure_reason(error) == f"{closed} expect a client certificate: set --service-cert"
    assert Route("x", ca, cert, key).failure_reason(error) == f"{closed} not accept the certificate in --service-cert"


async def test_unreachable_addresses_are_reported() -> None:
    """A port without a server and an unknown host name are reported."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await connection_problem(Route(f"127.0.0.1:{port}")) == "nothing listens at the address of the image service"
    assert await connection_problem(Route("nowhere.invalid:1")) == "the host name of the image service is unknown"


@pytest.mark.parametrize("files", [{"cert": "cert.pem"}, {"cert_key": "key.pem"}])
async def test_a_certificate_without_its_key_is_refused(pems: Path, files: dict[str, str]) -> None:
    """A certificate without its key, or a key without its certificate, is refused at start."""
    paths: dict[str, Any] = {name: pems / file for name, file in files.items()}
    with pytest.raises(StartError, match="requires both --service-cert and --service-cert-key"):
        ServiceClient(Route("localhost:1", **paths))


async def test_a_missing_certificate_is_named(pems: Path) -> None:
    """The error for a missing file names its flag."""
    with pytest.raises(StartError, match=r"cannot read --service-cert .*gone\.pem: No such file"):
        ServiceClient(Route("localhost:1", None, pems / "gone.pem", pems / "key.pem"))


@pytest.mark.parametrize("reason", ["NO_KEY", "WRONG_KEY", ""])
async def test_a_refused_gateway_key_gives_503(
    service: Service, fake: FakeService, tmp_path: Path, reason: str
) -> None:
    """If the service refuses the gateway's key, the answer is 503, not 401."""
    fake.behave = Refusal(grpc.StatusCode.UNAUTHENTICATED, "send one as metadata", reason)
    async with running_gateway(config(service, tmp_path)) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "x"})
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "The image service does not accept this gateway's key."
    assert answer.headers["x-should-retry"] == "false"
    with pytest.raises(ServiceError):
        async with ServiceClient(Route(service.address)) as direct:
            await direct.generate(pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x")))


async def test_renewed_certificates(
    pems: Path, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway uses new files for its connection to the service; running calls are not interrupted."""
    monkeypatch.setattr(certificates, "WATCH_INTERVAL", 0.02)
    used = tmp_path / "used"
    shutil.copytree(pems, used)
    shutil.copy(pems / "other.pem", used / "ca.pem")
    async with tls_service(pems, mutual=True) as port:
        files = {"tls_ca": used / "ca.pem", "service_cert": used / "cert.pem", "service_cert_key": used / "key.pem"}
        settings = config(service, tmp_path / "data", grpc=f"localhost:{port}", **files)
        async with running_gateway(settings) as client:
            assert (await client.get("/readyz")).status_code == 503
            shutil.copy(pems / "ca.pem", used)
            async with asyncio.timeout(30):
                while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            running = asyncio.create_task(client.post(PATH, json={"prompt": "x"}))
            os.utime(used / "ca.pem", (1, 1))
            await asyncio.sleep(0.2)
            assert (await running).status_code == 200
            assert (await client.post(PATH, json={"prompt": "x"})).status_code == 200
