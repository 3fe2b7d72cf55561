"""HTTPS at the gateway: certificates, their renewal, and bounded handshakes."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.certificates import make_certificates
from tests.support.gateway.fakes import config
from tintype.gateway.app import create_app
from tintype.gateway.errors import StartError
from tintype.gateway.http import tls
from tintype.gateway.http.tls import ServerTls
from tintype.gateway.server import serve
from tintype.v1 import certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway.fakes import Service

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def settings(folder: Path) -> dict[str, Any]:
    return {"rest_tls_cert": folder / "cert.pem", "rest_tls_key": folder / "key.pem"}


@asynccontextmanager
async def https_gateway(service: Service, data: Path, **changes: Any) -> AsyncIterator[str]:
    """Serve a gateway with certificates, and yield its URL, which names localhost as they do."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(config(service, data, **changes), ready=ready.set_result, stop=stop))
    try:
        yield (await ready).replace("127.0.0.1", "localhost")
    finally:
        stop.set()
        await serving


def client(url: str, ca: Path, cert: tuple[str, str] | None = None) -> httpx.AsyncClient:
    context = ssl.create_default_context(cafile=ca)
    if cert:
        context.load_cert_chain(*cert)
    return httpx.AsyncClient(base_url=url, verify=context, trust_env=False, timeout=30)


async def test_images_and_links(service: Service, tmp_path: Path, folder: Path) -> None:
    """Clients that know the CA get images, and links that begin with https; others get nothing."""
    async with https_gateway(service, tmp_path, **settings(folder)) as url:
        assert url.startswith("https://")
        async with client(url, folder / "ca.pem") as own, client(url, folder / "other.pem") as other:
            link = (await own.post("/v1/images/generations", json={"prompt": "x"})).json()["data"][0]["url"]
            assert link.startswith(f"{url}/files/")
            assert (await own.get(link)).status_code == 200
            with pytest.raises(httpx.ConnectError):
                await other.get("/livez")
            assert (await own.get("/livez")).status_code == 200


async def test_a_request_in_any_pieces(service: Service, tmp_path: Path, folder: Path) -> None:
    """A request arrives whole, also if it comes together with the end of the handshake, or byte by byte."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    async with https_gateway(service, tmp_path, **settings(folder)) as url:
        port = int(url.rpartition(":")[2])

        async def one(size: int) -> bytes:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            is_sent, answer = False, b""
            while not answer.endswith(b'{"status":"alive"}'):
                try:
                    if not is_sent:
                        session.do_handshake()
                        session.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
                        is_sent = True
                    answer += session.read()
                except ssl.SSLWantReadError:
                    data = outgoing.read()
                    for start in range(0, len(data), size):
                        writer.write(data[start : start + size])
                        await asyncio.sleep(0)
                    incoming.write(await reader.read(2**16))
            writer.close()
            return answer

        answers = await asyncio.gather(*map(one, [1, 7, 100, 1000, 2**16] * 4))
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


async def test_plain_http(service: Service, tmp_path: Path, folder: Path) -> None:
    """Plain HTTP gets 400 with the reason, at once."""
    async with https_gateway(service, tmp_path, **settings(folder)) as url, httpx.AsyncClient(trust_env=False) as plain:
        answer = await plain.get(url.replace("https", "http"))
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, tls._MESSAGE)


async def test_slow_handshakes(service: Service, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not finish its handshake is disconnected."""
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)
    async with https_gateway(service, tmp_path, **settings(folder)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_handshakes_count_as_connections(service: Service, tmp_path: Path, folder: Path) -> None:
    """Above the limit of connections the oldest handshake makes room."""
    async with https_gateway(service, tmp_path, max_connections=2, **settings(folder)) as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        async with client(url, folder / "ca.pem") as own:
            assert (await own.get("/livez")).status_code == 200
        for _, each in [(reader, writer), *others]:
            each.close()


async def test_client_certificates(service: Service, tmp_path: Path, folder: Path) -> None:
    """With a CA of clients only their certificates are accepted."""
    ca = {"rest_tls_client_ca": folder / "ca.pem"}
    async with https_gateway(service, tmp_path, **ca, **settings(folder)) as url:
        async with client(url, folder / "ca.pem", (str(folder / "cert.pem"), str(folder / "key.pem"))) as own:
            assert (await own.get("/livez")).status_code == 200
        async with client(url, folder / "ca.pem") as other:
            with pytest.raises(httpx.TransportError):
                await other.get("/livez")


async def test_renewal(service: Service, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New files are used for new connections; while they don't match, the previous ones are. Open connections stay."""
    monkeypatch.setattr(certificates, "WATCH_INTERVAL", 0.02)
    (tmp_path / "new").mkdir()
    new, used = make_certificates(tmp_path / "new"), tmp_path / "used"
    shutil.copytree(folder, used)
    async with https_gateway(service, tmp_path / "data", **settings(used)) as url:  # noqa: SIM117
        async with client(url, folder / "ca.pem") as open_one:
            await open_one.get("/livez")
            shutil.copy(new / "cert.pem", used)
            await asyncio.sleep(0.3)
            async with client(url, folder / "ca.pem") as own:
                assert (await own.get("/livez")).status_code == 200
            shutil.copy(new / "key.pem", used)
            async with asyncio.timeout(30):
                while not await _answers(url, new / "ca.pem"):  # noqa: ASYNC110  # the gateway sends no event
                    await asyncio.sleep(0.05)
            assert not await _answers(url, folder / "ca.pem")
            assert (await open_one.get("/livez")).status_code == 200


async def test_renewal_during_the_start(
    service: Service, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that change after they were read, and before the gateway serves, are used."""
    monkeypatch.setattr(certificates, "WATCH_INTERVAL", 0.02)
    (tmp_path / "new").mkdir()
    new, used = make_certificates(tmp_path / "new"), tmp_path / "used"
    shutil.copytree(folder, used)

    def renewed(*arguments: Any) -> Any:
        for name in ("cert.pem", "key.pem"):
            shutil.copy(new / name, used)
        return create_app(*arguments)

    monkeypatch.setattr("tintype.gateway.server.create_app", renewed)
    async with https_gateway(service, tmp_path / "data", **settings(used)) as url, asyncio.timeout(30):
        while not await _answers(url, new / "ca.pem"):  # noqa: ASYNC110  # the gateway sends no event
            await asyncio.sleep(0.05)


async def _answers(url: str, ca: Path) -> bool:
    async with client(url, ca) as one:
        try:
            return (await one.get("/livez")).status_code == 200
        except httpx.ConnectError:
            return False


def test_settings(folder: Path, tmp_path: Path) -> None:
    """A missing half, an unreadable file, and a key of another certificate are named."""
    from tintype.gateway.config import GatewayConfig  # noqa: PLC0415

    with pytest.raises(StartError, match="both --rest-tls-cert and --rest-tls-key"):
        GatewayConfig(rest_tls_cert=folder / "cert.pem")
    with pytest.raises(StartError, match="are not a matching pair: KEY_VALUES_MISMATCH"):
        ServerTls(GatewayConfig(rest_tls_cert=folder / "cert.pem", rest_tls_key=folder / "other.key"))
    with pytest.raises(StartError, match=r"--rest-tls-cert .*gone\.pem .*No such file"):
        ServerTls(GatewayConfig(rest_tls_cert=tmp_path / "gone.pem", rest_tls_key=folder / "key.pem"))
    ca = tmp_path / "gone.pem"
    with pytest.raises(StartError, match=r"--rest-tls-client-ca .*gone\.pem can't be read"):
        ServerTls(GatewayConfig(**settings(folder), rest_tls_client_ca=ca))
