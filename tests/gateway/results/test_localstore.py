"""Results by link: random names, signed links with expiry, a bounded folder."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.clock import Clock
from tests.support.gateway.fakes import PATH, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import FILES
from tintype.gateway.errors import NoSuchFile, StartError, StoreFull
from tintype.gateway.results.localstore import LocalStore
from tintype.gateway.results.store import FileContent, StoredFile

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> LocalStore:
    return LocalStore(tmp_path, ttl=100, capacity=20, clock=clock)


async def follow(store: LocalStore, link: str) -> FileContent:
    access, name = link.split("/")[-2:]
    return await store.open(name, access)


def stored_bytes(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / "files").iterdir())


async def test_stored_files_are_returned_with_their_type(store: LocalStore) -> None:
    """A stored file is returned with its type, under a name of 128 random bits."""
    stored = await store.put(FILES)
    for (data, mime_type), file, extension in zip(FILES, stored, ("png", "jpg", "webp"), strict=True):
        assert re.fullmatch(rf"[0-9a-f]{{32}}\.{extension}", file.name)
        content = await follow(store, store.url(file, "http://h"))
        assert (content.data, content.mime_type, content.remaining) == (data, mime_type, 100)
    assert len({file.name for file in await store.put(FILES)}) == 3


def modes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mode & 0o777 for path in folder.rglob("*")}


async def test_only_the_owner_can_read_files(store: LocalStore, tmp_path: Path) -> None:
    """Only the owner can read the files, their folder and the key."""
    await store.put(FILES)
    found = modes(tmp_path)
    assert found.pop(tmp_path / "files") == 0o700
    assert set(found.values()) == {0o600}


async def test_a_new_store_accepts_old_links(store: LocalStore, tmp_path: Path, clock: Clock) -> None:
    """A new store on the same folder accepts the links of the old one, and counts its files."""
    link = store.url((await store.put([(b"x" * 15, "image/png")]))[0], "http://h")
    again = LocalStore(tmp_path, ttl=100, capacity=20, clock=clock)
    assert (await follow(again, link)).data == b"x" * 15
    await again.put([(b"y" * 10, "image/png")])
    assert stored_bytes(tmp_path) == [b"y" * 10]


async def test_links_of_other_stores_are_refused(store: LocalStore, tmp_path: Path) -> None:
    """Links of another store are refused."""
    stored = (await store.put(FILES))[0]
    with pytest.raises(NoSuchFile):
        await follow(store, LocalStore(tmp_path / "other").url(stored, "http://h"))


async def test_links_expire(store: LocalStore, tmp_path: Path, clock: Clock) -> None:
    """A link works until its last second; then the next access deletes the file."""
    first, second, _ = [store.url(file, "http://h") for file in await store.put(FILES)]
    clock.now += 99
    assert (await follow(store, first)).remaining == 1
    clock.now += 1
    with pytest.raises(NoSuchFile):
        await follow(store, second)
    assert stored_bytes(tmp_path) == [b"one", b"three"]
    assert await store.sweep() == 2
    assert stored_bytes(tmp_path) == []


async def test_changed_expiries_are_refused(store: LocalStore) -> None:
    """A link with a changed expiry has no valid signature."""
    stored = (await store.put(FILES))[0]
    signature = store.url(stored, "").split("/")[-2].partition("-")[2]
    for expires in (stored.expires + 1, stored.expires - 1):
        with pytest.raises(NoSuchFile):
            await store.open(stored.name, f"{expires}-{signature}")


@pytest.mark.parametrize("signature", ["", "0" * 32, "ü" * 32, "\ud800"])
async def test_wrong_signatures_are_refused(store: LocalStore, signature: str) -> None:
    """A wrong signature is refused, whatever characters it has."""
    stored = (await store.put(FILES))[0]
    with pytest.raises(NoSuchFile):
        await store.open(stored.name, f"{stored.expires}-{signature}")


@pytest.mark.parametrize(
    "name", ["../links.key", "/etc/passwd", "", ".", "a.png", "A" * 32 + ".png", "0" * 32 + ".png\n", "0" * 32 + ".exe"]
)
async def test_only_result_names_are_opened(store: LocalStore, name: str) -> None:
    """A name of another form is never opened, even with the right signature."""
    signature = store._links.sign(StoredFile(name, 2_000_000))
    with pytest.raises(NoSuchFile):
        await store.open(name, f"2000000-{signature}")


@pytest.mark.parametrize("expires", ["", "-1", "x", "1e9", "9" * 40, "٣"])
async def test_invalid_expiries_are_refused(store: LocalStore, expires: str) -> None:
    """An expiry that is not a plain number is refused."""
    stored = (await store.put(FILES))[0]
    with pytest.raises(NoSuchFile):
        await store.open(stored.name, f"{expires}-{'0' * 32}")


async def test_the_oldest_files_are_deleted_first(store: LocalStore, tmp_path: Path, clock: Clock) -> None:
    """When the space is used up, the oldest files are deleted, and no more than necessary."""
    for letter in (b"a", b"b", b"c"):
        await store.put([(letter * 8, "image/png")])
        clock.now += 1
    assert stored_bytes(tmp_path) == [b"b" * 8, b"c" * 8]
    await store.put([(b"d" * 4, "image/png")])
    assert stored_bytes(tmp_path) == [b"b" * 8, b"c" * 8, b"d" * 4]


async def test_files_that_can_never_fit_are_refused(store: LocalStore, tmp_path: Path) -> None:
    """Files that can never fit are refused, and no other file is deleted."""
    await store.put(FILES)
    with pytest.raises(StoreFull, match="21 bytes"):
        await store.put([(b"x" * 21, "image/png")])
    assert len(stored_bytes(tmp_path)) == 3


def fill_disk_after(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    """Let the disk be full after `files` files, in the middle of the next."""
    write = os.write
    written = 0

    def full(path: Path, data: bytes) -> None:
        nonlocal written
        written += 1
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        write(descriptor, data if written <= files else data[:1])
        os.close(descriptor)
        if written > files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tintype.gateway.results.localstore._write_bytes", full)


async def test_a_full_disk_stores_no_file_of_a_request(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full in the middle of a request, none of its files stay, and older files stay."""
    await store.put([(b"old", "image/png")])
    fill_disk_after(monkeypatch, 2)
    with pytest.raises(StoreFull, match="no space"):
        await store.put(FILES)
    assert stored_bytes(tmp_path) == [b"old"]
    monkeypatch.undo()
    assert len(await store.put(FILES)) == 3


