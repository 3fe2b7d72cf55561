"""The folder for converted weights never holds anything that is not used."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.templates import weight_cache
from tintype.service.models.templates.weight_cache import CARD, MARGIN, PARTIAL, WeightCache
from tintype.service.models.weights.tensor_files import FileIdentity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIB = 2**30


@pytest.fixture
def cache(tmp_path: Path) -> WeightCache:
    """A cache whose folder does not exist yet."""
    return WeightCache(tmp_path / "deep" / "cache")


def writes(content: str = "weights", **card: Any) -> Callable[[Path], dict[str, Any]]:
    """Return a function that writes an entry's file and returns its card."""

    def write(folder: Path) -> dict[str, Any]:
        (folder / "weights").write_text(content)
        return {"sources": {}, **card}

    return write


def names(cache: WeightCache) -> list[str]:
    """Return the names in the cache."""
    return sorted(path.name for path in cache.root.iterdir())


def have_space(monkeypatch: pytest.MonkeyPatch, cache: WeightCache, total: int) -> None:
    """Let the disk have `total` bytes, of which the files in the cache take theirs."""

    def usage(_: Path) -> Any:
        used = sum(path.stat().st_size for path in cache.root.rglob("*") if path.is_file())
        return type("Usage", (), {"free": total - used})

    monkeypatch.setattr(shutil, "disk_usage", usage)


def test_a_temporary_folder_is_deleted(cache: WeightCache) -> None:
    """Its files go with it, after an error too."""
    with cache.temporary(1, "x") as folder:
        (folder / "weights").write_text("w")
    assert names(cache) == []
    with contextlib.suppress(ZeroDivisionError), cache.temporary(1, "x") as folder:
        (folder / "weights").write_text("w")
        _ = 1 / 0
    assert names(cache) == []


def test_an_entry_is_made_once(cache: WeightCache) -> None:
    """It is complete when it appears, and its use is recorded."""
    assert cache.card("unet-1") is None
    cache.make("unet-1", 7, "x", writes(bytes=7))
    assert cache.card("unet-1") == {"tintype": "converted weights", "sources": {}, "bytes": 7}
    assert names(cache) == ["unet-1"]
    os.utime(cache.root / "unet-1" / CARD, ns=(1, 1))
    folder = cache.use("unet-1")
    assert (folder / "weights").read_text() == "weights"
    assert (folder / CARD).stat().st_mtime_ns > 1


def test_an_entry_that_fails_is_not_kept(cache: WeightCache) -> None:
    """Nothing half-written appears under the key."""

    def write(folder: Path) -> dict[str, Any]:
        (folder / "weights").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.make("unet-1", 7, "x", write)
    assert names(cache) == []


@pytest.mark.parametrize("card", [None, "", "[]", "{"])
def test_a_damaged_entry_is_made_again(cache: WeightCache, card: str | None) -> None:
    """An entry without a readable card does not count."""
    folder = cache.root / "unet-1"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("old")
    if card is not None:
        (folder / CARD).write_text(card)
    assert cache.card("unet-1") is None
    cache.make("unet-1", 7, "x", writes("new"))
    assert (cache.use("unet-1") / "weights").read_text() == "new"


def test_the_faster_process_wins(cache: WeightCache) -> None:
    """Two processes may make one entry at the same time: both use that of the first to end."""

    def write(folder: Path) -> dict[str, Any]:
        cache.make("unet-1", 7, "x", writes("first"))
        return writes("second")(folder)

    cache.make("unet-1", 7, "x", write)
    assert (cache.use("unet-1") / "weights").read_text() == "first"
    assert names(cache) == ["unet-1"]


