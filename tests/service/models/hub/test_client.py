"""Pulling from a hub: what is requested, what is cached, and what is used without the hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.service.fake_hub import COMMIT, SERVED, FakeHub, pipeline_files
from tests.support.service.pulling import Pull, snapshot
from tintype.service.models.hub import transport
from tintype.service.models.hub.errors import (
    CacheFailure,
    DamagedFile,
    HubError,
    HubRefused,
    HubUnavailable,
    NotOnHub,
)

if TYPE_CHECKING:
    from pathlib import Path

FILES = pipeline_files()
KEY = "good"
LORA = {"pytorch_lora_weights.safetensors": b"x" * 2000}


def check_snapshot(folder: Path) -> None:
    assert snapshot(folder) == {path: FILES[path] for path in SERVED}


def test_a_pull(tmp_path: Path) -> None:
    """A pull has the files that serving needs, their sizes and the licence."""
    with FakeHub(FILES) as hub:
        pull = Pull(hub, tmp_path)
        folder = pull.run()
        check_snapshot(folder)
        assert folder == tmp_path / "models--owner--name" / "snapshots" / COMMIT
        assert pull.plan.size == pull.plan.bytes_missing == sum(len(FILES[path]) for path in SERVED)
        assert pull.transfer.done == pull.transfer.total == pull.plan.size
        assert pull.plan.card.describe("") == "licence openrail++; not gated"
        assert [seen.path for seen in hub.seen[:2]] == [
            "/api/models/owner/name/revision/main",
            f"/api/models/owner/name/tree/{COMMIT}",
        ]


def test_the_cache_has_the_layout_of_the_hubs_tools(tmp_path: Path) -> None:
    """Blobs are named by their hash, snapshots link to them relatively, and refs and trees are there."""
    with FakeHub(FILES) as hub:
        folder = Pull(hub, tmp_path).run()
    home = tmp_path / "models--owner--name"
    assert {path.name for path in home.iterdir()} == {"blobs", "refs", "snapshots", "trees"}
    assert (home / "refs" / "main").read_text() == COMMIT
    link = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    digest = json.loads((home / "trees" / f"{COMMIT}.json").read_text())["files"][f"unet/{link.name}"]["lfs_sha256"]
    assert str(link.readlink()) == f"../../../blobs/{digest}"
    assert (folder / "README.md").readlink().parent.as_posix() == "../../blobs"
    assert {path.name for path in (home / "blobs").iterdir()} == {path.readlink().name for path in folder.rglob("*.*")}
    assert {path.name for path in tmp_path.iterdir()} == {home.name, ".locks"}


def test_a_second_pull_is_one_request(tmp_path: Path) -> None:
    """A complete snapshot costs the request for the revision alone; with a commit as revision none."""
    with FakeHub(FILES) as hub:
        Pull(hub, tmp_path).run()
        hub.seen.clear()
        check_snapshot(Pull(hub, tmp_path).run())
        assert hub.paths("hub") == ["/api/models/owner/name/revision/main"]
        hub.seen.clear()
        check_snapshot(Pull(hub, tmp_path).run(f"owner/name@{COMMIT}"))
        assert hub.seen == []


def test_a_missing_file_is_fetched_alone(tmp_path: Path) -> None:
    """A file that was deleted is downloaded again, and so is one of another size."""
    with FakeHub(FILES) as hub:
        config = (Pull(hub, tmp_path).run() / "unet" / "config.json").resolve()
        config.unlink()
        for _ in range(2):
            hub.seen.clear()
            check_snapshot(Pull(hub, tmp_path).run())
            assert len(hub.seen) == 2
            config.write_bytes(b"{")


def test_other_precisions_join(tmp_path: Path) -> None:
    """Without a precision the weights in the cache are used; another precision joins them when it is asked for."""
    plain = "unet/diffusion_pytorch_model.safetensors"
    with FakeHub(FILES) as hub:
        folder = Pull(hub, tmp_path).run(precision="fp32")
        assert plain in snapshot(folder)
        hub.seen.clear()
        assert Pull(hub, tmp_path).run() == folder
        assert len(hub.seen) == 1
        Pull(hub, tmp_path).run(precision="fp16")
        assert {plain, "unet/diffusion_pytorch_model.fp16.safetensors"} < set(snapshot(folder))


def test_a_single_file(tmp_path: Path) -> None:
    """A file that is named is pulled with the README alone, and is what is served."""
    with FakeHub(FILES) as hub:
        path = Pull(hub, tmp_path).run("owner/name/v1-5-pruned-emaonly.safetensors")
        assert path.read_bytes() == FILES["v1-5-pruned-emaonly.safetensors"]
        assert set(snapshot(path.parent)) == {"model_index.json", "README.md", path.name}
        Pull(hub, tmp_path, offline=True).run("owner/name/v1-5-pruned-emaonly.safetensors")
        with pytest.raises(HubUnavailable, match=r"HF_HUB_OFFLINE is set, and .* is not in"):
            Pull(hub, tmp_path, offline=True).run()


def test_parts_join(tmp_path: Path) -> None:
    """The VAE of a repository is pulled without the rest."""
    with FakeHub(FILES) as hub:
        folder = Pull(hub, tmp_path).run(part="vae")
        assert {path.partition("/")[0] for path in snapshot(folder)} == {"vae", "model_index.json", "README.md"}


def test_offline(tmp_path: Path) -> None:
    """Offline a complete snapshot needs no request; a missing file is an error that names it."""
    with FakeHub(FILES) as hub:
        with pytest.raises(HubUnavailable, match=r"owner/name: HF_HUB_OFFLINE is set, and nothing of it is in"):
            Pull(hub, tmp_path, offline=True).run()
        folder = Pull(hub, tmp_path).run()
        hub.seen.clear()
        pull = Pull(hub, tmp_path, offline=True)
        check_snapshot(pull.run())
        assert pull.plan.card.describe("") == "licence openrail++"
        (folder / "unet" / "config.json").unlink()
        with pytest.raises(HubUnavailable, match=r"HF_HUB_OFFLINE is set, and unet/config\.json is not in"):
            Pull(hub, tmp_path, offline=True).run()
        assert hub.seen == []


@pytest.mark.parametrize("fault", ["down", "limited"])
def test_a_hub_that_is_down(tmp_path: Path, fault: str) -> None:
    """If the hub does not answer, a complete snapshot is used at once, with a notice."""
    with FakeHub(FILES) as hub:
        Pull(hub, tmp_path).run()
        hub.faults[fault] = 99
        pull = Pull(hub, tmp_path)
        check_snapshot(pull.run())
        assert pull.waits == []
        assert pull.notices[-1].endswith(f"; using the files of commit {COMMIT[:12]}, which are in the cache")


def test_no_hub_at_all(tmp_path: Path) -> None:
    """Without a connection a complete snapshot is used; without one, the address is in the error."""
    with FakeHub(FILES) as hub:
        Pull(hub, tmp_path).run()
    check_snapshot(Pull(hub, tmp_path).run())
    pull = Pull(hub, tmp_path / "empty")
    with pytest.raises(HubUnavailable, match=r"^owner/name: no answer from the hub: "):
        pull.run()
    assert pull.waits == [0.5, 1, 2, 4, 8]


def test_access_that_was_lost(tmp_path: Path) -> None:
    """A server whose token has expired starts with the files that it has."""
    with FakeHub(FILES, private=True) as hub:
        Pull(hub, tmp_path, token=KEY).run()
        pull = Pull(hub, tmp_path)
        check_snapshot(pull.run())
        assert "private or gated" in pull.notices[0]


def test_a_new_commit_is_used_only_when_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interrupted pull of a newer commit, the older one is served while the hub is down."""
    with FakeHub(FILES) as hub:
        Pull(hub, tmp_path).run()
        monkeypatch.setattr("tests.support.service.fake_hub.COMMIT", "f" * 40)
        hub.files["unet/config.json"] = b"{}"
        hub.files["unet/diffusion_pytorch_model.fp16.safetensors"] = b"new" * 2000
        hub.faults["damaged"] = 99
        with pytest.raises(HubError):
            Pull(hub, tmp_path).run()
        hub.faults["down"] = 99
        check_snapshot(Pull(hub, tmp_path).run())


