"""Models are found at start, loaded in the background, and dropped."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.models.loader import Loader, until
from tintype.service.errors import ModelBroken, ModelNotFound, Unavailable
from tintype.service.models import ModelState, Repository
from tintype.service.models.runtime.providers import ProviderUnavailable

if TYPE_CHECKING:
    from pathlib import Path


def test_the_built_in_model_is_there_without_a_folder(repository: Repository) -> None:
    """Without folders the model in the package is served, and really loads."""
    model = repository.wait("", timeout=60)
    status = repository.status()
    assert repository.names() == [repository.default]
    assert (status.state, status.fraction, status.error) == (ModelState.RESIDENT, 1.0, "")
    assert status.provider == model.spec.provider != ""
    assert repository.spec() is model.spec
    assert repository.get(repository.default) is model


def test_the_default_comes_first_then_names(folders: list[Path]) -> None:
    """The first folder is the default model; the others follow by name."""
    with Repository(folders) as repository:
        assert repository.default == "c"
        assert [spec.name for spec in repository.specs()] == ["c", "a", "b"]
        assert repository.spec("").name == "c"
        with pytest.raises(ModelNotFound, match="there is no model 'd'; there are: c, a, b"):
            repository.spec("d")


@pytest.mark.usefixtures("loader")
def test_loading_lists_adapters_anew(folders: list[Path]) -> None:
    """What was put into the folder since is there, and what was taken away is not, without the model going.

    What requests ask for is not listed: they would wait for the disk.
    """
    with Repository(folders) as repository:
        model = repository.wait("c")
        (folders[0] / "loras").mkdir()
        (folders[0] / "loras" / "ink.safetensors").touch()
        repository.load("c", pinned=False)
        assert repository.spec("c").loras == ()
        repository.load("c")
        assert repository.spec("c").loras == ("ink",)
        assert repository.get("c") is model
        repository.unload("c")
        (folders[0] / "loras" / "ink.safetensors").rename(folders[0] / "loras" / "clay.safetensors")
        repository.load("c")
        assert repository.wait("c").spec.loras == repository.spec("c").loras == ("clay",)
        assert repository.wait("a").spec.loras == ()


def test_two_models_of_one_name_are_refused(folder: Path) -> None:
    """A name means one model."""
    with pytest.raises(ValueError, match="two models are called 'toy', the second in"):
        Repository([folder, folder])


def test_an_unknown_provider_is_refused_at_start() -> None:
    """A typing error in the configuration shows when the server starts, with the names that exist."""
    with pytest.raises(ProviderUnavailable, match=r"no provider 'gpu' in this onnxruntime; there are: .*cpu"):
        Repository(providers=["gpu"])


def test_loading_runs_in_the_background_and_tells_how_far_it_is(folders: list[Path], loader: Loader) -> None:
    """`load` and `get` return at once; the state tells the share of bytes; loading again is harmless."""
    loader.gate.clear()
    with Repository(folders) as repository:
        assert repository.status("a").state is ModelState.UNLOADED
        repository.load("a")
        until(lambda: repository.status("a").fraction == 0.5)
        repository.load("a")
        assert repository.get("a") is None
        assert repository.status("a").state is ModelState.LOADING
        loader.gate.set()
        model = repository.wait("a", timeout=10)
        assert repository.get("a") is model
        assert loader.names == ["a"]


def test_asking_for_a_model_starts_loading_it(folders: list[Path], loader: Loader) -> None:
    """`get` of a model on disk, or of one that was dropped, brings it in."""
    with Repository(folders) as repository:
        assert repository.get("a") is None
        repository.wait("a", timeout=10)
        repository.unload("a")
        assert repository.status("a").state is ModelState.UNLOADED
        assert repository.get("a") is None
        assert repository.wait("a", timeout=10)
        assert loader.names == ["a", "a"]


def test_waiting_has_an_end(folders: list[Path], loader: Loader) -> None:
    """Who waits with a limit gets the limit."""
    loader.gate.clear()
    with Repository(folders) as repository:
        with pytest.raises(TimeoutError, match=r"model 'c' was not loaded within 0.01 seconds"):
            repository.wait(timeout=0.01)
        loader.gate.set()


@pytest.mark.usefixtures("loader")
def test_a_broken_folder_leaves_the_others_alone(folders: list[Path]) -> None:
    """A model that can't be served is listed with its faults; the rest is served."""
    (folders[1] / "tokenizer").unlink()
    with Repository(folders) as repository:
        assert repository.names() == ["c", "a", "b"]
        assert [spec.name for spec in repository.specs()] == ["c", "b"]
        assert repository.status("a").state is ModelState.FAILED
        assert "tokenizer/merges.txt is missing" in repository.status("a").error
        for verb in (repository.spec, repository.load, repository.get, repository.wait):
            with pytest.raises(ModelBroken, match=r"tokenizer/vocab\.json is missing"):
                verb("a")
        repository.unload("a")
        assert repository.status("a").state is ModelState.FAILED
        assert repository.wait("b", timeout=10)


