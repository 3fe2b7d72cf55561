"""Downloads over bad connections, of several processes, and after interruptions."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.support.service.fake_hub import FakeHub, sha256
from tests.support.service.pulling import Pull, snapshot
from tintype.service.models.hub import HubError, HubId, HubSettings, Wish, download
from tintype.service.models.hub.client import Hub
from tintype.service.models.hub.download import Transfer
from tintype.service.models.hub.errors import CacheFailure, DamagedFile, HubUnavailable
from tintype.service.models.hub.part_file import PartFile

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(256)) * 80  # 20,480 bytes
FILES = {"model.safetensors": CONTENT, "README.md": b"card"}


@pytest.fixture(params=["stream", "ranges"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Download once as a stream, and once in ranges of 3,000 bytes."""
    if request.param == "ranges":
        monkeypatch.setattr(download, "SEGMENT", 3000)


def part_of(cache: Path) -> Path:
    return cache / "models--owner--name" / "blobs" / f"{sha256(CONTENT)}.incomplete"


def check(path: Path, cache: Path) -> None:
    assert snapshot(path.parent) == FILES
    assert not part_of(cache).exists()


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"broken": 1},
        {"broken": 4},
        {"storage_down": 2},
        {"expired": 1},
        {"expired": 1, "broken": 2},
        {"damaged": 1},
        {"limited": 1, "later": 1, "down": 1},
        {"no_range": 1},
        {"no_range": 99, "broken": 2},
    ],
    ids=str,
)
def test_faults_that_pass(tmp_path: Path, faults: dict[str, int]) -> None:
    """Broken, refused, damaged and whole responses end in the right file."""
    with FakeHub(FILES, faults=faults) as hub:
        check(Pull(hub, tmp_path).run(), tmp_path)


def test_broken_streams_are_resumed(tmp_path: Path) -> None:
    """After a broken connection only the rest is requested, also in a later process."""
    with FakeHub(FILES, faults={"broken": 99}) as hub:
        part_of(tmp_path).parent.mkdir(parents=True)
        part_of(tmp_path).write_bytes(CONTENT[:10_000])
        hub.faults["broken"] = 2
        pull = Pull(hub, tmp_path)
        check(pull.run(), tmp_path)
        spans = [seen.range for seen in hub.seen if seen.server == "storage"]
        assert spans == ["bytes=10000-", "bytes=15240-", "bytes=17860-"]
        assert pull.plan.bytes_missing == len(CONTENT) - 10_000 + 4
        assert pull.waits == [0.5, 0.5]


def test_ranges_are_requested_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file arrives in ranges, and storage is asked directly after the first redirect."""
    monkeypatch.setattr(download, "SEGMENT", 3000)
    with FakeHub(FILES) as hub:
        check(Pull(hub, tmp_path).run(), tmp_path)
        spans = sorted(seen.range or "" for seen in hub.seen if seen.server == "storage")
        assert spans == sorted(f"bytes={at}-{min(at + 3000, 20480) - 1}" for at in range(0, 20480, 3000))
        assert hub.paths("hub").count("/owner/name/resolve/c0ffee" + "0" * 34 + "/model.safetensors") <= download.WINDOW


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    "left", [CONTENT[:5000], b"x" * 5000, CONTENT, b"x" * len(CONTENT), CONTENT + b"y", b""], ids=len
)
def test_parts_of_earlier_processes(tmp_path: Path, left: bytes) -> None:
    """A part is resumed; one that is damaged or too long is replaced."""
    part_of(tmp_path).parent.mkdir(parents=True)
    part_of(tmp_path).write_bytes(left)
    with FakeHub(FILES) as hub:
        check(Pull(hub, tmp_path).run(), tmp_path)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("damaged", r"^owner/name/model\.safetensors: its SHA-256 is [0-9a-f]{64}, but the hub lists [0-9a-f]{64}$"),
        ("longer", r"^owner/name/model\.safetensors: (more bytes than the 20,480|the hub sent a longer range than)"),
    ],
)
def test_damaged_files(tmp_path: Path, fault: str, message: str) -> None:
    """A content that stays wrong is an error that has both hashes or sizes, and leaves no part."""
    with FakeHub(FILES, faults={fault: 99}) as hub, pytest.raises(DamagedFile, match=message):
        Pull(hub, tmp_path).run()
    assert not (part_of(tmp_path).exists() and part_of(tmp_path).stat().st_size)
    assert not list(tmp_path.glob("*/snapshots/*/model.safetensors"))


def test_another_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response with another range than requested is an error."""
    monkeypatch.setattr(download, "SEGMENT", 3000)
    with (
        FakeHub(FILES, faults={"other_range": 1}) as hub,
        pytest.raises(DamagedFile, match=r"range must begin at \d+ of 20480 bytes"),
    ):
        Pull(hub, tmp_path).run()


