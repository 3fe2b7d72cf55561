"""Addresses and certificates of the server, and one-line errors for invalid ones."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.certificates import make_certificates
from tests.support.service.startup import make_config, start_error
from tintype.service import server as servers
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.keyfile import KeysError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("installed_fakes")
def test_unix_socket(tmp_path: Path) -> None:
    """The server can listen on a Unix socket."""
    socket_ = f"unix:{tmp_path}/tintype.sock"

    async def scenario() -> Any:
        async with servers.running(make_config(grpc=socket_)) as address, grpc.aio.insecure_channel(address) as channel:
            await pb_grpc.ImageServiceStub(channel).ListModels(pb.ListModelsRequest())
            return address

    assert asyncio.run(scenario()) == socket_


@pytest.mark.usefixtures("installed_fakes")
def test_public_address_requires_authentication(tmp_path: Path) -> None:
    """On a public address the service requires keys, client certificates or --anonymous."""
    public: dict[str, Any] = {"grpc": "0.0.0.0:0", "data": tmp_path}

    async def serves(**settings: Any) -> None:
        async with servers.running(make_config(**public, **settings)):
            pass

    with pytest.raises(
        KeysError, match=r"refusing to listen on 0\.0\.0\.0:0 without authentication: create a key"
    ) as caught:
        asyncio.run(serves())
    assert caught.value.exit_code == 2
    asyncio.run(serves(anonymous=True))
    asyncio.run(serves(api_key="sesame"))


@pytest.mark.usefixtures("installed_fakes")
def test_port_in_use() -> None:
    """Two servers never share a port; the error names the address."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert (
            start_error(make_config(grpc=address))
            == f"cannot listen on {address}: Address already in use; choose another address with --grpc"
        )


@pytest.mark.parametrize("address", ["127.0.0.1", ":50051", "127.0.0.1:http", "127.0.0.1:70000", "127.0.0.1:-1"])
@pytest.mark.usefixtures("installed_fakes")
def test_invalid_address(address: str) -> None:
    """The error says that an address is HOST:PORT."""
    assert (
        start_error(make_config(grpc=address))
        == f"--grpc must be HOST:PORT, for example 127.0.0.1:50051; got {address!r}"
    )


@pytest.mark.usefixtures("installed_fakes")
def test_unknown_host() -> None:
    """A name that is not an address of this machine is an error."""
    assert start_error(make_config(grpc="nowhere.invalid:50051")).startswith("cannot listen on nowhere.invalid:50051: ")


@pytest.mark.usefixtures("installed_fakes")
def test_missing_certificates(tmp_path: Path) -> None:
    """TLS requires a certificate and a key, and both files must exist."""
    assert start_error(make_config(tls_cert=tmp_path / "c.pem")) == "TLS requires both --tls-cert and --tls-key"
    both = make_config(tls_cert=tmp_path / "c.pem", tls_key=tmp_path / "k.pem")
    assert start_error(both) == f"--tls-key {tmp_path}/k.pem can't be read: No such file or directory"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Return a folder with a CA, and with a certificate for localhost and its key."""
    return make_certificates(tmp_path)


@pytest.mark.usefixtures("installed_fakes")
def test_invalid_certificate(certificates: Path) -> None:
    """A key of another certificate, or a file that is not PEM, is an error."""
    other = make_config(tls_cert=certificates / "ca.pem", tls_key=certificates / "key.pem")
    assert "are not a matching pair: KEY_VALUES_MISMATCH" in start_error(other)
    (certificates / "cert.pem").write_text("garbage")
    damaged = make_config(tls_cert=certificates / "cert.pem", tls_key=certificates / "key.pem")
    assert "are not a matching pair" in start_error(damaged)


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.usefixtures("installed_fakes")
def test_tls(certificates: Path, mutual: Any) -> None:
    """With a certificate the channel is encrypted; with a client CA, clients without a certificate are refused."""
    ca, cert, key = ((certificates / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem"))
    config = make_config(
        grpc="localhost:0",
        tls_cert=certificates / "cert.pem",
        tls_key=certificates / "key.pem",
        tls_client_ca=certificates / "ca.pem" if mutual else None,
    )

    async def listed(address: str, credentials: grpc.ChannelCredentials) -> int:
        async with grpc.aio.secure_channel(address, credentials) as channel:
            return len((await pb_grpc.ImageServiceStub(channel).ListModels(pb.ListModelsRequest(), timeout=5)).models)

    async def scenario() -> Any:
        async with servers.running(config) as address:
            member = await listed(address, grpc.ssl_channel_credentials(ca, key, cert))
            try:
                stranger = await listed(address, grpc.ssl_channel_credentials(ca))
            except grpc.RpcError:
                stranger = 0
            return member, stranger

    assert asyncio.run(scenario()) == (2, 0 if mutual else 2)