@pytest.mark.parametrize(
    ("text", "token", "options", "error", "message"),
    [
        ("owner/other", "", "", NotOnHub, r"^owner/other: no such repository at http"),
        ("owner/name@v9", "", "", NotOnHub, r"^owner/name@v9: no such revision at http"),
        ("owner/name/x.safetensors", "", "", NotOnHub, r"^owner/name/x\.safetensors: it has no file x\.safetensors"),
        ("owner/name", "", "private", HubRefused, r"no such repository, or it is private .* set HF_TOKEN$"),
        ("owner/name", "bad", "private", HubRefused, r"denies access with the token in HF_TOKEN: Invalid"),
        (
            "owner/name",
            "",
            "gated",
            HubRefused,
            r"gated: its terms .* at http.*/owner/name by an account, and HF_T",
        ),
        ("owner/name", "bad", "gated", HubRefused, r"/owner/name by the account of the token in HF_TOKEN$"),
    ],
)
def test_refusals(tmp_path: Path, text: str, token: str, options: str, error: type[HubError], message: str) -> None:
    """What the hub does not have or give is one line that names it and what helps."""
    hub = FakeHub(FILES, private=options == "private", gated=options == "gated")
    with hub, pytest.raises(error, match=message):
        Pull(hub, tmp_path, token=token).run(text)
    assert list(tmp_path.iterdir()) == []


