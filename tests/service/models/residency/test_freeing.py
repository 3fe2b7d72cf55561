"""Weights are freed without locks: freeing may take seconds, and no call of the service waits for it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.loader import Loader, until
from tintype.service.api import ImageApi
from tintype.service.engine import Engine
from tintype.service.errors import OutOfMemory, Unavailable
from tintype.service.job import Job
from tintype.service.models import ModelState, Repository
from tintype.service.models.graph_source import OnnxFile
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 30  # seconds that a test waits for another thread


class SlowGraph:
    """A graph that is freed only when `gate` is set; `freeing` is set as soon as freeing begins."""

    provider, inputs, optional, outputs = "toy", (), (), ()

    def __init__(self, gate: threading.Event, freeing: threading.Event) -> None:
        self._gate, self._freeing = gate, freeing

    def run(self, *_: object) -> list[Any]:
        return []

    def __del__(self) -> None:
        self._freeing.set()
        self._gate.wait(PATIENCE)


class Bench:
    """A repository of models c, a and b in memory, where a has a component that is slow to free."""

    def __init__(self, folders: list[Path], loader: Loader) -> None:
        self.repository, self.loader = Repository(folders), loader
        self.engine = Engine(self.repository)
        self.gate, self.freeing = threading.Event(), threading.Event()
        for name in ("c", "a", "b"):
            model: Any = self.repository.wait(name, timeout=PATIENCE)
            model.resume = model.stop = lambda: None
            model.encode = self._fail
        self.error: Exception = ValueError("a call that fails")
        self.open("a", folders[1])

    def open(self, model: str, folder: Path) -> None:
        source = OnnxFile(folder / "unet" / "model.onnx")
        self.repository.components.component(model, source, lambda _: SlowGraph(self.gate, self.freeing))

    def _fail(self, _: object) -> None:
        raise self.error


@pytest.fixture
def bench(folders: list[Path], loader: Loader) -> Iterator[Bench]:
    bench = Bench(folders, loader)
    yield bench
    bench.gate.set()
    bench.repository.close()


def release(bench: Bench) -> None:
    bench.repository.hold("a")
    bench.repository.unload("a")
    bench.repository.release("a")


def engine_releases(bench: Bench) -> None:
    bench.engine.admit(Job(prompt="x", model="a"))
    bench.engine.step()
    bench.repository.unload("a")
    bench.engine.step()


def engine_evicts(bench: Bench) -> None:
    bench.error = OutOfMemory("no memory")
    bench.engine.admit(Job(prompt="x", model="b"))
    bench.engine.step()


def cancel_load(bench: Bench) -> None:
    bench.loader.gate.clear()
    bench.repository.unload("c")
    bench.repository.load("c")
    bench.open("c", bench.repository._catalogue.slot("c").manifest.folder)  # type: ignore[union-attr]
    bench.repository.unload("c")
    bench.loader.gate.set()


WAYS: dict[str, Callable[[Bench], object]] = {
    "release": release,
    "unload": lambda bench: bench.repository.unload("a"),
    "evict idle": lambda bench: bench.repository.evict_idle("b"),
    "cancel load": cancel_load,
    "close": lambda bench: bench.repository.close(),
    "the engine releases": engine_releases,
    "the engine evicts": engine_evicts,
}


@pytest.mark.parametrize("way", WAYS)
def test_no_call_waits_while_memory_is_freed(bench: Bench, way: str) -> None:
    """Models are listed, jobs admitted and cancelled while a component is slowly freed."""
    finished = threading.Event()

    def calls() -> None:
        api = ImageApi(bench.repository, None)  # type: ignore[arg-type]
        assert len(asyncio.run(api.list_models(pb.ListModelsRequest())).models) == 3
        assert asyncio.run(api.get_model(pb.GetModelRequest(model="b"))).model.name == "b"
        bench.repository.hold("b")
        bench.repository.release("b")
        try:
            bench.engine.cancel(bench.engine.admit(Job(prompt="x", model="b")))
        except Unavailable:
            assert way == "close"
        finished.set()

    freeing = threading.Thread(target=WAYS[way], args=(bench,), daemon=True)
    freeing.start()
    assert bench.freeing.wait(PATIENCE)
    threading.Thread(target=calls, daemon=True).start()
    assert finished.wait(PATIENCE / 3)
    bench.gate.set()
    freeing.join(PATIENCE)
    assert not freeing.is_alive()


def test_bytes_count_until_they_are_freed(bench: Bench) -> None:
    """A component counts as used until it is freed, and the next model loads only after that."""
    used = bench.repository.components.used
    threading.Thread(target=bench.repository.unload, args=("a",), daemon=True).start()
    assert bench.freeing.wait(PATIENCE)
    assert bench.repository.components.used == used > 0
    bench.repository.load("a")
    assert bench.repository.status("a").state is ModelState.LOADING
    bench.gate.set()
    assert bench.repository.wait("a", timeout=PATIENCE)
    until(lambda: bench.repository.components.used == 0)


@pytest.mark.parametrize("way", ["unload", "evict idle", "close"])
def test_unloading_returns_when_memory_is_free(bench: Bench, way: str) -> None:
    """The caller may use the freed memory as soon as the call returns."""
    freeing = threading.Thread(target=WAYS[way], args=(bench,), daemon=True)
    freeing.start()
    assert bench.freeing.wait(PATIENCE)
    freeing.join(0.1)
    assert freeing.is_alive()
    bench.gate.set()
    freeing.join(PATIENCE)
    assert not freeing.is_alive()
