"""Weights are freed without locks: whoever frees them may take seconds, and no call of the service waits for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.loader import Loader, until
from tintype.service.api import ImageApi
from tintype.service.engine import Engine
from tintype.service.errors import OutOfMemory, Unavailable
from tintype.service.job import Job
from tintype.service.models import ModelState, Repository
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 30  # seconds until a test that waits for another thread gives up


class Heavy:
    """A graph whose memory is given back only when `gate` opens; `going` is set as soon as that begins."""

    provider, inputs, optional, outputs = "toy", (), (), ()

    def __init__(self, gate: threading.Event, going: threading.Event) -> None:
        self._gate, self._going = gate, going

    def run(self, *_: object) -> list[Any]:
        return []

    def __del__(self) -> None:
        self._going.set()
        self._gate.wait(PATIENCE)


class Place:
    """A repository of models c, a and b in memory, where a has a heavy component."""

    def __init__(self, folders: list[Path], loader: Loader) -> None:
        self.repository, self.loader = Repository(folders), loader
        self.engine = Engine(self.repository)
        self.gate, self.going = threading.Event(), threading.Event()
        for name in ("c", "a", "b"):
            model: Any = self.repository.wait(name, timeout=PATIENCE)
            model.resume = model.stop = lambda: None
            model.encode = self._fail
        self.error: Exception = ValueError("a call that fails")
        self.open("a", folders[1])

    def open(self, model: str, folder: Path) -> None:
        path = folder / "unet" / "model.onnx"
        self.repository._components.of_model(model).open(path, lambda: Heavy(self.gate, self.going))

    def _fail(self, _: object) -> None:
        raise self.error


@pytest.fixture
def place(folders: list[Path], loader: Loader) -> Iterator[Place]:
    place = Place(folders, loader)
    yield place
    place.gate.set()
    place.repository.close()


def release(place: Place) -> None:
    place.repository.hold("a")
    place.repository.unload("a")
    place.repository.release("a")


def engine_releases(place: Place) -> None:
    place.engine.admit(Job(prompt="x", model="a"))
    place.engine.step()
    place.repository.unload("a")
    place.engine.step()


def engine_relieves(place: Place) -> None:
    place.error = OutOfMemory("no memory")
    place.engine.admit(Job(prompt="x", model="b"))
    place.engine.step()


def settle(place: Place) -> None:
    place.loader.gate.clear()
    place.repository.unload("c")
    place.repository.load("c")
    place.open("c", place.repository._catalogue.slot("c").manifest.folder)  # type: ignore[union-attr]
    place.repository.unload("c")
    place.loader.gate.set()


WAYS: dict[str, Callable[[Place], object]] = {
    "release": release,
    "unload": lambda place: place.repository.unload("a"),
    "relieve": lambda place: place.repository.evict_idle("b"),
    "settle": settle,
    "close": lambda place: place.repository.close(),
    "the engine releases": engine_releases,
    "the engine relieves": engine_relieves,
}


@pytest.mark.parametrize("way", WAYS)
def test_no_call_waits_while_memory_is_freed(place: Place, way: str) -> None:
    """Models are listed, jobs admitted and cancelled while a component takes its time to go."""
    answered: list[str] = []

    def calls() -> None:
        api = ImageApi(place.repository, None)  # type: ignore[arg-type]
        assert len(api.list_models(pb.ListModelsRequest()).models) == 3
        assert api.get_model(pb.GetModelRequest(model="b")).model.name == "b"
        place.repository.hold("b")
        place.repository.release("b")
        try:
            place.engine.cancel(place.engine.admit(Job(prompt="x", model="b")))
        except Unavailable:
            assert way == "close"
        answered.append("all")

    freeing = threading.Thread(target=WAYS[way], args=(place,), daemon=True)
    freeing.start()
    assert place.going.wait(PATIENCE)
    asking = threading.Thread(target=calls, daemon=True)
    asking.start()
    asking.join(PATIENCE / 3)
    assert answered == ["all"]
    place.gate.set()
    freeing.join(PATIENCE)
    assert not freeing.is_alive()


def test_bytes_count_until_they_are_free(place: Place) -> None:
    """What is on its way out takes its place as long as it lasts, and a model comes after what went before it."""
    used = place.repository._components.used
    threading.Thread(target=place.repository.unload, args=("a",), daemon=True).start()
    assert place.going.wait(PATIENCE)
    assert place.repository._components.used == used > 0
    place.repository.load("a")
    assert place.repository.status("a").state is ModelState.LOADING
    place.gate.set()
    assert place.repository.wait("a", timeout=PATIENCE)
    until(lambda: place.repository._components.used == 0)


@pytest.mark.parametrize("way", ["unload", "relieve", "close"])
def test_who_wants_the_memory_waits_for_it(place: Place, way: str) -> None:
    """A caller that goes on with the freed memory gets its answer when it is free."""
    freeing = threading.Thread(target=WAYS[way], args=(place,), daemon=True)
    freeing.start()
    assert place.going.wait(PATIENCE)
    freeing.join(0.1)
    assert freeing.is_alive()
    place.gate.set()
    freeing.join(PATIENCE)
    assert not freeing.is_alive()