@pytest.mark.parametrize("fault", ["storage_down", "expired", "broken"])
def test_storage_that_stays_down(tmp_path: Path, fault: str) -> None:
    """After several attempts without progress the pull ends, and what has arrived stays."""
    with FakeHub(FILES, faults={fault: 999}) as hub:
        pull = Pull(hub, tmp_path)
        with pytest.raises(HubUnavailable, match=r"^owner/name/model\.safetensors: no answer from the hub"):
            pull.run()
        if fault == "broken":
            assert CONTENT.startswith(part_of(tmp_path).read_bytes())
            assert part_of(tmp_path).stat().st_size > 20_000
        else:
            assert pull.waits == [0.5, 1, 2, 4, 8]
        hub.faults[fault] = 0
        check(Pull(hub, tmp_path).run(), tmp_path)


@pytest.mark.parametrize(
    ("redirect", "message"),
    [
        ("file:///etc/passwd", r"redirect to 'file:///etc/passwd', which is not a web address"),
        ("http://[::1", r"Invalid URL in location header"),
        ("//", r"more than 6 redirects"),
    ],
)
def test_odd_redirects(tmp_path: Path, redirect: str, message: str) -> None:
    """A redirect to something other than a web address is refused."""
    with FakeHub(FILES, redirect=redirect) as hub, pytest.raises(HubError, match=message):
        Pull(hub, tmp_path).run()


def test_files_above_50_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If storage refuses a huge file, the message names the tool that can fetch it."""
    monkeypatch.setattr(download, "XET_ONLY", 10_000)
    with FakeHub(FILES, faults={"too_large": 1}) as hub, pytest.raises(HubError) as caught:
        Pull(hub, tmp_path).run()
    assert "HTTP 400 from 127.0.0.1, where the hub keeps this file; the hub may send files above 50 GB" in str(
        caught.value
    )


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle is one line, and the part stays."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with FakeHub(FILES) as hub:
        monkeypatch.setattr(PartFile, "append_now", full)
        with pytest.raises(CacheFailure, match=r"^owner/name: cannot write .*: No space left on device"):
            Pull(hub, tmp_path).run()
    assert part_of(tmp_path).exists()


def test_equal_files_are_downloaded_once(tmp_path: Path) -> None:
    """Two paths with one content share a download."""
    files = {"model.safetensors": CONTENT, "loras/a.safetensors": CONTENT, "tintype.json": b"{}"}
    files["model_index.json"] = b'{"_class_name": "X", "vae": ["diffusers", "Y"]}'
    files["vae/model.safetensors"] = CONTENT
    with FakeHub(files) as hub:
        folder = Pull(hub, tmp_path).run()
        assert {path for path in snapshot(folder) if path.endswith("safetensors")} == {
            "loras/a.safetensors",
            "vae/model.safetensors",
        }
        assert len(hub.paths("storage")) == 1


def test_an_interrupted_pull_is_resumed(tmp_path: Path) -> None:
    """A pull that is cancelled in the middle leaves its part, and releases its lock."""
    with FakeHub(FILES, hold=Event()) as hub:

        async def interrupted() -> None:
            task = asyncio.create_task(Pull(hub, tmp_path).pull())
            await asyncio.to_thread(hub.held.wait, 60)
            while not part_of(tmp_path).exists():  # noqa: ASYNC110  # the file system sends no event
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

        asyncio.run(interrupted())
        left = part_of(tmp_path).stat().st_size
        assert part_of(tmp_path).read_bytes() == CONTENT[:left]
        assert hub.hold
        hub.hold.set()
        hub.seen.clear()
        check(Pull(hub, tmp_path).run(), tmp_path)
        assert [seen.range for seen in hub.seen if seen.server == "storage"] == [f"bytes={left}-" if left else None]


def test_a_killed_process_is_resumed(tmp_path: Path) -> None:
    """A process that is killed keeps nothing locked, and what it wrote is used."""
    with FakeHub(FILES, hold=Event()) as hub:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=pull_in_process, args=(hub.url, tmp_path))
        process.start()
        assert hub.held.wait(60)
        process.kill()
        process.join()
        assert hub.hold
        hub.hold.set()
        check(Pull(hub, tmp_path).run(), tmp_path)


def test_two_pulls_at_the_same_time(tmp_path: Path) -> None:
    """The second one waits for the first, shows its progress, and downloads nothing."""
    with FakeHub(FILES, hold=Event()) as hub:
        first, second = Pull(hub, tmp_path), Pull(hub, tmp_path)

        async def both() -> list[Path]:
            assert hub.hold
            one = asyncio.create_task(first.pull())
            await asyncio.to_thread(hub.held.wait, 60)
            other = asyncio.create_task(second.pull())
            while not second.transfer.waiting:  # noqa: ASYNC110  # polled, as by a display
                await asyncio.sleep(0.01)
            hub.hold.set()
            return [await one, await other]

        for path in asyncio.run(both()):
            check(path, tmp_path)
        assert second.transfer.waiting == ""
        assert len(hub.paths("storage")) == 1


def pull_in_process(url: str, cache: Path) -> None:
    """Pull in another process."""

    async def pull() -> None:
        async with Hub(HubSettings(cache=cache, endpoint=url)) as hub:
            await hub.download(await hub.plan(HubId.parse("owner/name"), Wish()), Transfer())

    asyncio.run(pull())
