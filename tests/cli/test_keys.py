"""`tintype keys`: creating, listing and revoking keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.cli import main
from tintype.v1.keyfile import digest, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder for one test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tintype"


def test_create_prints_only_the_key(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the key goes to stdout, for scripts; its file, and that it is not shown again, go to stderr."""
    assert main(["keys", "create", "alice"]) == 0
    out, err = capsys.readouterr()
    (key,) = read(data / "keys")
    assert (key.name, key.digest) == ("alice", digest(out.rstrip("\n")))
    assert "can't be shown again" in err
    assert str(data / "keys") in err
    assert "from now on gateway and service require a key" in err
    assert main(["keys", "create", "bob"]) == 0
    assert "the first one" not in capsys.readouterr().err


def test_list_shows_limits_and_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    """The list shows the limits and rights of each key, but no key."""
    assert main(["keys", "create", "alice"]) == 0
    more = ["--requests", "60", "--images", "0", "--model", "tiny,org/a", "--model", "b", "--priority", "-7", "--admin"]
    assert main(["keys", "create", "bob", *more]) == 0
    secrets = capsys.readouterr().out.split()
    assert main(["keys"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["NAME", "CREATED", "REQUESTS", "IMAGES", "PRIORITY", "ADMIN", "MODELS"]
    assert [row[:1] + row[2:] for row in rows[1:]] == [
        ["alice", "default", "default", "0", "no", "all"],
        ["bob", "60/min", "unlimited", "-7", "yes", "tiny,", "org/a,", "b"],
    ]
    assert not any(secret in out or digest(secret) in out for secret in secrets)


def test_empty_list_names_the_create_command(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list is not an error; a message names the command that creates a key."""
    assert main(["keys"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("There are no keys: ")
    assert "`tintype keys create NAME`" in err


def test_revoke_removes_the_key(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A revoked key is removed; after the last one, a message explains the consequence."""
    for name in ("alice", "bob"):
        assert main(["keys", "create", name]) == 0
    assert main(["keys", "revoke", "alice"]) == 0
    assert capsys.readouterr().out.endswith("The key of alice is revoked.\n")
    assert [key.name for key in read(data / "keys")] == ["bob"]
    assert main(["keys", "revoke", "bob"]) == 0
    assert "every request is refused now" in capsys.readouterr().out


def test_file_is_set_by_each_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is set by --keys, --data, a variable or the settings file."""
    assert main(["keys", "create", "a", "--keys", "k1"]) == 0
    assert main(["keys", "create", "a", "--data", "d"]) == 0
    (tmp_path / "tintype.toml").write_text("[gateway]\nkeys = 'k2'\n")
    assert main(["keys", "create", "a"]) == 0
    monkeypatch.setenv("TINTYPE_KEYS", "k3")
    assert main(["keys", "create", "a"]) == 0
    assert all((tmp_path / name).is_file() for name in ("k1", "k2", "k3", "d/keys"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("keys create", "create needs the name of a key: tintype keys create NAME"),
        ("keys revoke", "revoke needs the name of a key"),
        ("keys list bob", "did you mean `tintype keys create bob`?"),
        ("keys revoke bob", "has no key named bob; `tintype keys list` lists its keys"),
        ("keys crate bob", "invalid action 'crate'; did you mean 'create'?"),
        ("keys create a/b", "the name of a key must be 1 to 64 letters, digits or any of . _ @ -, not 'a/b'"),
        ("keys create bob --images many", "--images must be an integer; got 'many'"),
        ("keys create bob --requests -1", "requests of a key must be 0 or more, not -1"),
        ("keys create bob --priority 101", "priority of a key must be -100 to 100, not 101"),
        ("keys create bob --keys /proc/none/keys", "cannot write the key file /proc/none/keys: No such file"),
    ],
)
def test_error_is_one_line(arguments: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An error is one line."""
    assert main(arguments.split()) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1
