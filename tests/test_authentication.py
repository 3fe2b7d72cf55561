"""Keys and certificates between command, gateway and service in separate processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest

from tests.support.certificates import make_certificates
from tests.support.up import up
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.keyfile import create

SOON = 60  # seconds


def models(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `tintype models`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
    words = [sys.executable, "-P", "-m", "tintype.cli", "models", *arguments]
    return subprocess.run(words, env=environ | variables, capture_output=True, text=True, timeout=SOON, check=False)


def test_a_first_key_protects_both_servers(tmp_path: Path) -> None:
    """After the first key, REST and gRPC require keys, the gateway keeps working, and admin calls need an admin key."""
    with up(tmp_path, "--no-fetch") as one:
        one.read_until("Ctrl-C stops both.")
        where = ("--grpc", one.address("gRPC"))
        assert models(*where).returncode == 0
        user, admin = (create(one.data / "keys", name, admin=name == "ops") for name in ("alice", "ops"))
        refused = models(*where)
        assert refused.returncode == 2
        assert "the call has no API key" in refused.stderr
        assert "--service-key or TINTYPE_SERVICE_KEY" in refused.stderr
        assert models(*where, TINTYPE_SERVICE_KEY=user).returncode == 0
        name = models(*where, TINTYPE_SERVICE_KEY=user).stdout.splitlines()[1].split()[0]
        denied = models("unload", name, *where, TINTYPE_SERVICE_KEY=user)
        assert "may not load or unload models" in denied.stderr
        assert models("unload", name, *where, TINTYPE_SERVICE_KEY=admin).returncode == 0
        asked = {"prompt": "a lake", "steps": 1, "response_format": "b64_json"}
        with httpx.Client(base_url=one.url, trust_env=False, timeout=SOON) as client:
            assert client.post("/v1/images/generations", json=asked).status_code == 401
            headers = {"authorization": f"Bearer {user}"}
            assert client.post("/v1/images/generations", json=asked, headers=headers).status_code == 200
            unload = [client.post("/sdapi/v1/unload-checkpoint", headers={"api-key": key}) for key in (user, admin)]
            assert [answer.status_code for answer in unload] == [403, 200]
        commands = [Path(f"/proc/{child}/cmdline").read_text() for child in one.children()]
        assert not any("key" in command for command in commands), "no secret is on a command line"


def test_mutual_tls(tmp_path: Path) -> None:
    """Gateway and command reach a service that requires client certificates; a client without one does not."""
    pems = make_certificates(tmp_path)
    server = ("--tls-cert", pems / "cert.pem", "--tls-key", pems / "key.pem", "--tls-client-ca", pems / "ca.pem")
    ours = ("--tls-ca", pems / "ca.pem", "--service-cert", pems / "cert.pem", "--service-cert-key", pems / "key.pem")
    with up(tmp_path, "--grpc", "localhost:0", *map(str, (*server, *ours))) as one:
        one.read_until("Ctrl-C stops both.")
        where = one.address("gRPC")
        assert httpx.get(f"{one.url}/readyz", trust_env=False).status_code == 200
        assert models("--grpc", where, *map(str, ours)).returncode == 0
        stranger = models("--grpc", where, "--tls-ca", str(pems / "ca.pem"))
        assert "may expect a client certificate: set --service-cert" in stranger.stderr
        assert "it may expect TLS: set --tls-ca" in models("--grpc", where).stderr
        credentials = grpc.ssl_channel_credentials((pems / "ca.pem").read_bytes())
        with grpc.secure_channel(where, credentials) as channel, pytest.raises(grpc.RpcError):
            pb_grpc.ImageServiceStub(channel).ListModels(pb.ListModelsRequest(), timeout=SOON)
