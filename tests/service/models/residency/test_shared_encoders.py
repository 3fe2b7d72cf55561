"""Text encoders of equal content are one component: found without reading whole files, loaded and counted once."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.errors import Cancelled
from tintype.service.models import Repository
from tintype.service.models.files import component_bytes
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.model import Prompt
from tintype.service.models.residency import shared_encoders
from tintype.service.models.residency.catalogue import BUILTIN, Catalogue
from tintype.service.models.residency.component_memory import ComponentMemory
from tintype.service.models.residency.eviction import models_to_evict
from tintype.service.models.residency.slot import ModelState
from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tintype.service.models.residency.component import Component
    from tintype.service.models.runtime.graph import Graph, Values

PATIENCE = 60  # seconds that a test waits for another thread
ENCODER = "text_encoder"


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    """Three copies of the built-in model, a, b and c; the text encoder of c has another content of equal size."""
    folders = [shutil.copytree(BUILTIN, tmp_path / name) for name in "abc"]
    for folder in folders:
        (folder / "tintype.json").write_text((folder / "tintype.json").read_text().replace('"name"', '"was"'))
    path = folders[2] / ENCODER / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return folders


def encoders(catalogue: Catalogue) -> dict[str, str]:
    """Return the digest of each model's text encoder, as far as it is shared."""
    return {slot.name: digest for slot in catalogue for digest in slot.shared.values()}


def test_files_of_equal_content_are_found(copies: list[Path]) -> None:
    """Another name of the model does not matter, one other byte at the end of the file does."""
    found = encoders(Catalogue(copies))
    assert found.keys() == {"a", "b"}
    assert found["a"] == found["b"] != ""


