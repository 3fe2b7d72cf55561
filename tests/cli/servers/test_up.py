"""`tintype up`: its plan, and that it works with keys. test_end_to_end tests the running servers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.command import tintype
from tintype.cli.commands import build_parser
from tintype.cli.errors import UserError
from tintype.cli.servers import rest_client
from tintype.cli.servers.plan import UpPlan, make_plan
from tintype.cli.servers.rest_client import RestGateway
from tintype.cli.servers.up import format_examples
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

GATEWAY = RestGateway("http://g", "key")
HERE = ("--rest", "127.0.0.1:0", "--grpc", "127.0.0.1:0")


def plan_of(*arguments: str) -> UpPlan:
    """Return the plan of a command line, without its ports."""
    plan = make_plan(build_parser().parse_args(arguments))
    plan.ports.close()
    return plan


def test_gateway_gets_a_key_if_keys_are_required(tmp_path: Path) -> None:
    """If keys are required, the gateway gets a new key for the first image; otherwise it has none."""
    arguments = ("up", *HERE, "--data", str(tmp_path))
    assert plan_of(*arguments).gateway.api_key == ""
    create(tmp_path / "keys", "alice")
    keys = [plan_of(*arguments).gateway.api_key for _ in range(2)]
    assert keys[0] != keys[1]
    assert min(map(len, keys)) > 40
    assert plan_of(*arguments, "--api-key", "sesame").gateway.api_key == "sesame"


def test_grace_applies_to_both_servers(tmp_path: Path) -> None:
    """`--grace` is one flag for both servers."""
    plan = plan_of("up", *HERE, "--data", str(tmp_path), "--grace", "4")
    assert (plan.service.grace, plan.gateway.grace) == (4, 4)


def test_working_folder_is_written_only_for_a_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a first image there is no file for it, so the working folder may be read-only."""
    monkeypatch.chdir(tmp_path)
    arguments = ("up", *HERE, "--data", str(tmp_path / "data"))
    assert plan_of(*arguments).output is None
    assert str(plan_of(*arguments, "--first-image", "a lake").output) == "first-image.png"


def test_examples_have_a_key_only_if_required() -> None:
    """The printed examples contain a placeholder for the key only if one is required."""
    assert "KEY" not in format_examples("http://x", needs_key=False)
    keyed = format_examples("http://x", needs_key=True)
    assert "-H 'authorization: Bearer KEY' \\\n" in keyed
    assert 'api_key="KEY"' in keyed


@pytest.mark.anyio
async def test_unreachable_service_is_an_error_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that cannot reach its service, for example because of its certificate, is an error after a while."""
    monkeypatch.setattr(rest_client, "READY_TIMEOUT", 0.3)
    answers = httpx.MockTransport(lambda _: httpx.Response(503, json={"why": "it has another name"}))
    client = httpx.AsyncClient(base_url=GATEWAY.url, transport=answers)
    monkeypatch.setattr(RestGateway, "client", lambda _: client)
    with pytest.raises(
        UserError, match=r"at http://g cannot reach the service at s:1, which is ready: it has another name"
    ):
        await rest_client.wait_until_ready(GATEWAY, "s:1")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "failure", [httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadTimeout, httpx.WriteError]
)
async def test_closed_connections_are_retried(
    monkeypatch: pytest.MonkeyPatch, failure: type[httpx.TransportError]
) -> None:
    """A gateway that breaks off connections, because it has too many, is asked again."""
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        if len(asked) < 3:
            raise failure("broken off", request=request)
        return httpx.Response(200)

    client = httpx.AsyncClient(base_url="http://g", transport=httpx.MockTransport(answer))
    monkeypatch.setattr(RestGateway, "client", lambda _: client)
    await rest_client.wait_until_ready(GATEWAY, "s:1")
    assert len(asked) == 3


def test_check_works_with_and_without_keys(tmp_path: Path) -> None:
    """A check makes its image, whether keys are required or not."""
    create(tmp_path / "data" / "keys", "alice")
    done = tintype(
        "up", "--check", *HERE, "--data", str(tmp_path / "data"), HOME=str(tmp_path), PATH=os.environ["PATH"]
    )
    assert done.returncode == 0, done.stderr
    assert "First image" in done.stdout
    assert re.search(r"^  model +tintype-demo \(included\)$", done.stdout, re.MULTILINE)


def test_origin_of_the_default_model(tmp_path: Path) -> None:
    """The plan has the default model as the settings name it; the built-in model has no origin."""
    flags = ("up", *HERE, "--data", str(tmp_path))
    assert plan_of(*flags).origin == ""
    assert plan_of(*flags, "--model", str(tmp_path), "--model", "b").origin == str(tmp_path)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(200, json={"data": [{"id": "sdxl"}, {"id": "a"}]}), "sdxl"),
        (httpx.Response(401, json={"error": {}}), "?"),
        (httpx.Response(200, text="no JSON"), "?"),
    ],
)
async def test_name_of_the_default_model(
    answer: httpx.Response, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is the first one that the gateway lists; an odd answer does not end the command."""
    client = httpx.AsyncClient(base_url="http://g", transport=httpx.MockTransport(lambda _: answer))
    monkeypatch.setattr(RestGateway, "client", lambda _: client)
    assert await rest_client.default_model(GATEWAY) == expected
