"""Models are found at start, loaded in the background, and dropped when memory is short."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.errors import ModelBroken, ModelNotFound, OutOfMemory, Unavailable
from tintype.service.models import Repository, State, line
from tintype.service.models import loading as module
from tintype.service.models.capture import TURNS
from tintype.service.models.entry import Entry
from tintype.service.models.manifest import read
from tintype.service.models.providers import ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tintype.service.models import ModelSpec
    from tintype.service.models.manifest import Manifest


@dataclass
class Loaded:
    """What the loader of these tests makes in place of sessions."""

    spec: ModelSpec


class Loader:
    """Loads when told to: `gate` lets it go on, `failure` is what it fails with; `failures`, once each."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.failures: list[Exception] = []
        self.names: list[str] = []

    def __call__(self, manifest: Manifest, _: Any, progress: Callable[[float], None]) -> Loaded:
        self.names.append(manifest.spec.name)
        progress(0.5)
        assert self.gate.wait(10)
        if self.failures:
            raise self.failures.pop()
        if self.failure:
            raise self.failure
        return Loaded(manifest.spec)


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loader]:
    loader = Loader()
    monkeypatch.setattr(module, "load", loader)
    yield loader
    loader.gate.set()


@pytest.fixture
def folders(folder: Path, edit: Any) -> list[Path]:
    """Return three models of one size, in the order c, a, b."""
    made = []
    for name in ("c", "a", "b"):
        made.append(folder.with_name(name))
        made[-1].mkdir()
        for item in folder.iterdir():
            if item.name != "tintype.json":
                (made[-1] / item.name).symlink_to(item)
        (made[-1] / "tintype.json").write_bytes((folder / "tintype.json").read_bytes())
        edit(made[-1] / "tintype.json", lambda c, name=name: c.update(name=name))
    return made


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, at most ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_the_built_in_model_is_there_without_a_folder(repository: Repository) -> None:
    """Without folders the model in the package is served, and really loads."""
    model = repository.wait("", timeout=60)
    status = repository.status()
    assert repository.names() == [repository.default]
    assert (status.state, status.fraction, status.error) == (State.LOADED, 1.0, "")
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
    """What was put into the folder since is there, and what was taken away is not, without the model going."""
    with Repository(folders) as repository:
        model = repository.wait("c")
        (folders[0] / "loras").mkdir()
        (folders[0] / "loras" / "ink.safetensors").touch()
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
        assert repository.status("a").state is State.UNLOADED
        repository.load("a")
        until(lambda: repository.status("a").fraction == 0.5)
        repository.load("a")
        assert repository.get("a") is None
        assert repository.status("a").state is State.LOADING
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
        assert repository.status("a").state is State.UNLOADED
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
        assert repository.status("a").state is State.FAILED
        assert "tokenizer/merges.txt is missing" in repository.status("a").error
        for verb in (repository.spec, repository.load, repository.get, repository.wait):
            with pytest.raises(ModelBroken, match=r"tokenizer/vocab\.json is missing"):
                verb("a")
        repository.unload("a")
        assert repository.status("a").state is State.FAILED
        assert repository.wait("b", timeout=10)


def test_a_failed_load_is_told_until_somebody_tries_again(folders: list[Path], loader: Loader) -> None:
    """`get` raises what loading failed with, each time alike; `load` tries again."""
    loader.failure = RuntimeError("no such operator")
    with Repository(folders) as repository:
        repository.load("a")
        until(lambda: repository.status("a").state is State.FAILED)
        for _ in range(2):
            with pytest.raises(ModelBroken, match="RuntimeError: no such operator") as caught:
                repository.get("a")
            assert len(caught.traceback) < 10
        loader.failure = None
        assert repository.wait("a", timeout=10)
        assert repository.status("a").error == ""


def test_a_damaged_graph_is_named(folder: Path) -> None:
    """What only loading can find is told as a fault of the model, with the file."""
    (folder / "vae_decoder/model.onnx").unlink()
    (folder / "vae_decoder/model.onnx").write_bytes(b"not a graph")
    with (
        Repository([folder]) as repository,
        pytest.raises(ModelBroken, match=r"vae_decoder/model\.onnx can't be loaded"),
    ):
        repository.wait(timeout=60)


@pytest.mark.usefixtures("loader")
def test_a_budget_drops_what_was_used_longest_ago(folders: list[Path]) -> None:
    """With room for two, the third pushes out the one that nobody asked for lately."""
    size = Entry("", read(folders[0])).weight
    with Repository(folders, memory=2 * size) as repository:
        for name in ("a", "b"):
            repository.wait(name, timeout=10)
        repository.get("a")
        repository.wait("c", timeout=10)
        states = {name: repository.status(name).state for name in "abc"}
        assert states == {"a": State.LOADED, "b": State.UNLOADED, "c": State.LOADED}