def test_an_entry_that_another_process_has_just_made_stays(cache: WeightCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has seen no entry a moment ago does not remove it from under a session that is reading it."""
    cache.make("unet-1", 7, "x", writes("first"))
    removed: list[Path] = []
    monkeypatch.setattr(weight_cache, "_remove", removed.append)
    cache.make("unet-1", 7, "x", writes("second"))
    assert (cache.use("unet-1") / "weights").read_text() == "first"
    assert [folder.name.startswith(PARTIAL) for folder in removed] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
@pytest.mark.parametrize("error", [BlockingIOError, FileNotFoundError])
def test_a_folder_that_is_taken_for_a_leftover(
    cache: WeightCache, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """Another process may lock or remove a new folder before it is locked; then another one is made."""
    lock, attempts = weight_cache._lock, []

    def contended(folder: Path) -> int | None:
        attempts.append(folder)
        if len(attempts) == 1:
            raise error
        return lock(folder)

    monkeypatch.setattr(weight_cache, "_lock", contended)
    with cache.temporary(1, "x") as folder:
        assert folder == attempts[1] != attempts[0]


def test_an_entry_that_is_being_made_stays(cache: WeightCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have written the card, but not yet have renamed the folder."""

    def write(folder: Path) -> dict[str, Any]:
        card = {"tintype": "converted weights", "sources": {}}
        (folder / CARD).write_text(json.dumps(card))
        have_space(monkeypatch, cache, MARGIN + 10)
        with pytest.raises(OSError, match="are free"), cache.temporary(20, "x"):
            pass
        assert (folder / CARD).exists()
        return card

    cache.make("unet-1", 7, "x", write)
    assert names(cache) == ["unet-1"]


def test_leftovers_of_crashed_processes_are_removed(cache: WeightCache) -> None:
    """A folder that a killed process was writing is removed; one of a living process stays."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from tintype.service.models.templates.weight_cache import WeightCache\n"
        "with WeightCache(Path(sys.argv[1])).temporary(1, 'x') as folder:\n"
        "    (folder / 'weights').write_text('w'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, cache.root], check=False).returncode == 9
    (left,) = names(cache)
    assert left.startswith(PARTIAL)
    with cache.temporary(1, "x") as ours, cache.temporary(1, "y") as other:
        assert sorted([ours.name, other.name]) == names(cache)


def test_entries_of_changed_files_are_removed(cache: WeightCache, tmp_path: Path) -> None:
    """An entry whose source has another identity, or is missing, can't be used again."""
    sources = {name: tmp_path / name for name in ("same", "changed", "missing")}
    for name, path in sources.items():
        path.write_text("source")
        cache.make(name, 1, "x", writes(sources={str(path): list(FileIdentity.of(path))}))
    assert names(cache) == ["changed", "missing", "same"]
    sources["changed"].write_text("other")
    sources["missing"].unlink()
    with cache.temporary(1, "x") as folder:
        assert names(cache) == sorted(["same", folder.name])


@pytest.mark.parametrize(
    "card", ["", "{}", "[]", '{"sources": {"/missing": [1, 2, 3]}}', '{"tintype": "other", "sources": {}}']
)
def test_other_contents_are_left_alone(cache: WeightCache, monkeypatch: pytest.MonkeyPatch, card: str) -> None:
    """Users may choose a folder that has more than converted weights."""
    for name in ("foreign", "partial-download"):
        (cache.root / name).mkdir(parents=True)
        (cache.root / name / CARD).write_text(card)
    (cache.root / "file").write_text("x")
    have_space(monkeypatch, cache, GIB)
    with pytest.raises(OSError, match="are free"), cache.temporary(3 * GIB, "x"):
        pass
    assert names(cache) == ["file", "foreign", "partial-download"]


def test_the_least_recently_used_entry_makes_space(cache: WeightCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are removed only until the new one fits."""
    for age, key in enumerate(("new", "old", "older")):
        cache.make(key, 1000, "x", writes("w" * 1000))
        os.utime(cache.root / key / CARD, ns=(10**9 - age, 10**9 - age))
    size = sum(path.stat().st_size for path in (cache.root / "old").iterdir())
    have_space(monkeypatch, cache, MARGIN + 3 * size + 500)
    with cache.temporary(1000, "x"):
        assert {"new", "old", "older"} & set(names(cache)) == {"new", "old"}
    with cache.temporary(2 * size, "x"):
        assert {"new", "old"} & set(names(cache)) == {"new"}


def test_entries_stay_if_removing_them_does_not_help(cache: WeightCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has what is needed and what is free."""
    cache.make("old", 1000, "x", writes("w" * 1000))
    have_space(monkeypatch, cache, GIB)
    message = r"unet/m needs 3,136 MiB in .*/deep/cache, where 1,02[34] MiB are free: free some space, or choose"
    with pytest.raises(OSError, match=message), cache.temporary(3 * GIB, "unet/m"):
        pass
    assert names(cache) == ["old"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error has the flag, the path and the reason."""
    (tmp_path / "file").write_text("")
    message = r"^--weights-cache .*/file/cache cannot be used as a folder: Not a directory$"
    with pytest.raises(OSError, match=message), WeightCache(tmp_path / "file" / "cache").temporary(1, "x"):
        pass


def test_other_errors_stay_as_they_are(cache: WeightCache) -> None:
    """Only a full disk gets another message."""
    with pytest.raises(PermissionError, match="no"), cache.temporary(1, "x"):
        raise PermissionError(13, "no")


def test_a_card_is_readable(cache: WeightCache) -> None:
    """It is JSON, for people and tools."""
    cache.make("unet-1", 7, "x", writes(bytes=7))
    assert json.loads((cache.root / "unet-1" / CARD).read_text("utf-8"))["bytes"] == 7
