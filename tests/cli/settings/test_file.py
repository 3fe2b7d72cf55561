"""The settings file: its names, its place, and a warning about keys that other users can read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tintype.cli.errors import UserError
from tintype.cli.settings.file import SettingsFile, read_file
from tintype.cli.settings.sources import Sources
from tintype.service.config import ServiceConfig

if TYPE_CHECKING:
    from pathlib import Path


def write_settings(tmp_path: Path, text: str) -> SettingsFile:
    path = tmp_path / "tintype.toml"
    path.write_text(text)
    return read_file(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memroy = '1GiB'", "unknown setting 'memroy'; did you mean 'memory'?"),
        ("[service]\nthread = 2", "[service]: unknown setting 'thread'; did you mean 'threads'?"),
        ("threads = 2", "unknown setting 'threads'; it belongs in [service]"),
        ("[service]\nmax_body = 2", "unknown setting 'max_body'; it belongs in [gateway]"),
        ("[servce]\nthreads = 2", "did you mean 'service'?"),
        ("service = 2", "service must be a section: write [service], and its settings below it"),
        ("xyz = 1", "known settings: "),
        ("memory =", "is not valid TOML"),
    ],
)
def test_unknown_name_suggests_the_intended_one(tmp_path: Path, text: str, expected: str) -> None:
    """An unknown name is an error that suggests what was meant."""
    with pytest.raises(UserError) as caught:
        write_settings(tmp_path, text)
    assert expected in str(caught.value)
    assert "tintype.toml" in str(caught.value)


def test_named_file_must_exist() -> None:
    """A file that --config names must exist."""
    with pytest.raises(UserError, match=r"cannot read the settings file /nowhere/t\.toml: No such file"):
        Sources.gather({"config": "/nowhere/t.toml"})


def test_default_file_is_read_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./tintype.toml is read if it exists; --config and TINTYPE_CONFIG name another file."""
    monkeypatch.chdir(tmp_path)
    assert Sources.gather({}).config(ServiceConfig).threads == 0
    (tmp_path / "tintype.toml").write_text("[service]\nthreads = 1")
    (tmp_path / "other.toml").write_text("[service]\nthreads = 2")
    assert Sources.gather({}).config(ServiceConfig).threads == 1
    monkeypatch.setenv("TINTYPE_CONFIG", "other.toml")
    assert Sources.gather({}).config(ServiceConfig).threads == 2
    assert Sources.gather({"config": "tintype.toml"}).config(ServiceConfig).threads == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("api_key = 'x'", 0o644, "other users can read api_key"),
        ("[gateway]\nservice_key = 'x'", 0o604, "other users can read service_key"),
        ("api_key = 'x'", 0o640, ""),
        ("memory = '1GiB'", 0o644, ""),
    ],
)
def test_readable_file_with_a_key_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, mode: int, expected: str
) -> None:
    """A settings file with a key that other users can read is used, with a warning that names the remedy."""
    path = tmp_path / "tintype.toml"
    path.write_text(text)
    path.chmod(mode)
    read_file(path)
    err = capsys.readouterr().err
    assert err == (f"tintype: {expected} in {path}: run `chmod 600 {path}`\n" if expected else "")
