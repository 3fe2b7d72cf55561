"""The load queue, eviction between models, and the first-use grace period."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.models.loader import Loader, until
from tintype.service.errors import OutOfMemory
from tintype.service.models import ModelState, Repository
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.residency import load_grace
from tintype.service.models.residency.slot import Slot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("loader")
def test_the_least_recently_used_model_is_evicted(folders: list[Path]) -> None:
    """With room for two models, loading a third evicts the one that was used least recently."""
    size = Slot("", read_manifest(folders[0])).weight
    with Repository(folders, memory=2 * size) as repository:
        for name in ("a", "b"):
            repository.wait(name, timeout=10)
        repository.get("a")
        repository.wait("c", timeout=10)
        states = {name: repository.status(name).state for name in "abc"}
        assert states == {"a": ModelState.RESIDENT, "b": ModelState.UNLOADED, "c": ModelState.RESIDENT}


@pytest.mark.usefixtures("loader")
def test_a_held_model_is_not_evicted(folders: list[Path]) -> None:
    """A model that needs the memory of a held model waits until the last hold is released."""
    size = Slot("", read_manifest(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        model = repository.wait("a", timeout=10)
        repository.hold("a")
        repository.hold("a")
        repository.load("b")
        repository.release("a")
        assert repository.get("a") is model
        assert (repository.status("b").state, repository.status("b").fraction) == (ModelState.WAITING, 0.0)
        repository.release("a")
        assert repository.wait("b", timeout=10)
        assert repository.status("a").state is ModelState.UNLOADED


@pytest.mark.usefixtures("loader")
def test_a_model_larger_than_the_budget_is_refused(folders: list[Path]) -> None:
    """A model whose largest component can never fit is refused at once, not queued."""
    with Repository(folders, memory=1000) as repository:
        with pytest.raises(OutOfMemory, match=r"needs \d\d\.\d MiB for its largest .* budget is 0\.0 MiB"):
            repository.load("a")
        assert repository.status("a").state is ModelState.UNLOADED


@pytest.mark.usefixtures("loader")
def test_unloading_cancels_a_queued_load(folders: list[Path]) -> None:
    """A model that waits for memory is not loaded after it was unloaded."""
    size = Slot("", read_manifest(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        repository.wait("a", timeout=10)
        repository.hold("a")
        repository.load("b")
        repository.unload("b")
        assert repository.status("b").state is ModelState.UNLOADED
        repository.release("a")
        assert repository.status("a").state is ModelState.RESIDENT


@pytest.mark.usefixtures("loader")
def test_a_model_waits_while_a_held_one_takes_its_memory(folders: list[Path]) -> None:
    """Its state is WAITING until the hold is released; then it loads."""
    size = Slot("", read_manifest(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        repository.wait("a", timeout=60)
        repository.hold("a")
        repository.load("b")
        assert repository.status("b").state is ModelState.WAITING
        assert repository.status("a").state is ModelState.RESIDENT
        repository.release("a")
        repository.wait("b", timeout=60)
        assert repository.status("b").state is ModelState.RESIDENT


@pytest.mark.parametrize("seconds", [60.0, 0.01])
def test_a_loaded_model_is_kept_for_its_first_use(
    folders: list[Path], loader: Loader, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The next model in the queue evicts a model that was used, or whose grace period has passed."""
    monkeypatch.setattr(load_grace, "FIRST_USE_SECONDS", seconds)
    loader.gate.clear()
    with Repository(folders, memory=Slot("", read_manifest(folders[0])).weight) as repository:
        repository.load("a")
        repository.load("b")
        loader.gate.set()
        if seconds > 1:
            assert repository.wait("a", timeout=10)
            assert repository.status("b").state is ModelState.WAITING
            repository.hold("a")
            repository.release("a")
        assert repository.wait("b", timeout=10)
        assert repository.status("a").state is ModelState.UNLOADED


def test_no_memory_is_kept_for_requests_that_ended(folders: list[Path], loader: Loader) -> None:
    """A model loaded for requests that ended, or are less urgent, is evicted; their queued loads are cancelled."""
    size = Slot("", read_manifest(folders[0])).weight
    loader.gate.clear()
    with Repository(folders, memory=size) as repository:
        repository.load("a", pinned=False)
        repository.load("b", pinned=False)
        repository.load("c", pinned=False)
        loader.gate.set()
        until(lambda: repository.status("a").state is ModelState.RESIDENT)
        repository.set_demand({"a", "c"}, {"a"})
        assert repository.status("a").state is ModelState.RESIDENT
        assert repository.status("b").state is ModelState.UNLOADED
        repository.set_demand({"a", "c"}, {"c"})
        assert repository.wait("c", timeout=10)
        assert loader.names == ["a", "c"]


def test_a_pinned_load_needs_no_request(folders: list[Path], loader: Loader) -> None:
    """A queued load requested by LoadModel is not cancelled when no live request wants the model."""
    loader.gate.clear()
    with Repository(folders, memory=Slot("", read_manifest(folders[0])).weight) as repository:
        repository.load("a")
        repository.load("b", pinned=False)
        repository.load("b")
        repository.set_demand((), ())
        loader.gate.set()
        until(lambda: repository.status("a").state is ModelState.RESIDENT)
        repository.set_demand((), ())
        until(lambda: repository.status("b").state is ModelState.RESIDENT)


@pytest.mark.usefixtures("loader")
def test_a_load_that_a_caller_waits_for_is_pinned(folders: list[Path]) -> None:
    """Requests that end do not cancel the load of a caller that waits without a request."""
    with (
        Repository(folders, memory=Slot("", read_manifest(folders[0])).weight) as repository,
        ThreadPoolExecutor(1) as pool,
    ):
        repository.wait("a", timeout=10)
        repository.hold("a")
        waiting = pool.submit(repository.wait, "b", timeout=10)
        until(lambda: repository.status("b").state is ModelState.WAITING)
        repository.set_demand(("a",), ("a",))
        repository.release("a")
        assert waiting.result().spec.name == "b"
