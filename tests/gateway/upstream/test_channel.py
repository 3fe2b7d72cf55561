"""The connection to the service: credentials of each call, and the reasons of failed connections."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.certificates import make_certificates
from tests.support.gateway.fakes import FakeService, Refusal, Service, config, running_gateway, running_service
from tintype.gateway.errors import ServiceError, StartError
from tintype.gateway.upstream.channel import Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("pems"))


@asynccontextmanager
async def guarded(pems: Path, *, mutual: bool) -> AsyncIterator[str]:
    """Yield a fake service with TLS at `localhost`, and its port."""
    pair = ((pems / "key.pem").read_bytes(), (pems / "cert.pem").read_bytes())
    ca = (pems / "ca.pem").read_bytes() if mutual else None
    async with running_service(credentials=grpc.ssl_server_credentials([pair], ca, mutual)) as service:
        yield service.address.rpartition(":")[2]


async def trouble(route: Route) -> str:
    """Return why the service is not reached; retries, as a busy machine may time out first."""
    reason = ""
    for _ in range(10):
        async with ServiceClient(route) as client:
            reason = await client.unready()
        if reason != "the image service does not answer":
            break
    return reason


async def test_a_key_goes_with_each_call(service: Service, fake: FakeService) -> None:
    """The key is in the metadata of requests for images."""
    async with ServiceClient(Route(service.address, key="sesame")) as client:
        await client.generate(pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x")))
        await client.models()
    assert fake.metadata[0]["authorization"] == "Bearer sesame"


async def test_mutual_tls(pems: Path) -> None:
    """With a client certificate the gateway reaches a service that requires one."""
    async with guarded(pems, mutual=True) as port:
        assert not await trouble(Route(f"localhost:{port}", pems / "ca.pem", pems / "cert.pem", pems / "key.pem"))


@pytest.mark.parametrize("mutual", [False, True])
async def test_plaintext_to_tls(pems: Path, mutual: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A gateway without --tls-ca reports a service with TLS."""
    async with guarded(pems, mutual=mutual) as port:
        assert "it may expect TLS: set --tls-ca" in await trouble(Route(f"localhost:{port}"))


async def test_tls_to_plaintext(service: Service, pems: Path) -> None:
    """A gateway with --tls-ca reports a service without TLS."""
    port = service.address.rpartition(":")[2]
    assert "TLS handshake with the image service failed: it does not speak TLS" in await trouble(
        Route(f"127.0.0.1:{port}", pems / "ca.pem")
    )


async def test_certificates_that_do_not_fit(pems: Path) -> None:
    """Another CA, another host name, a missing and an unknown client certificate are each reported."""
    ca, other, key = pems / "ca.pem", pems / "other.pem", pems / "other.key"
    async with guarded(pems, mutual=True) as port:
        here = f"localhost:{port}"
        assert "is not signed by --tls-ca" in await trouble(Route(here, other))
        assert "is for another host name than --grpc" in await trouble(Route(f"127.0.0.1:{port}", ca))
        assert "may expect a client certificate: set --service-cert" in await trouble(Route(here, ca))
        assert "may not accept the certificate in --service-cert" in await trouble(Route(here, ca, other, key))


async def test_nobody_there() -> None:
    """A port without a server and an unknown host name are reported."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await trouble(Route(f"127.0.0.1:{port}")) == "nothing listens at the address of the image service"
    assert await trouble(Route("nowhere.invalid:1")) == "the host name of the image service is unknown"


@pytest.mark.parametrize("given", [{"cert": "cert.pem"}, {"cert_key": "key.pem"}])
async def test_half_a_certificate(pems: Path, given: dict[str, str]) -> None:
    """A certificate without its key, or a key without its certificate, is refused at start."""
    halves: dict[str, Any] = {name: pems / file for name, file in given.items()}
    with pytest.raises(StartError, match="requires both --service-cert and --service-cert-key"):
        ServiceClient(Route("localhost:1", **halves))


async def test_a_missing_certificate(pems: Path) -> None:
    """The error for a missing file names its flag."""
    with pytest.raises(StartError, match=r"cannot read --service-cert .*gone\.pem: No such file"):
        ServiceClient(Route("localhost:1", None, pems / "gone.pem", pems / "key.pem"))


@pytest.mark.parametrize("reason", ["NO_KEY", "WRONG_KEY", ""])
async def test_a_gateway_that_is_locked_out(service: Service, fake: FakeService, tmp_path: Path, reason: str) -> None:
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
