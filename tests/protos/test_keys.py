"""Keys of a running server: when a key is required, and how unsafe or missing key files are handled."""

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


def test_companion_key_requires_no_keys(file: Path) -> None:
    """The companion key is accepted, does not make keys required, and stays valid with a key file."""
    keys = Keys(file, optional=True, companion="secret")
    assert not requires(keys)
    create(file, "alice")
    assert requires(keys)
    found = keys.find("secret")
    assert found is not None
    assert found.admin
    assert keys.find("other") is None


def test_admin_permission(file: Path) -> None:
    """The field `admin` makes an admin key; keys without it are not admin keys."""
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
def test_readable_file_is_logged(file: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """A file that others can read or a group can write is used, and a warning says how to protect it."""
    create(file, "me")
    file.chmod(mode)
    assert Keys(file).required
    assert f"(mode {mode:03o}): run `chmod 600 {file}`" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_protected_file_is_not_logged(file: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """A file that only its owner can write, and at most a group can read, causes no warning."""
    create(file, "me")
    file.chmod(mode)
    assert Keys(file).required
    assert not caplog.records


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o666, 0o602, 0o777])
def test_world_writable_file_is_refused(file: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """No server starts with a file that every user can write; a running server keeps the previous keys."""
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


def test_damaged_first_file_requires_keys(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a first key file is damaged, the server requires a key, and accepts none until it is corrected."""
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
def test_missing_file_does_not_open_the_server(tmp_path: Path, config: Any) -> None:
    """If the data folder has had a key file, a server without it does not start."""
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


def test_unwritable_folder_gets_no_marker(tmp_path: Path) -> None:
    """If the folder is not writable, there is no marker, and no error."""
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
    """Without keys, neither server listens on a public address unless it is anonymous; the error says what to do."""
    config = (GatewayConfig if "rest" in settings else ServiceConfig)(data=tmp_path, **settings)
    if is_open:
        with pytest.raises(KeysError, match=f"create a key with `tintype keys create NAME --keys {tmp_path}/keys`"):
            config.check_access()
        create(config.key_file, "me")
    config.check_access()


def test_certificates_are_authentication(tmp_path: Path) -> None:
    """A service that requires client certificates may listen on any address without keys."""
    ServiceConfig(data=tmp_path, grpc="0.0.0.0:50051", tls_client_ca=tmp_path / "ca.pem").check_access()
