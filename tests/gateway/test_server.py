"""The gateway as a process: start, shutdown, invalid settings."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from litestar import Litestar

from tests.support.gateway.fakes import FakeService, Service, sleep_long
from tests.support.gateway.starting import running_process
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.gateway.server import _server_config, listen, run, serve

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_it_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    """It reports its URL once it answers, and a signal stops it gracefully."""
    with running_process(tmp_path) as (process, url):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        with urllib.request.urlopen(f"{url}/livez", timeout=5) as answer:  # noqa: S310
            assert answer.status == 200
        process.send_signal(number)
        rest, _ = process.communicate(timeout=10)
    assert (process.returncode, rest) == (0, "ended well\n")


def test_running_request_gets_its_response(tmp_path: Path) -> None:
    """A running request still gets its response after the signal."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with running_process(tmp_path, address) as (process, url):
            host, port = url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=15) as client:
                client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                answer = client.makefile("rb").read()
            process.communicate(timeout=15)
    assert answer.startswith(b"HTTP/1.1 503")
    assert process.returncode == 0


def test_uvicorn_gets_the_grace_period(tmp_path: Path) -> None:
    """The grace period is configured; uvicorn gets it in whole seconds, plus one for the errors."""
    config = GatewayConfig(data=tmp_path, grace=7.5)
    uvicorn = _server_config(config, Litestar([], openapi_config=None))
    assert uvicorn.timeout_graceful_shutdown == 9


@pytest.mark.anyio
async def test_unfinished_requests_get_an_error(
    service: Service, fake: FakeService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that is not done in time gets an error in its dialect, in a stream as an event; nothing is logged."""
    fake.behave = sleep_long
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    config = GatewayConfig(rest="127.0.0.1:0", grpc=service.address, data=tmp_path, grace=0.2)
    serving = asyncio.create_task(serve(config, ready=ready.set_result, stop=stop))
    async with httpx.AsyncClient(base_url=await ready, trust_env=False, timeout=30) as client:
        bodies = ({"prompt": "x"}, {"prompt": "x", "stream": True})
        waiting = [asyncio.create_task(client.post("/v1/images/generations", json=body)) for body in bodies]
        while len(fake.requests) < len(waiting):  # noqa: ASYNC110 - the service can't call us
            await asyncio.sleep(0.01)
        stop.set()
        plain, stream = await asyncio.gather(*waiting)
    await serving
    assert (plain.status_code, plain.headers["retry-after"]) == (503, "1")
    assert (
        plain.json()["error"]["message"]
        == "The server is stopping, and the request was not done in time. Send it again."
    )
    assert stream.text.startswith("event: error\ndata: {")
    assert stream.text.endswith("data: [DONE]\n\n")
    assert [record for record in caplog.records if record.exc_info] == []


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    """A port in use gives one line and an exit code, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(
            StartError, match=f"cannot listen on {address}: Address already in use; choose another address with --rest$"
        ) as caught:
            run(GatewayConfig(rest=address, data=tmp_path))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("address", ["", "8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1:-1"])
def test_invalid_address_has_an_example(address: str) -> None:
    """The error for an invalid address repeats it, with an example."""
    with pytest.raises(StartError, match=r"--rest must be HOST:PORT, for example 127\.0\.0\.1:8080, not '.*'"):
        listen(address)


@pytest.mark.parametrize(("address", "family"), [("localhost:0", socket.AF_INET), (":0", socket.AF_INET)])
def test_names_are_resolved(address: str, family: int) -> None:
    """Names are resolved, and an empty host means all IPv4 addresses."""
    with listen(address) as listener:
        assert listener.family == family
        assert listener.getsockname()[0] == ("0.0.0.0" if address.startswith(":") else "127.0.0.1")  # noqa: S104


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"timeout": 0}, "--timeout must be above 0; got 0"),
        ({"url_ttl": -1.5}, "--url-ttl must be above 0; got -1.5"),
        ({"receive_timeout": 0}, "--receive-timeout must be above 0; got 0"),
        ({"grace": -1.0}, "--grace must be 0 or more; got -1.0"),
        ({"max_body": float("nan")}, "--max-body must be above 0 and at most --body-memory (268435456); got nan"),
        ({"response_format": "file"}, "--response-format must be one of url, b64_json; got 'file'"),
        ({"fetch_hosts": ("http://minio",)}, "--fetch-hosts must be HOST or HOST:PORT, for example minio:9000"),
        ({"public_url": "pics.example"}, "--public-url must begin with http:// or https://; got 'pics.example'"),
    ],
)
def test_invalid_setting_is_named(setting: dict[str, Any], message: str) -> None:
    """An invalid setting is named at start, with its value and what is right."""
    with pytest.raises(StartError, match=re.escape(message)):
        GatewayConfig(**setting)


@pytest.mark.parametrize("host", ["minio", "minio:9000", "10.0.0.2", "10.0.0.2:80", "::1", "[::1]", "[fd00::1]:9000"])
def test_fetch_hosts_are_checked(host: str) -> None:
    """Hosts for fetching are names and addresses, with or without a port."""
    assert GatewayConfig(fetch_hosts=(host,)).fetch_hosts == (host,)
