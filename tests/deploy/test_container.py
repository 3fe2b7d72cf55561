"""The container file: small final images without tools, an ordinary user, and a health check that is right."""

from __future__ import annotations

import asyncio
import http.server
import importlib.util
import re
import socket
import ssl
import subprocess
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.support.certificates import make_certificates
from tests.support.deploy import DEPLOY
from tests.support.source import ROOT
from tintype.gateway.config import GatewayConfig
from tintype.gateway.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

FILE = DEPLOY / "container" / "Dockerfile"
TEXT = re.sub(r"\\\n\s*", "", FILE.read_text("utf-8"))
TARGETS = ("cpu", "cuda")


class Stage(NamedTuple):
    """One stage of the file: its base, and its instructions with their arguments."""

    base: str
    instructions: list[tuple[str, str]]


def stages() -> dict[str, Stage]:
    """Return the stages by name."""
    found: dict[str, Stage] = {}
    for line in re.findall(r"^[A-Z]+ .*$", TEXT, re.MULTILINE):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(base, [])
        elif found:
            list(found.values())[-1].instructions.append((word, rest))
    return found


STAGES = stages()


def instructions(target: str) -> list[tuple[str, str]]:
    """Return the instructions whose results are in an image: those of its stage and of the stages below."""
    stage = STAGES.get(target)
    return [*instructions(stage.base), *stage.instructions] if stage else []


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_as_an_ordinary_user(target: str) -> None:
    """The user is a number, so that Kubernetes can check it, and owns the folders that are volumes."""
    found = dict(instructions(target))
    assert found["USER"] == "65532:65532"
    (created,) = (text for word, text in instructions(target) if word == "RUN" and "--owner 65532" in text)
    assert all(folder in created for folder in re.findall(r'"(/[^"]+)"', found["VOLUME"]))


@pytest.mark.parametrize("target", TARGETS)
def test_images_have_no_build_tools(target: str) -> None:
    """Pip and compilers stay in other stages; an image gets the finished environment."""
    runs = " ".join(text for word, text in instructions(target) if word == "RUN")
    assert not re.search(r"\bpip\b|venv|gcc|build-essential|git\b", runs)
    copied = [text for word, text in instructions(target) if word == "COPY"]
    assert copied == [f"--from=packages-{target} /opt/tintype /opt/tintype", "--from=tintype /opt/tintype /opt/tintype"]


@pytest.mark.parametrize("target", TARGETS)
def test_images_describe_themselves(target: str) -> None:
    """An image has OCI's labels, a health check, and the signal that drains the servers."""
    found = instructions(target)
    assert {"STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "LABEL", "EXPOSE"} <= {word for word, _ in found}
    labels = " ".join(text for word, text in found if word == "LABEL")
    wanted = ("title", "description", "licenses", "version", "revision")
    assert all(f"org.opencontainers.image.{name}=" in labels for name in wanted)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert ("ARG", f"VERSION={version}") in found


def test_the_base_has_a_version() -> None:
    """The base image is a release, not whatever is newest."""
    (base,) = re.findall(r"^ARG BASE=(\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/debian:[a-z]+-slim", base)
    assert {stage.base for stage in STAGES.values()} - STAGES.keys() == {"${BASE}"}


def test_packages_are_checked_by_their_hashes() -> None:
    """Every installation from the index checks hashes, and builds nothing."""
    installs = [
        text for stage in STAGES.values() for word, text in stage.instructions if "pip" in text and word == "RUN"
    ]
    from_index = [text for text in installs if "--requirement" in text]
    assert len(from_index) == 3
    assert all("--require-hashes --only-binary :all:" in text for text in from_index)
    assert all(
        (DEPLOY / "constraints" / name).is_file() for text in from_index for name in re.findall(r"\w+\.txt", text)
    )


def test_the_context_has_what_the_wheel_needs() -> None:
    """`.dockerignore` lets through every package, and the files that the build reads."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    folders = {path.removesuffix("/v1") for path in project["tool"]["setuptools"]["package-dir"].values()}
    licences = {path for path in project["project"]["license-files"] if "/" not in path}
    assert kept >= folders | licences | {"pyproject.toml", project["project"]["readme"], "MANIFEST.in"}
    assert [path for path in kept if not (ROOT / path).exists()] == []


def test_a_linter_finds_nothing(program: Callable[[str], str]) -> None:
    """Hadolint has no complaint."""
    done = subprocess.run([program("hadolint"), "--no-color", FILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def check() -> ModuleType:
    """The health check as a module."""
    spec = importlib.util.spec_from_file_location("healthcheck", DEPLOY / "container" / "healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def unused_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports at which nothing listens, unless a test sets others."""
    for name in ("TINTYPE_REST", "TINTYPE_GRPC"):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            monkeypatch.setenv(name, f"0.0.0.0:{probe.getsockname()[1]}")


@contextmanager
def gateway(ready: int, folder: Path | None = None) -> Iterator[str]:
    """Run a gateway that is alive and answers `/readyz` with the status `ready`; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(ready if self.path == "/readyz" else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that speaks the other protocol."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if folder:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"0.0.0.0:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def run(check: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit code of the health check."""
    monkeypatch.setattr("sys.argv", ["tintype-healthcheck", *arguments])
    return int(check.main())


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_health_of_a_gateway(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, secure: bool
) -> None:
    """A gateway that is not ready is alive, over HTTP and HTTPS."""
    folder = make_certificates(tmp_path) if secure else None
    with gateway(503, folder) as address:
        monkeypatch.setenv("TINTYPE_REST", address)
        assert (run(check, monkeypatch), run(check, monkeypatch, "ready")) == (0, 1)
    with gateway(200, folder) as address:
        monkeypatch.setenv("TINTYPE_REST", address)
        assert run(check, monkeypatch, "ready") == 0


async def health_over_tls(check: ModuleType, folder: Path, data: Path, **changes: Any) -> tuple[bool | None, ...]:
    """Return what the check finds at `/livez` and `/readyz` of a real gateway that serves HTTPS."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    files: dict[str, Any] = {"rest_tls_cert": folder / "cert.pem", "rest_tls_key": folder / "key.pem"}
    settings = GatewayConfig(data=data, rest="127.0.0.1:0", grpc="127.0.0.1:1", **files, **changes)
    serving = asyncio.create_task(serve(settings, ready=ready.set_result, stop=stop))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINTYPE_REST", (await ready).removeprefix("https://"))
        found = [await asyncio.to_thread(check.ask_gateway, path) for path in ("/livez", "/readyz")]
    stop.set()
    await serving
    return tuple(found)


def test_health_of_a_real_gateway_with_certificates(check: ModuleType, tmp_path: Path) -> None:
    """It is alive, also if it accepts only clients with a certificate; without its service it is not ready."""
    folder = make_certificates(tmp_path)
    assert asyncio.run(health_over_tls(check, folder, tmp_path / "one")) == (True, False)
    closed = health_over_tls(check, folder, tmp_path / "two", rest_tls_client_ca=folder / "ca.pem")
    assert asyncio.run(closed) == (True, False)


def test_health_of_a_service(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that loads its model is alive and not ready."""
    servicer = health.HealthServicer()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    monkeypatch.setenv("TINTYPE_GRPC", f"0.0.0.0:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    try:
        servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert (run(check, monkeypatch), run(check, monkeypatch, "ready")) == (0, 1)
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        assert run(check, monkeypatch, "ready") == 0
    finally:
        server.stop(None).wait()


def test_health_of_nothing(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose server has ended is not healthy."""
    assert run(check, monkeypatch) == run(check, monkeypatch, "ready") == 1
