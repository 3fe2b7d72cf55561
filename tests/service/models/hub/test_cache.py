"""The cache on unusual file systems, and with files that other programs left."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path

import pytest

from tests.support.service.fake_hub import COMMIT, FakeHub, git_sha1
from tests.support.service.pulling import Pull, snapshot
from tintype.service.models.hub.cache import CachedRepository
from tintype.service.models.hub.errors import CacheFailure, HubError
from tintype.service.models.hub.listing import ListedFile

FILES = {"model.safetensors": b"x" * 2000, "README.md": b"card"}


def no_links(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without symbolic links the contents are in the snapshot, and a second pull downloads nothing."""
    monkeypatch.setattr(Path, "symlink_to", no_links(errno.EPERM))
    with FakeHub(FILES) as hub:
        path = Pull(hub, tmp_path).run()
        assert snapshot(path.parent) == FILES
        assert not path.is_symlink()
        hub.seen.clear()
        Pull(hub, tmp_path).run()
        assert len(hub.seen) == 1


def test_a_link_that_is_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another failure to link is an error, and the content stays in the cache."""
    monkeypatch.setattr(Path, "symlink_to", no_links(errno.EACCES))
    with FakeHub(FILES) as hub, pytest.raises(CacheFailure, match=r"cannot write .*: Permission denied"):
        Pull(hub, tmp_path).run()


def test_broken_links_are_replaced(tmp_path: Path) -> None:
    """A link to a content that is gone, or to another file, is replaced."""
    with FakeHub(FILES) as hub:
        path = Pull(hub, tmp_path).run()
        for target in ("nowhere", "README.md"):
            path.unlink()
            path.symlink_to(target)
            assert Pull(hub, tmp_path).run().read_bytes() == FILES["model.safetensors"]


@pytest.mark.parametrize("content", ["", "main", "../../x", "c" * 39, "c" * 10**6, "\udcff"])
def test_odd_refs(tmp_path: Path, content: str) -> None:
    """A ref that holds no commit is unknown."""
    repository = CachedRepository(tmp_path, "a/b")
    (repository.folder / "refs").mkdir(parents=True)
    (repository.folder / "refs" / "main").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert repository.commit("main") == ""
    assert repository.commit("../x") == ""
    repository.keep_commit("main", COMMIT)
    assert repository.commit("main") == COMMIT


def test_names_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a colon would name another drive."""
    repository = CachedRepository(tmp_path, "a/b")
    assert repository.pointer(COMMIT, "C:x") == repository.snapshot(COMMIT) / "C:x"
    with monkeypatch.context() as patched:
        patched.setattr("tintype.service.models.hub.cache.os.name", "nt")
        with pytest.raises(HubError, match=r"unsafe file name 'C:x'"):
            repository.pointer(COMMIT, "C:x")


def test_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no locks, downloads go on without them."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    file, waited = ListedFile(1, git_sha1(b"x")), []

    async def twice() -> None:
        repository = CachedRepository(tmp_path, "a/b")
        async with repository.lock(file, lambda: waited.append(1)), repository.lock(file, lambda: waited.append(1)):
            pass

    asyncio.run(twice())
    assert waited == []
