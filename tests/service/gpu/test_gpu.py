"""What holds on a CPU holds on an NVIDIA GPU: `pytest -m gpu` on a machine that has one.

Tolerances are those of kernels that sum in another order, and of TF32, which CUDA multiplies matrices in by default.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.engine import Engine
from tintype.service.engine.events import Finished
from tintype.service.errors import OutOfMemory
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import ort, tensorrt
from tintype.service.models.runtime.device_buffers import DeviceBuffers
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.provider_options import GraphRole, ProviderOptions
from tintype.service.models.runtime.providers import works
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session import Session
from tintype.service.models.runtime.tensorrt import HOT, TensorRtGraph, builder

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.runtime.graph import Graph

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]

UNET = BUILTIN / "unet/model.onnx"
RELATIVE = 5e-3  # of one answer of a graph, to its largest value: TF32 keeps ten bits
MEAN = 1 / 255  # of a picture after six steps
PLAIN, GRAPHS = ProviderOptions(cuda_graphs=False), ProviderOptions(cuda_graphs=True)


@pytest.fixture
def engines(tmp_path: Path) -> ProviderOptions:
    """Return settings with an empty folder for engines; skips where TensorRT does not work."""
    if not works("tensorrt"):
        pytest.skip("TensorRT does not work here: pip install '.[tensorrt]'")
    return ProviderOptions(engines=tmp_path)


def feeds(rows: int, seed: int = 0, side: int = 8) -> dict[str, Any]:
    """Return what the built-in denoiser wants."""
    draw = np.random.default_rng(seed)
    prompt = draw.standard_normal((rows, 32, 128), np.float32)
    prompt.setflags(write=False)
    return {
        "sample": draw.standard_normal((rows, 16, side, side), np.float32),
        "timestep": np.linspace(100, 900, rows, dtype=np.float32),
        "encoder_hidden_states": prompt,
    }


def apart(graph: Any, other: Any, fed: dict[str, Any]) -> float:
    """Return how far two answers are apart, to the largest value."""
    one, two = (np.asarray(g.run(["out_sample"], fed)[0]) for g in (graph, other))
    return float(np.abs(one - two).max() / np.abs(two).max())


@cache
def on_cpu() -> Graph:
    return OrtGraph(UNET, "cpu", 4)


def picture(provider: str, options: ProviderOptions = PLAIN) -> np.ndarray:
    with Repository(providers=[provider], options=options) as repository:
        assert repository.wait(timeout=600).spec.provider == provider
        engine = Engine(repository)
        for _ in range(3):  # the later ones with buffers, graphs and engines
            engine.admit(Job(prompt="a red circle", seed=1, steps=6, width=128, height=128))
            while engine.step():
                pass
            builder().submit(lambda: None).result(600)
            found = [event.pixels for _, event in engine.collect() if isinstance(event, Finished)]
        return found[0]


@pytest.mark.parametrize("options", [PLAIN, GRAPHS], ids=["plain", "graphs"])
def test_the_picture_is_the_cpus(options: ProviderOptions) -> None:
    """From prompt to pixels, with the whole engine, with and without CUDA graphs."""
    assert np.abs(picture("cuda", options) - picture("cpu")).mean() <= MEAN


def test_bound_answers_are_those_of_a_plain_run() -> None:
    """With buffers that stay on the device, over shapes, steps and prompts in turn."""
    graph = OrtGraph(UNET, "cuda", 4)
    bound = DeviceBuffers(graph._session, "cuda")
    for step in range(3):
        for rows in (1, 2):
            asked = feeds(rows, step)
            assert apart(bound, graph._session, asked) <= RELATIVE
            assert apart(bound, on_cpu(), asked) <= RELATIVE


def test_captured_answers_are_those_without(caplog: pytest.LogCaptureFixture) -> None:
    """Each replay sees the latents, the timestep and the prompt of its own call, with two shapes in turn."""
    caplog.set_level(logging.WARNING)
    graph = OrtGraph(UNET, "cuda", 4, options=GRAPHS, role=GraphRole.DENOISER)
    assert graph.captures, f"onnxruntime refuses to capture: {caplog.text}"
    for step in range(4):
        for rows in (1, 2):
            assert apart(graph, on_cpu(), feeds(rows, step)) <= RELATIVE
    assert graph._buffers is not None
    assert all(bound._is_captured for bound in graph._buffers._latest.values()), caplog.text


def test_a_picture_survives_loading_beside_captures() -> None:
    """A model that loads in another thread while graphs are captured breaks neither."""
    with Repository(providers=["cuda"], options=GRAPHS) as repository:
        repository.wait(timeout=600)
        graph = OrtGraph(UNET, "cuda", 4, options=GRAPHS, role=GraphRole.DENOISER)
        repository.unload()
        repository.load()
        for rows in (1, 2, 3, 1, 2, 3):
            assert apart(graph, on_cpu(), feeds(rows)) <= RELATIVE
        assert repository.wait(timeout=600).spec.provider == "cuda"


def test_tensorrt_takes_over(engines: ProviderOptions) -> None:
    """CUDA answers until the engine is there; both answer alike, and other numbers of rows go on on CUDA."""
    graph = TensorRtGraph(UNET, 4, options=engines)
    for step in range(HOT):
        assert apart(graph, on_cpu(), feeds(2, step)) <= RELATIVE
    (engine,) = graph._engines.values()
    built = engine.result(1100)
    assert built is not None, "no engine could be built: the log says why"
    assert built.provider == "tensorrt"
    for rows in (1, 2, 8):
        assert apart(graph, on_cpu(), feeds(rows)) <= RELATIVE


def test_engines_are_read_again(engines: ProviderOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second session of a graph writes no new engine, and the timings are kept beside."""
    monkeypatch.setattr(tensorrt, "HOT", 1)
    written: list[dict[Path, int]] = []
    for _ in range(2):
        graph = TensorRtGraph(UNET, 4, options=engines)
        graph.run(["out_sample"], feeds(1))
        (engine,) = graph._engines.values()
        assert engine.result(1100) is not None
        written.append({path: path.stat().st_mtime_ns for path in engines.engines.rglob("*.engine")})
    assert written[0]
    assert written[1] == written[0]
    assert list(engines.engines.glob("*.timing"))


def test_the_picture_of_tensorrt_is_the_cpus(engines: ProviderOptions) -> None:
    """From prompt to pixels, while engines are built and after."""
    assert np.abs(picture("tensorrt", engines) - picture("cpu")).mean() <= MEAN


def test_after_a_lack_of_memory_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for which there is no memory is refused as such, and the session answers the next one."""
    monkeypatch.setattr(ort, "cuda_options", lambda **_: {"gpu_mem_limit": str(256 * 2**20)})
    session = Session(UNET, Runtime("cuda", 4))
    with pytest.raises(OutOfMemory):
        session.compute(["out_sample"], feeds(256, side=64))  # 64 MiB of latents, 256 MiB after the first convolution
    (out,) = session.compute(["out_sample"], feeds(1))
    assert np.isfinite(out).all()
