"""`tintype up`: what it plans, and that keys are no obstacle to it. The whole line is tested in test_whole_line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.command import tintype
from tintype.cli.errors import UserError
from tintype.cli.parser import _parser as parser
from tintype.cli.servers import rest_client
from tintype.cli.servers.up import _plan, examples
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HERE = ("--rest", "127.0.0.1:0", "--grpc", "127.0.0.1:0")


def test_key_of_its_own(tmp_path: Path) -> None:
    """Where keys are needed it gives the gateway one that it knows itself, else none, so that none is needed."""
    arguments = parser().parse_args(["up", *HERE, "--data", str(tmp_path)])
    assert _plan(arguments).gateway.api_key == ""
    create(tmp_path / "keys", "alice")
    keys = [_plan(arguments).gateway.api_key for _ in range(2)]
    assert keys[0] != keys[1]
    assert min(map(len, keys)) > 40
    given = parser().parse_args(["up", *HERE, "--data", str(tmp_path), "--api-key", "sesame"])
    assert _plan(given).gateway.api_key == "sesame"


def test_grace(tmp_path: Path) -> None:
    """`--grace` is one flag for both servers."""
    arguments = parser().parse_args(["up", *HERE, "--data", str(tmp_path), "--grace", "4"])
    plan = _plan(arguments)
    assert (plan.service.grace, plan.gateway.grace) == (4, 4)


def test_examples() -> None:
    """What is shown to paste has a place for the key only where one is needed."""
    assert "KEY" not in examples("http://x", needs_key=False)
    keyed = examples("http://x", needs_key=True)
    assert "-H 'authorization: Bearer KEY' \\\n" in keyed
    assert 'api_key="KEY"' in keyed


@pytest.mark.anyio
async def test_a_gateway_without_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that never finds its service, as for the wrong name in a certificate, is said, not waited for."""
    monkeypatch.setattr(rest_client, "PATIENCE", 0.3)
    answers = httpx.MockTransport(lambda _: httpx.Response(503, json={"why": "it has another name"}))
    monkeypatch.setattr(rest_client, "_client", lambda url: httpx.AsyncClient(base_url=url, transport=answers))
    with pytest.raises(
        UserError, match=r"at http://g does not reach the service at s:1, which is ready: it has another name"
    ):
        await rest_client.ready("http://g", "s:1")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "failure", [httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadTimeout, httpx.WriteError]
)
async def test_a_gateway_that_breaks_off(monkeypatch: pytest.MonkeyPatch, failure: type[httpx.TransportError]) -> None:
    """A gateway that breaks connections off, as one with too many of them does, is asked again."""
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        if len(asked) < 3:
            raise failure("broken off", request=request)
        return httpx.Response(200)

    client = httpx.AsyncClient(base_url="http://g", transport=httpx.MockTransport(answer))
    monkeypatch.setattr(rest_client, "_client", lambda _: client)
    await rest_client.ready("http://g", "s:1")
    assert len(asked) == 3


def test_check_with_keys(tmp_path: Path) -> None:
    """A check makes its picture, whether keys are needed or not."""
    create(tmp_path / "data" / "keys", "alice")
    done = tintype(
        "up", "--check", *HERE, "--data", str(tmp_path / "data"), HOME=str(tmp_path), PATH=os.environ["PATH"]
    )
    assert done.returncode == 0, done.stderr
    assert "First picture" in done.stdout
