"""Stopping a running call of a model; its session stays usable."""

from __future__ import annotations

import base64
import time
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.errors import Cancelled, TintypeError
from tintype.service.models import Prompt, Repository
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.pipeline.pipeline import load
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session import Session

if TYPE_CHECKING:
    from pathlib import Path

# y = sin(sin(... x)), `times` times: a Loop made by onnx.helper with the body more_out = Identity(more),
# x_out = Sin(x_in); opset 18, IR 9.
LOOP = (
    "CAkSADr7AQq2AQoFdGltZXMKAAoBeBIBeSIETG9vcCqeAQoEYm9keTKSAQoaCgRtb3JlEghtb3JlX291dCIISWRlbnRpdHkKEgoEeF9pbhIFeF9v"
    "dXQiA1NpbhIEYm9keVoLCgFpEgYKBAgHEgBaDgoEbW9yZRIGCgQICRIAWhMKBHhfaW4SCwoJCAESBQoDEgFuYhIKCG1vcmVfb3V0EgYKBAgJEgBi"
    "FAoFeF9vdXQSCwoJCAESBQoDEgFuoAEFEgdlbmRsZXNzWhMKBXRpbWVzEgoKCAgHEgQKAggBWhAKAXgSCwoJCAESBQoDEgFuYhAKAXkSCwoJCAES"
    "BQoDEgFuQgQKABAS"
)
X = np.linspace(0, 1, 7, dtype=np.float32)
ENDLESS = 2**62


def sin(session: Session, times: int) -> np.ndarray:
    return session.run("y", times=np.array([times]), x=X)


@pytest.mark.parametrize("busy", [0.0, 0.2])
def test_an_endless_call_ends_when_it_is_stopped(tmp_path: Path, busy: float) -> None:
    """At its start or while it computes; later calls fail until `resume`, and are correct afterwards."""
    (tmp_path / "model.onnx").write_bytes(base64.b64decode(LOOP))
    runtime = Runtime("cpu", 1)
    session = Session(OnnxFile(tmp_path / "model.onnx"), runtime)
    raised: list[TintypeError] = []
    started = Event()

    def call() -> None:
        started.set()
        try:
            sin(session, ENDLESS)
        except TintypeError as error:
            raised.append(error)

    thread, start = Thread(target=call, daemon=True), time.process_time()
    thread.start()
    assert started.wait(60)
    while time.process_time() - start < busy:
        thread.join(0.01)
    runtime.stop_flag.stop()
    thread.join(60)
    assert [type(error) for error in raised] == [Cancelled]
    with pytest.raises(Cancelled):
        sin(session, 2)
    runtime.stop_flag.resume()
    assert np.allclose(sin(session, 2), np.sin(np.sin(X)))


def test_a_resumed_model_has_the_same_results() -> None:
    """While it is stopped its calls fail and another model's succeed; afterwards results are bit-identical."""
    model, other = (load(read_manifest(BUILTIN), Runtime("cpu", 1), lambda _: None) for _ in range(2))
    latents = np.random.default_rng(1).standard_normal((1, 16, 8, 8), np.float32)
    before = model.decode(latents)
    model.stop()
    with pytest.raises(Cancelled):
        model.decode(latents)
    assert np.array_equal(other.decode(latents), before)
    model.resume()
    assert np.array_equal(model.decode(latents), before)


@pytest.mark.parametrize("memory", [0, 2**30])
def test_a_model_that_was_unloaded_while_stopped_loads_again(memory: int) -> None:
    """It works after it is loaded again, and can be stopped again."""
    with Repository(memory=memory) as repository:
        repository.wait(timeout=60).stop()
        repository.unload()
        model = repository.wait(timeout=60)
        assert model.encode([Prompt("a lake")])[0].tokens > 0
        model.stop()
        with pytest.raises(Cancelled):
            model.encode([Prompt("another lake")])


def test_a_model_that_is_loaded_again_stops_graphs_that_stayed_in_memory() -> None:
    """The graphs of an evicted model may stay in memory; they share the stop flag of the model loaded next."""
    with Repository() as repository:
        repository.wait(timeout=60)
        slot = repository._catalogue.slot("")
        slot.clear()
        model = repository.wait(timeout=60)
        session = model._vae._decoder  # type: ignore[attr-defined]
        assert session._session.graph._stop_flag is session._stop_flag