@pytest.mark.usefixtures("loader")
def test_a_held_model_stays_and_others_wait_for_it(folders: list[Path]) -> None:
    """Nothing that is in use is dropped: whoever needs its memory waits until it is released."""
    size = Entry("", read(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        model = repository.wait("a", timeout=10)
        repository.hold("a")
        repository.hold("a")
        repository.load("b")
        repository.release("a")
        assert repository.get("a") is model
        assert (repository.status("b").state, repository.status("b").fraction) == (State.LOADING, 0.0)
        repository.release("a")
        assert repository.wait("b", timeout=10)
        assert repository.status("a").state is State.UNLOADED


@pytest.mark.usefixtures("loader")
def test_larger_than_the_budget_is_said_at_once(folders: list[Path]) -> None:
    """A model that can never fit is refused, not queued."""
    with Repository(folders, memory=1000) as repository:
        with pytest.raises(
            OutOfMemory, match=r"needs \d{8} bytes for its largest component, and all models may have 1000"
        ):
            repository.load("a")
        assert repository.status("a").state is State.UNLOADED


@pytest.mark.usefixtures("loader")
def test_unloading_waits_for_those_who_hold(folders: list[Path]) -> None:
    """A model is dropped when the last request that uses it has ended; loading it again takes that back."""
    with Repository(folders) as repository:
        repository.wait("a", timeout=10)
        repository.hold("a")
        repository.unload("a")
        assert repository.status("a").state is State.LOADED
        repository.release("a")
        assert repository.status("a").state is State.UNLOADED
        repository.wait("a", timeout=10)
        repository.hold("a")
        repository.unload("a")
        repository.load("a")
        repository.release("a")
        assert repository.status("a").state is State.LOADED


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
        until(lambda: repository.status("a").state is State.UNLOADED)


@pytest.mark.usefixtures("loader")
def test_unloading_takes_a_model_out_of_line(folders: list[Path]) -> None:
    """What waits for memory can be called off."""
    size = Entry("", read(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        repository.wait("a", timeout=10)
        repository.hold("a")
        repository.load("b")
        repository.unload("b")
        assert repository.status("b").state is State.UNLOADED
        repository.release("a")
        assert repository.status("a").state is State.LOADED


@pytest.mark.usefixtures("loader")
def test_a_closed_repository_loads_nothing(folders: list[Path]) -> None:
    """After `close` nothing is in memory, and nothing comes in."""
    repository = Repository(folders)
    repository.wait("a", timeout=10)
    repository.close()
    assert repository.status("a").state is State.UNLOADED
    with pytest.raises(Unavailable):
        repository.load("a")


def test_nothing_is_captured_while_a_model_loads(folders: list[Path], loader: Loader) -> None:
    """Loading calls the device from beginning to end, not in making sessions alone."""
    loader.gate.clear()
    with Repository(folders) as repository:
        repository.load("a")
        until(lambda: loader.names == ["a"])
        with TURNS.alone() as alone:
            assert not alone
        loader.gate.set()
        repository.wait("a")
        with TURNS.alone() as alone:
            assert alone


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


def test_short_of_memory_idle_models_make_room(folders: list[Path], loader: Loader) -> None:
    """When the device has no memory for a model, the others that nobody holds go, and it is tried once more."""
    with Repository(folders) as repository:
        repository.wait("a", timeout=60)
        repository.wait("b", timeout=60)
        repository.hold("b")
        loader.failures = [OutOfMemory("the device is full")]
        assert repository.wait("c", timeout=60)
        states = {name: repository.status(name).state for name in "abc"}
        assert states == {"a": State.UNLOADED, "b": State.LOADED, "c": State.LOADED}
        assert loader.names == ["a", "b", "c", "c"]


@pytest.mark.usefixtures("loader")
def test_who_waits_for_memory_says_so(folders: list[Path]) -> None:
    """A model in line behind one that is held is `waiting`, and no longer once it may load."""
    size = Entry("", read(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        repository.wait("a", timeout=60)
        repository.hold("a")
        repository.load("b")
        assert repository.status("b").waiting
        assert not repository.status("a").waiting
        repository.release("a")
        repository.wait("b", timeout=60)
        assert not repository.status("b").waiting


@pytest.mark.parametrize("seconds", [60.0, 0.01])
def test_what_was_loaded_for_somebody_waits_for_them(
    folders: list[Path], loader: Loader, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Who is next in line takes the place of a model that was used; or for which nobody came for a time."""
    monkeypatch.setattr(line, "FRESH", seconds)
    loader.gate.clear()
    with Repository(folders, memory=Entry("", read(folders[0])).weight) as repository:
        repository.load("a")
        repository.load("b")
        loader.gate.set()
        if seconds > 1:
            assert repository.wait("a", timeout=10)
            assert repository.status("b").waiting
            repository.hold("a")
            repository.release("a")
        assert repository.wait("b", timeout=10)
        assert repository.status("a").state is State.UNLOADED


def test_nothing_is_kept_for_who_has_left(folders: list[Path], loader: Loader) -> None:
    """What was loaded for requests that left, or are less urgent, makes room at once; what they had in line is out."""
    size = Entry("", read(folders[0])).weight
    loader.gate.clear()
    with Repository(folders, memory=size) as repository:
        repository.load("a", lasting=False)
        repository.load("b", lasting=False)
        repository.load("c", lasting=False)
        loader.gate.set()
        until(lambda: repository.status("a").state is State.LOADED)
        repository.forgo({"a", "c"}, {"a"})
        assert repository.status("a").state is State.LOADED
        assert repository.status("b").state is State.UNLOADED
        repository.forgo({"a", "c"}, {"c"})
        assert repository.wait("c", timeout=10)
        assert loader.names == ["a", "c"]


def test_what_somebody_asked_for_by_name_is_loaded_without_a_request(folders: list[Path], loader: Loader) -> None:
    """Requests that leave take nothing out of line that was put there for itself; it is not kept from others."""
    loader.gate.clear()
    with Repository(folders, memory=Entry("", read(folders[0])).weight) as repository:
        repository.load("a")
        repository.load("b", lasting=False)
        repository.load("b")
        repository.forgo((), ())
        loader.gate.set()
        until(lambda: repository.status("a").state is State.LOADED)
        repository.forgo((), ())
        until(lambda: repository.status("b").state is State.LOADED)
