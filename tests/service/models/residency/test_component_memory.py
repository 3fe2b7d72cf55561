"""The budget for weights holds at any moment, and no more is evicted than necessary."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING
from unittest.mock import Mock

import numpy as np
import pytest

from tintype.service.engine import Engine
from tintype.service.engine.events import Completed, Finished
from tintype.service.errors import OutOfMemory
from tintype.service.job import Job
from tintype.service.models import ModelState, Repository
from tintype.service.models.files import component_bytes
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.residency.component_memory import ComponentMemory
from tintype.service.models.runtime.cuda_graphs import DEVICE_ACCESS
from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tintype.service.models.residency.component import Component
    from tintype.service.models.runtime.graph import Graph, Values

PATIENCE = 60  # seconds that a test waits for another thread


class AddOne:
    """A graph that adds one."""

    provider = "toy"
    inputs = (Port("x", "tensor(float)", (1,)),)
    optional = ()
    outputs = ("y",)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        assert tuple(outputs) == self.outputs
        return [np.add(feeds["x"], np.float32(1))]


class Components:
    """Components of ten bytes each in a memory; `loaded` lists the components that were loaded, in order."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.memory = folder, ComponentMemory(limit)
        self.loaded: list[str] = []
        self.before_load: Callable[[str], None] = lambda _name: None

    def open(self, model: str, name: str) -> Component:
        path = self.folder / model / name / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0123456789")

        def make(_: StopFlag) -> Graph:
            self.before_load(name)
            self.loaded.append(name)
            return AddOne()

        return self.memory.component(model, OnnxFile(path), make)


@pytest.fixture
def components(tmp_path: Path) -> Callable[[int], Components]:
    return lambda limit: Components(tmp_path, limit)


def call(component: Component) -> float:
    (result,) = component.run(["y"], {"x": np.zeros(1, np.float32)})
    return float(result[0])


def test_without_a_limit_nothing_is_evicted(components: Callable[[int], Components]) -> None:
    """Each component is loaded once, has its graph's inputs and outputs, and runs as its graph does."""
    it = components(0)
    opened = [it.open(model, name) for model in "ab" for name in ("text", "unet")]
    for component in opened * 2:
        assert call(component) == 1
        assert (component.provider, component.inputs, component.outputs) == (
            AddOne.provider,
            AddOne.inputs,
            AddOne.outputs,
        )
    assert it.loaded == ["text", "unet"] * 2
    assert it.memory.used == 40


def test_components_of_one_model_take_turns(components: Callable[[int], Components]) -> None:
    """With room for two of three, the least recently used is evicted and loaded again; the budget always holds."""
    it = components(20)
    it.before_load = lambda _name: assert_within(it, 20)
    text, unet, vae = (it.open("a", name) for name in ("text", "unet", "vae"))
    it.memory.protect("a", protected=True)  # a model in use may still take its own place
    for component in (text, unet, unet, vae, vae):
        call(component)
    assert it.loaded == ["text", "unet", "vae", "text", "unet", "vae"]
    assert it.memory.used == 20


def assert_within(components: Components, limit: int) -> None:
    assert components.memory.used <= limit


def test_freeing_waits_for_a_capture(components: Callable[[int], Components]) -> None:
    """Freeing device memory during the capture of a CUDA graph would end the capture with an error."""
    it = components(0)
    graph = weakref.ref(it.open("a", "unet").graph)
    thread = threading.Thread(target=it.memory.drop("a"))
    with DEVICE_ACCESS.exclusive() as exclusive:
        assert exclusive
        thread.start()
        thread.join(0.05)
        assert graph()
    thread.join(PATIENCE)
    assert graph() is None


def test_the_least_recently_used_component_of_any_model_is_evicted(components: Callable[[int], Components]) -> None:
    """No more is evicted than necessary: another model's other component stays and is not loaded again."""
    it = components(30)
    text, unet = it.open("a", "text"), it.open("a", "unet")
    other = it.open("b", "text")
    call(text)
    it.open("b", "unet")
    assert it.loaded == ["text", "unet", "text", "unet"]
    call(text)
    call(other)
    assert len(it.loaded) == 4  # neither was evicted
    call(unet)
    assert len(it.loaded) == 5


def test_a_held_models_components_are_not_evicted_for_others(components: Callable[[int], Components]) -> None:
    """A component of another model waits until the hold is released, and loads at once then."""
    it = components(10)
    it.open("a", "text")
    it.memory.protect("a", protected=True)
    thread = threading.Thread(target=lambda: it.open("b", "text"))
    thread.start()
    thread.join(0.05)
    assert it.loaded == ["text"]
    it.memory.protect("a", protected=False)
    thread.join(PATIENCE)
    assert it.loaded == ["text", "text"]
    assert it.memory.used == 10


def test_waiting_that_could_never_end_is_refused(components: Callable[[int], Components]) -> None:
    """If held models fill the memory, another component of one of them is refused: the device would wait for itself."""
    it = components(20)
    vae = it.open("a", "vae")
    it.open("b", "text")
    it.open("b", "unet")
    for model in "ab":
        it.memory.protect(model, protected=True)
    with pytest.raises(OutOfMemory, match="vae does not fit into 20 bytes with the models in use"):
        call(vae)
    it.memory.protect("b", protected=False)
    assert call(vae) == 1


