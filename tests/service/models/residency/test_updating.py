"""Models are added, changed and removed while requests run."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.loader import Loader, until
from tintype.service.errors import ModelBroken, ModelNotFound, Unavailable
from tintype.service.models import ModelState, Repository
from tintype.service.models.residency import updating
from tintype.service.models.residency.leases import Lease, Leases

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("loader")


@pytest.fixture(autouse=True)
def _no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "SCAN_INTERVAL", 0.0)


@pytest.fixture
def shelf(tmp_path: Path, folders: list[Path]) -> Path:
    """Return a folder of models with a and b; c stays outside."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for folder in folders[1:]:
        folder.rename(shelf / folder.name)
    _settle(shelf)
    return shelf


def _settle(shelf: Path) -> None:
    """Let the files of all models be old."""
    for path in shelf.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))


@pytest.fixture(autouse=True)
def _settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take only the modification time for the time of the last change: tests can't set the other one."""
    monkeypatch.setattr("tintype.service.models.residency.model_files.SETTLED_AFTER", 0.0)


def touch(folder: Path) -> None:
    """Change a file of a model that must be loaded again."""
    path = folder / "unet" / "config.json"
    path.write_text(path.read_text() + " ")


def test_models_of_the_folder_follow_those_of_the_settings(folders: list[Path], shelf: Path) -> None:
    """The first model of the settings is the default; without any, the first of the folder is."""
    with Repository(folders[:1]) as repository:
        repository.updates.replace(folders[:1], shelf)
        assert repository.names() == ["c", "a", "b"]
        repository.updates.replace([], shelf)
        assert repository.names() == ["a", "b"]
        with pytest.raises(ModelNotFound):
            repository.spec("c")


def test_the_built_in_model_fills_an_empty_folder(tmp_path: Path, folders: list[Path]) -> None:
    """The built-in model is served until the folder has a model."""
    (tmp_path / "shelf").mkdir()
    with Repository() as repository:
        built_in = repository.default
        repository.updates.replace([], tmp_path / "shelf")
        assert repository.names() == [built_in]
        shutil.copytree(folders[0], tmp_path / "shelf" / "c", symlinks=True)
        repository.updates.rescan()
        assert repository.names() == ["c"]
        until(lambda: repository.status("c").state is ModelState.RESIDENT)


def test_a_model_appears_and_disappears(folders: list[Path], shelf: Path) -> None:
    """A scan finds new models, and forgets those that are gone; the default stays."""
    with Repository() as repository:
        repository.updates.replace([], shelf)
        shutil.copytree(folders[0], shelf / "0", symlinks=True)
        repository.updates.rescan()
        assert repository.names() == ["a", "b", "c"]
        shutil.rmtree(shelf / "b")
        repository.updates.rescan()
        assert repository.names() == ["a", "c"]


