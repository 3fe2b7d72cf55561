"""Models are found at start, loaded in the background, and unloaded."""

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
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.loading_options import DEFAULTS, LoadingOptions
from tintype.service.models.residency import catalogue
from tintype.service.models.residency import repository as repository_module
from tintype.service.models.runtime.providers import ProviderUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.metrics.observer import Observer
    from tintype.service.models.folder.manifest import Manifest


def test_the_built_in_model_is_served_without_a_folder(repository: Repository) -> None:
    """Without folders the model in the package is served, and loads."""
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
def test_loading_lists_adapters_again(folders: list[Path]) -> None:
    """Adapters added to the folder are listed and removed ones are not, while the model stays in memory.

    Loads for requests do not list adapters: the requests would wait for the disk.
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


@pytest.mark.usefixtures("loader")
def test_loading_lists_controls_and_image_adapters_again(folders: list[Path]) -> None:
    """Those added to the folder of a model in memory are listed, with the numbers of their kinds."""
    with Repository(folders) as repository:
        model = repository.wait("c")
        for path in ("controlnets/canny", "image_adapters/style/image_encoder"):
            own = folders[0] / path
            own.mkdir(parents=True)
            (own / "config.json").write_text('{"_class_name": "ControlNetModel", "num_mode": 6}')
            (own / "model.safetensors").touch()
        (folders[0] / "image_adapters/style/ip-adapter.safetensors").touch()
        repository.load("c")
        spec = repository.spec("c")
        assert (spec.controls, spec.control_modes, spec.image_adapters) == (("canny",), {"canny": 6}, ("style",))
        assert repository.get("c") is model


def test_two_models_of_one_name_are_refused(folder: Path) -> None:
    """The error names the model and the second folder."""
    with pytest.raises(ValueError, match="two models are called 'toy', the second in"):
        Repository([folder, folder])


def test_an_unknown_provider_is_refused_at_start() -> None:
    """A misspelt provider raises an error when the server starts, with the names of available providers."""
    with pytest.raises(ProviderUnavailable, match=r"provider 'gpu' is not in this onnxruntime; available: .*cpu"):
        Repository(providers=["gpu"])


def test_a_budget_counts_the_sizes_on_its_provider(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Published weights take half the memory in float16 on a GPU; without a budget no provider is chosen for it."""
    found = []

    def listed(paths: list[Path], loading: LoadingOptions, observer: Observer) -> catalogue.Catalogue:
        found.append(loading.provider)
        return catalogue.Catalogue(paths, loading, observer)

    monkeypatch.setattr(repository_module, "Catalogue", listed)
    monkeypatch.setattr(repository_module, "choose", lambda names: names[0] if names else "webgpu")
    Repository(folders, memory=2**30).close()
    Repository(folders, providers=["cuda"]).close()
    Repository(folders).close()
    assert found == ["webgpu", "cuda", "cpu"]


def test_loading_runs_in_the_background_and_reports_progress(folders: list[Path], loader: Loader) -> None:
    """`load` and `get` return at once; the status has the fraction of bytes; loading again has no effect."""
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


def test_getting_a_model_starts_loading_it(folders: list[Path], loader: Loader) -> None:
    """`get` loads a model that was never loaded, or was unloaded."""
    with Repository(folders) as repository:
        assert repository.get("a") is None
        repository.wait("a", timeout=10)
        repository.unload("a")
        assert repository.status("a").state is ModelState.UNLOADED
        assert repository.get("a") is None
        assert repository.wait("a", timeout=10)
        assert loader.names == ["a", "a"]


def test_waiting_times_out(folders: list[Path], loader: Loader) -> None:
    """The error names the model and the seconds."""
    loader.gate.clear()
    with Repository(folders) as repository:
        with pytest.raises(TimeoutError, match=r"model 'c' was not loaded within 0.01 seconds"):
            repository.wait(timeout=0.01)
        loader.gate.set()


@pytest.mark.usefixtures("loader")
def test_a_broken_folder_does_not_affect_other_models(folders: list[Path]) -> None:
    """A model that cannot be served is listed with its faults; the others are served."""
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
def test_unloading_waits_for_the_last_hold(folders: list[Path]) -> None:
    """A model is unloaded when its last hold is released; loading it again before cancels the unload."""
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


def test_unloading_cancels_loading(folders: list[Path], loader: Loader) -> None:
    """A model that is unloaded while it loads does not stay; callers that wait for it get an error."""
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
    """After `close` no model is in memory, and none is loaded."""
    repository = Repository(folders)
    repository.wait("a", timeout=10)
    repository.close()
    assert repository.status("a").state is ModelState.UNLOADED
    with pytest.raises(Unavailable):
        repository.load("a")


def test_closing_stops_the_converting_of_weights(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`close` sets `stop` for the models of this repository, not for those of another one."""
    seen: list[LoadingOptions] = []

    def read(path: Path, loading: LoadingOptions) -> Manifest:
        seen.append(loading)
        return read_manifest(path, loading)

    monkeypatch.setattr(catalogue, "read_manifest", read)
    with Repository(folders[:1]), Repository(folders[:1]) as other:
        other.close()
        assert [loading.stop.is_set() for loading in seen] == [False, True]
    assert not DEFAULTS.stop.is_set()


def test_many_threads_load_one_model_once(folders: list[Path], loader: Loader) -> None:
    """Sixteen threads that wait for a model get the same object, loaded once."""
    with Repository(folders) as repository:
        models: list[object] = []
        threads = [threading.Thread(target=lambda: models.append(repository.wait("b", timeout=10))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(models) == 16
        assert len(set(map(id, models))) == 1
        assert loader.names == ["b"]


def test_listing_models_needs_no_onnxruntime() -> None:
    """Reading folders imports neither onnxruntime nor torch and its ecosystem."""
    code = (
        "import sys; from tintype.service.models import Repository; Repository().specs();"
        "print(*{'onnxruntime', 'onnx', 'torch', 'transformers', 'ftfy', 'sentencepiece'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


@pytest.mark.usefixtures("loader")
def test_freeing_weights_does_not_block_the_repository(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """While the weights of an unloaded model are freed, the repository answers other calls."""
    gate, freeing = threading.Event(), threading.Event()
    with Repository(folders) as repository, ThreadPoolExecutor(2) as pool:
        repository.wait("a")

        def free() -> None:
            freeing.set()
            gate.wait(10)

        monkeypatch.setattr(repository.components, "drop", lambda _: free)
        unloading = pool.submit(repository.unload, "a")
        assert freeing.wait(10)
        try:
            assert pool.submit(repository.status, "a").result(timeout=1).state is ModelState.UNLOADED
            assert not unloading.done()
        finally:
            gate.set()
