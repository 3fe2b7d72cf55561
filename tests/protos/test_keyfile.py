"""The key file: keys are written, read and removed without loss, and errors name the line."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tintype.v1.keyfile import Key, KeysError, create, digest, read, revoke

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


def test_create(file: Path) -> None:
    """The key is returned once; the file has only its hash, and only its owner can read it."""
    secret = create(file, "me")
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    (key,) = read(file)
    assert (key.name, key.digest) == ("me", digest(secret))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", key.created)


def test_fields_are_written_and_read(file: Path) -> None:
    """Fields are read as they were written; fields with their default are not written."""
    create(file, "plain")
    create(file, "me", requests=60, images=0, models=("tiny", "org/a, b"), priority=-5)
    plain, mine = read(file)
    assert plain == Key(name="plain", digest=plain.digest, created=plain.created)
    assert (mine.requests, mine.images, mine.models, mine.priority) == (60, 0, ("tiny", "org/a, b"), -5)
    assert file.read_text().splitlines()[1].split()[3:] == [
        "requests=60",
        "images=0",
        "models=tiny,org/a%2C%20b",
        "priority=-5",
    ]


def test_other_lines_are_kept(file: Path) -> None:
    """Lines with only a name and a hash are keys; comments and blank lines stay unchanged."""
    file.parent.mkdir()
    written = f"# ours\n\nme   {digest('x')}\n"
    file.write_text(written)
    file.chmod(0o644)
    assert read(file) == [Key(name="me", digest=digest("x"))]
    create(file, "you")
    assert file.read_text().startswith(written)
    revoke(file, "you")
    assert file.read_text() == written
    assert file.stat().st_mode & 0o777 == 0o600


def test_names_are_unique(file: Path) -> None:
    """Creating a second key of one name, or revoking an unknown name, is an error."""
    create(file, "me")
    with pytest.raises(KeysError, match="already has a key named me; remove it with `tintype keys revoke me`"):
        create(file, "me")
    revoke(file, "me")
    assert read(file) == []
    with pytest.raises(KeysError, match="has no key named me; `tintype keys list` lists its keys"):
        revoke(file, "me")


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 65, "ü", "#a"])
def test_invalid_name(file: Path, name: str) -> None:
    """A name that would break the format of the file is refused."""
    with pytest.raises(KeysError, match="the name of a key must be"):
        create(file, name)
    assert not file.exists()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"requests": -1}, "requests of a key must be 0 or more, not -1"),
        ({"images": -1}, "images of a key must be 0 or more, not -1"),
        ({"priority": 101}, "priority of a key must be -100 to 100, not 101"),
    ],
)
def test_invalid_limits(file: Path, limits: dict[str, Any], said: str) -> None:
    """An invalid limit is refused, and the error names it."""
    with pytest.raises(KeysError, match=said):
        create(file, "me", **limits)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("me tt-secret", "line 3 must be a name and a SHA-256"),
        ("tt-secret", "line 3 must be a name and a SHA-256"),
        (
            f"me {digest('x')} tt-secret",
            "line 3: fields after the SHA-256 must be some of created=, requests=, images=",
        ),
        (f"me {digest('x')} images=many", "line 3: images must be a whole number"),
        (f"me {digest('x')} priority=500", "line 3: priority of a key must be -100 to 100, not 500"),
    ],
)
def test_invalid_line(file: Path, line: str, said: str) -> None:
    """The error names the number of an invalid line and does not repeat its text, which may be a key."""
    file.parent.mkdir()
    file.write_text(f"# ours\n\n{line}\n")
    with pytest.raises(KeysError, match=said) as caught:
        read(file)
    assert "tt-secret" not in str(caught.value)


def test_upper_case_digest(file: Path) -> None:
    """A SHA-256 in upper case is accepted."""
    file.parent.mkdir()
    file.write_text(f"me {digest('x').upper()}\n")
    assert read(file)[0].digest == digest("x")


def test_concurrent_writers(file: Path) -> None:
    """Concurrent writers lose no keys, and leave no other files."""
    names = {f"key-{number}" for number in range(40)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: create(file, name), names))
    assert {key.name for key in read(file)} == names
    assert list(file.parent.iterdir()) == [file]


def test_failed_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, the file stays unchanged, and no other file is left."""
    create(file, "me")
    before = file.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeysError, match=r"cannot write the key file .*keys: No space left on device"):
        create(file, "you")
    assert file.read_text() == before
    assert list(file.parent.iterdir()) == [file]


def test_symbolic_link(file: Path, tmp_path: Path) -> None:
    """A key file that is a symbolic link stays one."""
    link = tmp_path / "link"
    create(file, "me")
    link.symlink_to(file)
    create(link, "you")
    assert link.is_symlink()
    assert len(read(file)) == 2


def test_devices_are_not_replaced(tmp_path: Path) -> None:
    """A path such as /dev/null is refused, because the key file would replace the device."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(KeysError, match=r"cannot write the key file .*pipe: it is not a regular file"):
        create(path, "me")
    assert path.is_fifo()
