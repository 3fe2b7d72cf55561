"""The file of keys."""

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
    """A key is told once; the file, which only its owner can read, has what does not betray it."""
    secret = create(file, "me")
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    (key,) = read(file)
    assert (key.name, key.digest) == ("me", digest(secret))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", key.created)


def test_what_a_key_may(file: Path) -> None:
    """What is written is read again, in words that a person can read and change; what was not said is not written."""
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


def test_the_file_of_before(file: Path) -> None:
    """Lines with no more than a name and a hash are keys, and stay as they are, like all that people write."""
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


def test_names(file: Path) -> None:
    """A name has one key."""
    create(file, "me")
    with pytest.raises(KeysError, match="already has a key named me; remove it with `tintype keys revoke me`"):
        create(file, "me")
    revoke(file, "me")
    assert read(file) == []
    with pytest.raises(KeysError, match="has no key named me; `tintype keys list` lists its keys"):
        revoke(file, "me")


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 65, "ü", "#a"])
def test_bad_name(file: Path, name: str) -> None:
    """A name that would break the file is none."""
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
def test_bad_limits(file: Path, limits: dict[str, Any], said: str) -> None:
    """A limit that can't be is named."""
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
def test_unreadable(file: Path, line: str, said: str) -> None:
    """A line that is none is named, without repeating what may be a key."""
    file.parent.mkdir()
    file.write_text(f"# ours\n\n{line}\n")
    with pytest.raises(KeysError, match=said) as caught:
        read(file)
    assert "tt-secret" not in str(caught.value)


def test_large_letters(file: Path) -> None:
    """Programs that write digits of SHA-256 in capitals mean the same."""
    file.parent.mkdir()
    file.write_text(f"me {digest('x').upper()}\n")
    assert read(file)[0].digest == digest("x")


def test_all_at_once(file: Path) -> None:
    """Writers at the same moment lose no key of each other, and leave nothing beside the file."""
    names = {f"key-{number}" for number in range(40)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: create(file, name), names))
    assert {key.name for key in read(file)} == names
    assert list(file.parent.iterdir()) == [file]


def test_failed_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, the file stays as it was, and nothing is left beside it."""
    create(file, "me")
    before = file.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeysError, match=r"cannot write the key file .*keys: No space left on device"):
        create(file, "you")
    assert file.read_text() == before
    assert list(file.parent.iterdir()) == [file]


def test_link(file: Path, tmp_path: Path) -> None:
    """A file that is a link to another stays one."""
    link = tmp_path / "link"
    create(file, "me")
    link.symlink_to(file)
    create(link, "you")
    assert link.is_symlink()
    assert len(read(file)) == 2


def test_no_device_is_replaced(tmp_path: Path) -> None:
    """A path such as /dev/null is refused: the file of keys would take the place of the device."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(KeysError, match=r"cannot write the key file .*pipe: it is not a regular file"):
        create(path, "me")
    assert path.is_fifo()