def test_a_running_component_is_not_evicted(components: Callable[[int], Components]) -> None:
    """Not even for its own model: the other component loads when the call has ended."""
    it = components(10)
    text = it.open("a", "text")
    with it.memory.use(text, "a"):
        thread = threading.Thread(target=lambda: it.open("a", "unet"))
        thread.start()
        thread.join(0.05)
        assert it.loaded == ["text"]
    thread.join(PATIENCE)
    assert it.loaded == ["text", "unet"]


def test_what_a_component_keeps_on_a_device_counts(components: Callable[[int], Components]) -> None:
    """A denoiser on an NVIDIA GPU keeps its arena; weights and arena together must fit."""
    memory, source = components(15).memory, Mock(component="unet", weights_bytes=10, files=())
    with pytest.raises(OutOfMemory, match="unet takes 16 bytes, above 15"):
        memory.of_model("m").open(source, Mock(), StopFlag(), 6)
    memory.of_model("n").open(source, lambda _: AddOne(), StopFlag(), 5)
    assert memory.used == 15


def test_a_component_larger_than_the_budget_is_refused(components: Callable[[int], Components]) -> None:
    """The error has both numbers; nothing is loaded."""
    it = components(9)
    with pytest.raises(OutOfMemory, match="text takes 10 bytes, above 9"):
        it.open("a", "text")
    assert it.loaded == []


def test_a_component_that_fails_to_load_takes_no_memory(components: Callable[[int], Components]) -> None:
    """Its error is raised, and the next component has the room."""
    it = components(10)

    def fail(name: str) -> None:
        if name == "bad":
            raise RuntimeError(name)

    it.before_load = fail
    with pytest.raises(RuntimeError, match="bad"):
        it.open("a", "bad")
    assert it.memory.used == 0
    assert call(it.open("a", "good")) == 1


def test_many_threads_load_a_component_once(components: Callable[[int], Components]) -> None:
    """Threads that call a component while it is being loaded wait for it."""
    it = components(10)
    gate = threading.Event()
    it.before_load = lambda _name: assert_true(gate.wait(PATIENCE))
    threads = [threading.Thread(target=lambda: it.open("a", "text")) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert it.loaded == ["text"]


def assert_true(value: object) -> None:
    assert value


def test_dropping_and_evicting_free_idle_components(components: Callable[[int], Components]) -> None:
    """`drop` frees one model's components, `evict_idle` those of all other models without holds."""
    it = components(0)
    for model in "abc":
        it.open(model, "text")
    free = it.memory.drop("a")
    assert it.memory.used == 30
    free()
    assert it.memory.used == 20
    it.memory.protect("b", protected=True)
    free_others = it.memory.evict_idle("b")
    assert free_others
    free_others()
    assert it.memory.used == 10
    assert not it.memory.evict_idle("b")


# With the built-in model, whose weights take half as many bytes on disk as in memory.
WEIGHTS = {name: 2 * component_bytes(BUILTIN / name) for name in ("text_encoder", "unet", "vae_decoder")}


def image(memory: int) -> np.ndarray:
    """Return the image of one job within a budget in bytes; pixels [3, h, w]."""
    with Repository(providers=["cpu"], threads=1, memory=memory) as repository:
        repository.wait(timeout=PATIENCE)
        engine = Engine(repository)
        engine.admit(Job(prompt="a red circle", seed=1, steps=2, width=128, height=128))
        while engine.step():
            if memory:
                assert repository.components.used <= memory
        events = [event for _, event in engine.collect()]
        assert isinstance(events[-1], Completed)
        return next(event.pixels for event in events if isinstance(event, Finished))


def test_a_budget_for_the_largest_component_is_enough() -> None:
    """Text encoder, denoiser and VAE take turns within it, and the image is bit-identical."""
    assert sum(WEIGHTS.values()) > WEIGHTS["unet"]
    assert np.array_equal(image(0), image(WEIGHTS["unet"]))


def test_two_models_share_a_budget_for_one_component(folder: Path) -> None:
    """Jobs of the two models alternate, all are completed, and the weights never exceed the budget."""
    with Repository([BUILTIN, folder], providers=["cpu"], threads=1, memory=WEIGHTS["unet"]) as repository:
        engine = Engine(repository)
        names = [repository.default, "toy"] * 2
        common = {"prompt": "a red circle", "seed": 1, "steps": 2, "width": 128, "height": 128}
        tickets = [engine.admit(Job(model=name, **common)) for name in names]  # type: ignore[arg-type]
        events, end = [], time.monotonic() + 2 * PATIENCE
        while engine.busy:
            assert time.monotonic() < end
            if not engine.step():
                time.sleep(0.01)
            assert repository.components.used <= WEIGHTS["unet"]
            events += engine.collect()
    images = {ticket: event.pixels for ticket, event in events if isinstance(event, Finished)}
    assert set(images) == set(tickets)
    differences = [np.abs(images[ticket] - images[tickets[0]]).max() for ticket in tickets]
    assert max(differences) <= 2 / 255  # guidance is one call or two while the widths are measured


def test_a_budget_below_the_largest_component_is_refused() -> None:
    """It is refused at once, and the error has the bytes that the component needs."""
    with (
        Repository(providers=["cpu"], memory=WEIGHTS["unet"] - 1) as repository,
        pytest.raises(OutOfMemory, match=rf"needs {WEIGHTS['unet'] / 2**20:.1f} MiB for its largest component"),
    ):
        repository.load()
    assert repository.status().state is ModelState.UNLOADED
