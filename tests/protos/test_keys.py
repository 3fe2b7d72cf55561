"""The keys of a running server: when one is required, and what an unsafe or lost key file leads to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig
from tintype.v1.keyfile import KeysError, create, digest
from tintype.v1.keys import Keys, marker, write_marker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def requires(keys: Keys) -> bool:
    """Return whether calls need a key now."""
    return keys.required


def test_a_companion_key_requires_none(file: Path) -> None:
    """The key of the gateway that `up` starts is accepted, closes nothing by itself, and stays valid with a file."""
    keys = Keys(file, optional=True, companion="secret")
    assert not requires(keys)
    create(file, "alice")
    assert requires(keys)
    found = keys.find("secret")
    assert found is not None
    assert found.admin
    assert keys.find("other") is None


def test_admin_is_one_of_the_permissions(file: Path) -> None:
    """An admin key is one in the file, and lines of before, which say nothing of it, are none."""
    secret = create(file, "ops", admin=True)
    assert " admin=yes\n" in file.read_text()
    file.write_text(file.read_text() + f"old {digest('x')}\nno {digest('y')} admin=no\n")
    keys = Keys(file)
    found = [keys.find(one) for one in (secret, "x", "y")]
    assert [key is not None and key.admin for key in found] == [True, False, False]
    file.write_text(f"old {digest('x')} admin=maybe\n")
    with pytest.raises(KeysError, match="line 1: admin must be yes or no"):
        Keys(file)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o664])
def test_a_readable_file_is_noticed(file: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """A file that other users read, or a group changes, is used, and the log says how to close it."""
    create(file, "me")
    file.chmod(mode)
    assert Keys(file).required
    assert f"(mode {mode:03o}): run `chmod 600 {file}`" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_closed_file_is_silent(file: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """A file that only its owner changes, and at most a group reads, is as it should be."""
    create(file, "me")
    file.chmod(mode)
    assert Keys(file).required
    assert not caplog.records


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o666, 0o602, 0o777])
def test_a_file_that_all_can_change_is_refused(file: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where every user could add a key no server starts; while one runs, the keys from before stay."""
    secret = create(file, "me")
    running = Keys(file)
    file.chmod(mode)
    with pytest.raises(
        KeysError, match=r"refusing the key file .*keys, because every user can write it: run `chmod 600"
    ):
        Keys(file)
    file.write_text(f"eve {digest('x')}\n")
    assert running.required
    assert running.find("x") is None
    assert running.find(secret) is not None
    assert "keeping the previous keys" in caplog.text


def test_a_damaged_file_does_not_leave_the_server_open(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A first key file that can't be read is meant to close the server, so it does, until it is corrected."""
    path = file.with_name("first")
    keys = Keys(path, optional=True)
    assert not requires(keys)
    path.write_text("alice no-hash\n", encoding="utf-8")
    path.chmod(0o600)
    assert requires(keys)
    assert "accepting no key" in caplog.text
    assert keys.find("no-hash") is None
    path.unlink()
    assert requires(keys)
    secret = create(path, "alice")
    assert requires(keys)
    assert keys.find(secret)


@pytest.mark.parametrize("config", [GatewayConfig, ServiceConfig])
def test_a_lost_file_does_not_open_the_server(tmp_path: Path, config: Any) -> None:
    """Where keys have existed in the data folder, a server without them does not start open."""
    settings = config(data=tmp_path)
    settings.check_access()
    create(settings.key_file, "me")
    settings.check_access()
    settings.key_file.unlink()
    with pytest.raises(
        KeysError, match=r"existed and is missing; restore it, .* or delete .*keys\.required to start without keys"
    ):
        settings.check_access()
    with pytest.raises(KeysError, match="existed and is missing"):
        config(data=tmp_path, anonymous=True).check_access()
    config(data=tmp_path, api_key="x").check_access()
    marker(settings.key_file).unlink()
    settings.check_access()


def test_a_mark_that_cannot_be_left_is_no_error(tmp_path: Path) -> None:
    """A folder that can't be written to has no mark."""
    write_marker(tmp_path / "nowhere" / "keys")
    assert not marker(tmp_path / "nowhere" / "keys").exists()


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({"rest": "0.0.0.0:8080"}, True),
        ({"rest": ":8080"}, True),
        ({"rest": "box.example:8080"}, True),
        ({"rest": "[::]:8080"}, True),
        ({"rest": "127.0.0.1:8080"}, False),
        ({"rest": "[::1]:8080"}, False),
        ({"rest": "localhost:8080"}, False),
        ({"rest": "0.0.0.0:8080", "anonymous": True}, False),
        ({"rest": "0.0.0.0:8080", "api_key": "x"}, False),
        ({"grpc": "0.0.0.0:50051"}, True),
        ({"grpc": "box.example:50051"}, True),
        ({"grpc": "127.0.0.1:50051"}, False),
        ({"grpc": "unix:/run/tintype.sock"}, False),
        ({"grpc": "0.0.0.0:50051", "anonymous": True}, False),
        ({"grpc": "0.0.0.0:50051", "api_key": "x"}, False),
    ],
)
def test_public_address(tmp_path: Path, settings: dict[str, Any], is_open: bool) -> None:  # noqa: FBT001
    """Neither server lets other machines in without keys, unless that was said; the message says how to get one."""
    config = (GatewayConfig if "rest" in settings else ServiceConfig)(data=tmp_path, **settings)
    if is_open:
        with pytest.raises(KeysError, match=f"create a key with `tintype keys create NAME --keys {tmp_path}/keys`"):
            config.check_access()
        create(config.key_file, "me")
    config.check_access()


def test_certificates_are_authentication(tmp_path: Path) -> None:
    """A service that wants a certificate of each client may listen anywhere without keys."""
    ServiceConfig(data=tmp_path, grpc="0.0.0.0:50051", tls_client_ca=tmp_path / "ca.pem").check_access()
