"""The undocumented interfaces of uvicorn that `uvicorn_protocol` uses are all there, and used there only."""

from __future__ import annotations

import asyncio
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from tintype.gateway import http
from tintype.gateway.http import uvicorn_protocol

pytestmark = pytest.mark.anyio

GATEWAY = Path(http.__file__).parents[1]
# What `HttpConnection` and `Server` read, call or override, beyond what uvicorn documents.
PROTOCOL = (
    *("app", "cycle", "flow", "headers", "loop", "parser", "pipeline", "scope", "transport"),
    *("connection_made", "connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing"),
    *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
    "on_response_complete",
)
CYCLE = ("chunked_encoding", "keep_alive", "more_body", "response_complete", "response_started")
FLOW = ("resume_reading",)
SERVER = ("capture_signals", "force_exit", "lifespan", "serve", "should_exit", "shutdown", "startup")
# Litestar, httpcore and gRPC are used by documented names only.
UNDOCUMENTED = re.compile(r"uvicorn\.(?:protocols|server|lifespan|_types)|httptools|litestar\._|httpcore\._|grpc\._")


def missing(owner: object, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not hasattr(owner, name)]


class Transport:
    """A transport that keeps nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_args, **_named: None


async def app_without_response(_: Any, __: Any, ___: Any) -> None:
    """An application that answers nothing."""


def connect() -> Any:
    """Return a connection, served by no application."""
    config = uvicorn.Config(
        app_without_response, interface="asgi3", proxy_headers=False, lifespan="off", log_config=None
    )
    connection: Any = uvicorn_protocol.HttpConnection(config, ServerState(), {})
    connection.connection_made(Transport())
    return connection


async def disconnect(connection: Any) -> None:
    """Let the application end, as if its client had left."""
    connection.connection_lost(None)
    await asyncio.gather(*connection.tasks)


async def test_interfaces_exist() -> None:
    """This version of uvicorn has each interface; where one is missing, the adapter must follow."""
    connection = connect()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    server = uvicorn.Server(connection.config)
    server.lifespan = connection.config.lifespan_class(connection.config)
    missing_by_owner = {
        "connection": missing(connection, PROTOCOL),
        "connection.cycle": missing(connection.cycle, CYCLE),
        "connection.flow": missing(connection.flow, FLOW),
        "Server": missing(server, SERVER),
        "Server.lifespan": missing(server.lifespan, ("shutdown",)),
    }
    await disconnect(connection)
    missing_interfaces = {owner: names for owner, names in missing_by_owner.items() if names}
    assert not missing_interfaces, (
        f"uvicorn {version('uvicorn')} lacks {missing_interfaces}: adapt gateway/http/uvicorn_protocol.py"
    )


async def test_connection_properties_show_the_state() -> None:
    """The properties show the state of the newest request."""
    connection = connect()
    assert (connection.is_answering, connection.is_body_incomplete, connection.is_response_started) == (False,) * 3
    connection.data_received(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{")
    assert (connection.is_answering, connection.is_body_incomplete, connection.is_pipelining) == (True, True, False)
    connection.data_received(b"}")
    assert (connection.is_answering, connection.is_body_incomplete, connection.is_chunked) == (True, False, False)
    await disconnect(connection)


def test_uvicorns_version_is_bounded() -> None:
    """The project's metadata has an upper bound for uvicorn's version."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    (requirement,) = [line for line in project["dependencies"] if re.match(r"uvicorn\b", line)]
    assert re.search(r"<\d", requirement), requirement


def test_undocumented_interfaces_are_used_in_one_module() -> None:
    """No other module of the gateway imports these."""
    modules = {
        path.relative_to(GATEWAY).as_posix()
        for path in GATEWAY.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if line.lstrip().startswith(("import ", "from ")) and UNDOCUMENTED.search(line)
    }
    assert modules == {"http/uvicorn_protocol.py"}