@pytest.mark.usefixtures("loader")
def test_unloading_waits_for_those_who_hold(folders: list[Path]) -> None:
    """A model is dropped when the last request that uses it has ended; loading it again takes that back."""
    with Repository(folders) as repository:
        repository.wait("a", timeout=10)
        repository.hold("a")
        repository.unload("a")
        assert repository.status("a").state is ModelState.UNLOADING
        repository.release("a")
        assert repository.status("a").state is ModelState.UNLOADED
        repository.wait("a", timeout=10)
        repository.hold("a")
        repository.unload("a")
        repository.load("a")
        repository.release("a")
        assert repository.status("a").state is ModelState.RESIDENT


def test_unloading_ends_loading(folders: list[Path], loader: Loader) -> None:
    """A model that is unloaded on its way, or in line, does not stay; who waits for it hears so."""
    loader.gate.clear()
    with Repository(folders) as repository:
        repository.load("a")
        until(lambda: repository.status("a").fraction == 0.5)
        waiting: list[BaseException] = []

        def wait() -> None:
            try:
                repository.wait("a", timeout=10)
            except Unavailable as error:
                waiting.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        repository.unload("a")
        loader.gate.set()
        thread.join(10)
        assert len(waiting) == 1
        until(lambda: repository.status("a").state is ModelState.UNLOADED)


@pytest.mark.usefixtures("loader")
def test_a_closed_repository_loads_nothing(folders: list[Path]) -> None:
    """After `close` nothing is in memory, and nothing comes in."""
    repository = Repository(folders)
    repository.wait("a", timeout=10)
    repository.close()
    assert repository.status("a").state is ModelState.UNLOADED
    with pytest.raises(Unavailable):
        repository.load("a")


def test_many_threads_load_one_model_once(folders: list[Path], loader: Loader) -> None:
    """However many ask at the same time, a model is loaded once and all get the same."""
    with Repository(folders) as repository:
        got: list[object] = []
        threads = [threading.Thread(target=lambda: got.append(repository.wait("b", timeout=10))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 16
        assert len(set(map(id, got))) == 1
        assert loader.names == ["b"]


def test_listing_models_needs_no_onnxruntime() -> None:
    """Whoever only looks at folders waits neither for onnxruntime nor for anything of torch's world."""
    code = (
        "import sys; from tintype.service.models import Repository; Repository().specs();"
        "print(*{'onnxruntime', 'onnx', 'torch', 'transformers', 'ftfy', 'sentencepiece'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


@pytest.mark.usefixtures("loader")
def test_giving_memory_back_holds_nobody_up(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """While the weights of a model that is unloaded go, others are told of, and asked for."""
    freed, going = threading.Event(), threading.Event()
    with Repository(folders) as repository, ThreadPoolExecutor(2) as pool:
        repository.wait("a")
        monkeypatch.setattr(repository._components, "drop", lambda _: lambda: (going.set(), freed.wait(10)))
        unloading = pool.submit(repository.unload, "a")
        assert going.wait(10)
        try:
            assert pool.submit(repository.status, "a").result(timeout=1).state is ModelState.UNLOADED
            assert not unloading.done()
        finally:
            freed.set()