def test_private_and_gated_repositories(tmp_path: Path) -> None:
    """With its token a private, gated repository is pulled; storage never gets the token."""
    with FakeHub(FILES, private=True, gated=True) as hub:
        pull = Pull(hub, tmp_path, token=KEY)
        check_snapshot(pull.run())
        assert {seen.authorization for seen in hub.seen if seen.server == "hub"} == {"Bearer good"}
        assert {seen.authorization for seen in hub.seen if seen.server == "storage"} == {None}
        assert "; gated: its terms must be accepted at P" in pull.plan.card.describe("P")


@pytest.mark.parametrize(
    ("files", "info", "message"),
    [
        (LORA, {}, r"it is an adapter \(pytorch_lora_weights\.safetensors\), not a model: .* loras folder"),
        ({"style.safetensors": b"x"}, {"tags": ["lora"]}, r"it is an adapter \(lora\), not a model"),
        (
            {"model_index.json": b'{"_class_name": "VideoPipeline"}'},
            {},
            r"pipeline 'VideoPipeline' is not supported; supp",
        ),
        ({"model_index.json": b"[]"}, {}, r"model_index\.json must hold a JSON object"),
        ({"model_index.json": b"{"}, {}, r"model_index\.json is not JSON"),
        ({"../evil.safetensors": b"x"}, {}, r"listing of files is invalid: unsafe file name '\.\./evil\.safetensors'"),
        ({"a": b"x", "a/b": b"x"}, {}, r"'a' is listed as a file and as a folder"),
        ({"a": b"x"}, {"sha": "../../x"}, r"names no commit; is it a hub\?"),
        ({"a": b"x"}, {"sha": None}, r"names no commit"),
    ],
)
def test_repositories_that_are_not_served(
    tmp_path: Path, files: dict[str, bytes], info: dict[str, object], message: str
) -> None:
    """A repository that is no model, or is malformed, is refused before anything is written."""
    with FakeHub(files, info=info) as hub, pytest.raises(HubError, match=message):
        Pull(hub, tmp_path).run()
    assert list(tmp_path.iterdir()) == []


def test_a_renamed_repository(tmp_path: Path) -> None:
    """A redirect within the hub is followed."""
    with FakeHub(FILES, faults={"renamed": 3}) as hub:
        check_snapshot(Pull(hub, tmp_path).run())


def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too small a disk is an error before the download; what is partly there counts."""
    free = [1000]
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free[0]}))
    with FakeHub(FILES) as hub:
        with pytest.raises(
            CacheFailure, match=r"[\d,]+ bytes are needed in .*, and 1,000 are free; --cache or HF_HUB_CACHE"
        ):
            Pull(hub, tmp_path).run()
        assert hub.paths("storage") == []
        free[0] = 10**6
        folder = Pull(hub, tmp_path).run()
        big = (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").resolve()
        big.rename(big.with_name(big.name + ".incomplete"))
        free[0] = 0
        check_snapshot(Pull(hub, tmp_path).run())


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A path that is a file is an error that names it."""
    (tmp_path / "cache").write_text("")
    with (
        FakeHub(FILES) as hub,
        pytest.raises(CacheFailure, match=r"^owner/name: cannot write .*cache.*: Not a directory"),
    ):
        Pull(hub, tmp_path / "cache").run()


def test_pages_of_a_listing(tmp_path: Path) -> None:
    """All pages are asked of the endpoint itself, although their links name another host."""
    with FakeHub(FILES, page=7) as hub:
        check_snapshot(Pull(hub, tmp_path).run())
        assert hub.paths("hub").count(f"/api/models/owner/name/tree/{COMMIT}") == -(-len(FILES) // 7)


def test_answers_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata that does not end is an error."""
    monkeypatch.setattr(transport, "LARGEST_JSON", 10_000)
    message = r"^owner/name: the hub sent more than 10,000 bytes of metadata"
    with FakeHub(FILES, info={"x": "x" * 20_000}) as hub, pytest.raises(HubError, match=message):
        Pull(hub, tmp_path).run()


def test_damaged_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model_index.json that is not the listed one is refused."""
    with FakeHub(FILES) as hub:
        monkeypatch.setattr("tests.support.service.fake_hub.git_sha1", lambda _: "0" * 40)
        with pytest.raises(DamagedFile, match=r"model_index\.json: its content differs from the hub's listing"):
            Pull(hub, tmp_path).run()