def test_incomplete_models_are_logged_once(shelf: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A model without a part is not served until it is complete; the log says why, once."""
    unet = shelf / "b" / "unet"
    unet.rename(shelf.parent / "unet")
    with Repository() as repository:
        repository.updates.replace([], shelf)
        repository.updates.rescan()
        assert repository.names() == ["a"]
        assert [record.message for record in caplog.records if "is not served: " in record.message][1:] == []
        assert "b is not served: " in caplog.text
        (shelf.parent / "unet").rename(unet)
        repository.updates.rescan()
        assert repository.names() == ["a", "b"]


def test_broken_models_are_read_again_only_when_they_change(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the folder costs nothing, and logs nothing, for a model that stays broken; SIGHUP reads it again."""
    (shelf / "b" / "tintype.json").write_text("{")
    read: list[str] = []
    with Repository() as repository:
        original = repository.updates._catalogue.read

        def counted(path: Path, *rest: Any) -> Any:
            read.append(path.name)
            return original(path, *rest)

        monkeypatch.setattr(repository.updates._catalogue, "read", counted)
        repository.updates.replace([], shelf)
        repository.updates.rescan()
        repository.updates.rescan()
        assert read.count("b") == 1
        repository.updates.replace([], shelf)
        assert read.count("b") == 2
        (shelf / "b" / "tintype.json").unlink()
        repository.updates.rescan()
        assert repository.names() == ["a", "b"]


def test_a_model_that_is_being_copied_waits(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose files have just changed is not served by a scan, but at once when the settings are read."""
    with Repository() as repository:
        repository.updates.replace([], shelf)
        monkeypatch.setattr("tintype.service.models.residency.model_files.SETTLED_AFTER", 1e9)
        shutil.copytree(shelf / "a", shelf / "copy", symlinks=True)
        (shelf / "copy" / "tintype.json").write_text((shelf / "a" / "tintype.json").read_text().replace('"a"', '"n"'))
        repository.updates.rescan()
        assert repository.names() == ["a", "b"]
        repository.updates.replace([], shelf)
        assert repository.names() == ["a", "b", "n"]


def test_broken_models_change_nothing(folders: list[Path], shelf: Path, tmp_path: Path) -> None:
    """Broken models of the settings, and two of one name, are errors; a served one that breaks stays."""
    with Repository(folders[:1]) as repository:
        (tmp_path / "broken").mkdir()
        with pytest.raises(ModelBroken):
            repository.updates.replace([*folders[:1], tmp_path / "broken"], shelf)
        with pytest.raises(ValueError, match="two models are called 'c'"):
            repository.updates.replace([folders[0], folders[0]], None)
        assert repository.names() == ["c"]
        (folders[0] / "unet").rename(tmp_path / "unet")
        repository.updates.replace(folders[:1], shelf)
        assert repository.names() == ["c", "a", "b"]


def test_a_folder_that_cannot_be_read_changes_nothing(shelf: Path, tmp_path: Path) -> None:
    """Models of a folder on a disk that is gone are served as they were."""
    with Repository() as repository:
        repository.updates.replace([], shelf)
        shelf.rename(tmp_path / "gone")
        repository.updates.rescan()
        assert repository.names() == ["a", "b"]


def test_running_requests_finish_with_the_old_model(folders: list[Path]) -> None:
    """A changed model is loaded anew for new requests; the old one stays until its last request has ended."""
    with Repository(folders) as repository:
        old = repository.wait("a")
        leases = Leases(repository, longest=60)
        running = Lease(repository.spec("a").slot)
        leases.open(running)
        leases.update({running}, 0)
        leases.use(running)
        touch(folders[1])
        repository.updates.replace(folders)
        new = repository.wait("a")
        assert new is not old
        assert running.model is old
        waiting = Lease(repository.spec("a").slot)
        leases.open(waiting)
        leases.update({waiting}, 1)
        assert (running.model, waiting.model) == (old, new)
        assert len(list(repository._catalogue)) == 4
        leases.end(running)
        leases.update({waiting}, 2)
        assert [slot.model for slot in repository._catalogue if slot.model] == [new]
        assert [slot.holds for slot in repository._catalogue] == [0, 0, 0]


def test_admitted_requests_use_the_model_that_they_were_planned_for(folders: list[Path]) -> None:
    """A request that waits while its model is replaced gets the old one if it is in memory, otherwise the new one."""
    with Repository(folders) as repository:
        old, leases = repository.wait("a"), Leases(repository, longest=60)
        loaded, absent = Lease(repository.spec("a").slot), Lease(repository.spec("b").slot)
        repository.wait("b")
        for lease in (loaded, absent):
            leases.open(lease)
        leases.update({loaded, absent}, 0)
        repository.unload("b")
        for folder in folders[1:]:
            touch(folder)
        repository.updates.replace(folders)
        leases.update({loaded, absent}, 1)
        until(lambda: repository.get(absent.name) is not None)
        leases.update({loaded, absent}, 2)
        assert loaded.model is old
        assert absent.model is repository.wait("b")


def test_a_request_for_another_kind_of_model_is_refused(folders: list[Path]) -> None:
    """A request that was planned for a model of another kind fails, and may be repeated."""
    with Repository(folders) as repository:
        key = repository.spec("a").slot
        touch(folders[1])
        repository.updates.replace(folders)
        repository._catalogue._former[key] = "another kind"
        with pytest.raises(Unavailable, match="model 'a' was replaced while the request waited"):
            repository.get(key)


def test_presets_change_without_a_load(folders: list[Path], edit: Any) -> None:
    """A change of tintype.json alone applies at once, and the model stays in memory."""
    with Repository(folders) as repository:
        model = repository.wait("a")
        edit(folders[1] / "tintype.json", lambda content: content.update(description="new"))
        repository.updates.replace(folders)
        assert repository.spec("a").description == "new"
        assert repository.get("a") is model


def test_what_loading_adds_to_the_description_stays(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded model tells what quantization did to it, with or without a description of its own."""
    with Repository(folders) as repository:
        repository.load("a")
        repository.wait("a")
        loaded = repository.resident("a")
        assert loaded is not None
        monkeypatch.setattr(loaded, "spec", replace(loaded.spec, description="12 layers in 8 bits"))
        assert repository.spec("a").description == "12 layers in 8 bits"


def test_added_adapters_are_listed(folders: list[Path]) -> None:
    """Adapters that were added are listed, and the model stays in memory."""
    with Repository(folders) as repository:
        model = repository.wait("a")
        (folders[1] / "loras").mkdir()
        (folders[1] / "loras" / "ink.safetensors").touch()
        repository.updates.replace(folders)
        assert repository.spec("a").loras == ("ink",)
        assert repository.get("a") is model


def test_a_removed_model_is_freed(folders: list[Path], loader: Loader) -> None:
    """A model that no request uses leaves memory with its removal; a load that runs is not wanted any more."""
    with Repository(folders) as repository:
        repository.wait("a")
        loader.gate.clear()
        repository.load("b")
        until(lambda: repository.status("b").state is ModelState.LOADING)
        repository.updates.replace(folders[:1])
        assert repository.names() == ["c"]
        loader.gate.set()
        until(lambda: len(list(repository._catalogue)) == 1)