async def test_a_full_disk_gives_507(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk gives 507 for that request only: base64 needs no disk."""
    async with running_gateway(config(service, tmp_path)) as client:
        fill_disk_after(monkeypatch, 1)
        answer = await client.post(PATH, json={"prompt": "x", "n": 3})
        message = check_error(answer, 507, "server_error", "insufficient_storage", None)
        assert "b64_json" in message
        assert answer.headers["x-should-retry"] == "false"
        assert stored_bytes(tmp_path) == []
        assert (await client.post(PATH, json={"prompt": "x", "response_format": "b64_json"})).status_code == 200


async def test_old_partial_files_are_deleted(store: LocalStore, tmp_path: Path) -> None:
    """Partial files of a crash are deleted when they are old, and never served; foreign files stay."""
    half = tmp_path / "files" / ".00000000000000000000000000000000.png.part"
    half.write_bytes(b"half")
    (tmp_path / "files" / "README").write_text("mine")
    await store.sweep()
    assert half.exists()

    def long_ago(*_: Any) -> float:
        return half.stat().st_ctime + 61

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tintype.gateway.results.localstore.time.time", long_ago)
        await store.sweep()
    assert stored_bytes(tmp_path) == [b"mine"]


def test_a_truncated_key_is_refused(tmp_path: Path) -> None:
    """A truncated key is not used; the message says what to do."""
    (tmp_path / "links.key").write_bytes(b"short")
    with pytest.raises(StartError, match=r"links\.key must have 32 bytes, not 5: delete it to create a new one"):
        LocalStore(tmp_path)


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    """The error for a data folder that can't be created names it."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartError, match=r"cannot use the data folder .* choose another with --data"):
        LocalStore(tmp_path / "data")