def test_a_model_alone_shares_nothing_and_is_not_read(copies: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are sampled only if another model has files of the same sizes."""
    monkeypatch.setattr(shared_encoders, "_sampled_digest", lambda *_: pytest.fail("read"))
    assert encoders(Catalogue(copies[:1])) == {}
    (copies[1] / ENCODER / "model.onnx").write_bytes(b"short")
    assert encoders(Catalogue(copies[:2])) == {}


def test_contents_of_the_hubs_cache_are_compared_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names are the digests of their contents, so that nothing is read."""
    monkeypatch.setattr(shared_encoders, "_sampled_digest", lambda *_: pytest.fail("read"))
    names = {"a": "0" * 64, "b": "0" * 64, "c": "1" * 64}
    for repository, name in names.items():
        blob = tmp_path / repository / "blobs" / name
        blob.parent.mkdir(parents=True)
        blob.write_bytes(b"weights")
        (tmp_path / f"{repository}.safetensors").symlink_to(blob)
    digests = [shared_encoders._digest_of((tmp_path / f"{each}.safetensors").resolve()) for each in "abc"]
    assert digests == list(names.values())


@pytest.mark.parametrize("place", [0, 2**20 - 1, 5 * 2**20 - 1])
def test_samples_tell_files_apart(place: int, tmp_path: Path) -> None:
    """Bytes at the head and at the end count, and so does the size."""
    content = bytearray(5 * 2**20)
    paths = [tmp_path / name for name in ("one", "same", "other", "longer")]
    paths[0].write_bytes(content)
    paths[1].write_bytes(content)
    paths[3].write_bytes(content + b"\0")
    content[place] = 1
    paths[2].write_bytes(content)
    one, same, other, longer = map(shared_encoders._digest_of, paths)
    assert one == same
    assert len({one, other, longer}) == 3


def test_a_file_that_changed_is_sampled_again(tmp_path: Path) -> None:
    """Digests are kept only for the file that they were made of."""
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    first = shared_encoders._digest_of(path)
    path.write_bytes(b"second")
    assert shared_encoders._digest_of(path) != first


def test_two_models_share_one_encoder_until_both_are_unloaded(copies: list[Path]) -> None:
    """It is loaded once, counted once, works for each alone, and gives the same embeddings."""
    with Repository(copies, providers=["cpu"], threads=1) as repository:
        alone = repository.wait("c", PATIENCE)
        each = repository.components.used
        first, second = (repository.wait(name, PATIENCE) for name in "ab")
        shared = 2 * component_bytes(BUILTIN / ENCODER)  # float16 on disk, float32 in memory
        assert repository.components.used == 3 * each - shared
        want = alone.encode([Prompt("a red circle")])[0].prompt_embeds
        for model in (first, second):
            np.testing.assert_array_equal(model.encode([Prompt("a red circle")])[0].prompt_embeds, want)
        repository.unload("a")
        assert repository.components.used == 2 * each
        assert second.encode([Prompt("a blue square")])[0].prompt_embeds.any()
        repository.unload("b")
        assert repository.components.used == each


def test_the_queue_counts_a_shared_encoder_once(copies: list[Path]) -> None:
    """A model fits beside another one if only its own components need more memory."""
    first, second, other = Catalogue(copies)
    encoder = 2 * component_bytes(BUILTIN / ENCODER)
    for slot in (first, other):
        slot.enqueue()
        slot.begin_loading()
        slot.state = ModelState.RESIDENT
    both = first.weight + second.weight - encoder
    assert models_to_evict([first], second, both, ()) == []
    assert models_to_evict([first], second, both - 1, ()) == [first]
    assert models_to_evict([other], second, both, ()) == [other]
    first.holds = 1
    assert models_to_evict([first], second, both - 1, ()) is None


class Recording:
    """A graph that records the options of its calls, and waits in them for `gate`."""

    provider = "toy"
    inputs = (Port("x", "tensor(float)", (1,)),)
    optional = ()
    outputs = ("y",)

    def __init__(self, flag: StopFlag) -> None:
        self.flag, self.seen = flag, list[object]()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def run(self, _: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        self.seen.append(self.flag.options)
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        return [np.add(feeds["x"], np.float32(1))]


class Shared:
    """A component of ten bytes that the models a and b share."""

    def __init__(self, folder: Path, limit: int = 0) -> None:
        self.memory, self.flags = ComponentMemory(limit), {name: StopFlag() for name in "ab"}
        self.made: list[str] = []
        self.sources = {}
        for name in "ab":
            path = folder / name / ENCODER / "model.onnx"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"0123456789")
            self.sources[name] = OnnxFile(path)
        self.views = {name: self.open(name) for name in "ab"}

    def open(self, model: str) -> Graph:
        def make(flag: StopFlag) -> Graph:
            self.made.append(model)
            return Recording(flag)

        source = self.sources[model]
        return self.memory.of_model(model, {source.files: "equal"}).open(source, make, self.flags[model])

    @property
    def component(self) -> Component:
        (component,) = self.memory._components.values()
        return component

    @property
    def graph(self) -> Recording:
        assert isinstance(self.component.graph, Recording)
        return self.component.graph


@pytest.fixture
def shared(tmp_path: Path) -> Callable[[int], Shared]:
    return lambda limit: Shared(tmp_path, limit)


FEEDS = {"x": np.zeros(1, np.float32)}


def test_a_stop_of_one_model_does_not_stop_the_other(shared: Callable[[int], Shared]) -> None:
    """Each call has the options of the model that makes it."""
    it = shared(0)
    it.flags["a"].stop()
    for name in "ab":
        it.views[name].run(["y"], FEEDS)
    assert it.graph.seen == [it.flags["a"].options, it.flags["b"].options]
    assert [options.terminate for options in it.graph.seen] == [True, False]  # type: ignore[attr-defined]
    with pytest.raises(Cancelled):
        it.flags["a"].check()


def test_one_model_at_a_time_runs_the_graph(shared: Callable[[int], Shared]) -> None:
    """While a model is loaded it encodes a prompt, perhaps as another one does."""
    it = shared(0)
    it.graph.gate.clear()
    threads = [threading.Thread(target=it.views[name].run, args=(["y"], FEEDS)) for name in "ab"]
    for thread in threads:
        thread.start()
    assert it.graph.entered.wait(PATIENCE)
    threads[0].join(0.05)
    assert len(it.graph.seen) == 1
    it.graph.gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(it.graph.seen) == 2


def test_it_is_loaded_again_from_the_files_of_its_caller(shared: Callable[[int], Shared]) -> None:
    """The other model may have been removed from the disk; the source is that of the graph in memory."""
    it = shared(0)
    assert it.made == ["a"]
    it.component.detach()
    it.views["b"].run(["y"], FEEDS)
    assert it.made == ["a", "b"]
    assert it.component.source == it.sources["b"]


def test_a_hold_of_either_model_protects_it(shared: Callable[[int], Shared]) -> None:
    """It is evicted for a third model only when no task holds one of the two."""
    it = shared(0)
    for name in "ab":
        it.memory.protect(name, protected=True)
        assert it.memory.evict_idle("c") is None
        it.memory.protect(name, protected=False)
    free = it.memory.evict_idle("c")
    assert free
    free()
    assert it.memory.used == 0


def test_dropping_one_model_keeps_it_for_the_other(shared: Callable[[int], Shared]) -> None:
    """A task that still has the dropped model can call it."""
    it = shared(10)
    it.memory.drop("a")()
    assert it.memory.used == 10
    assert it.views["a"].run(["y"], FEEDS)[0] == 1
    it.memory.drop("b")()
    assert it.memory.used == 0
    assert it.views["a"].run(["y"], FEEDS)[0] == 1
    assert it.made == ["a", "a"]
