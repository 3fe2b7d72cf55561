"""Results on an NVIDIA GPU equal those on a CPU: `pytest -m gpu` on a machine with a GPU.

Tolerances allow for kernels that sum in another order, and for TF32, in which CUDA multiplies matrices by default.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.engine import Engine
from tintype.service.engine.events import Finished
from tintype.service.errors import OutOfMemory
from tintype.service.images.pixels import to_floats
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import ort, tensorrt
from tintype.service.models.runtime.device_buffers import DeviceBuffers
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.provider_options import GraphRole, ProviderOptions
from tintype.service.models.runtime.providers import run_probe, works
from tintype.service.models.runtime.rewriting import sample
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session import Session
from tintype.service.models.runtime.tensorrt import HOT, TensorRtGraph, builder

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.runtime.graph import Graph

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]

UNET = BUILTIN / "unet/model.onnx"
RELATIVE = 5e-3  # of a graph's output, relative to its largest value: TF32 has ten bits of mantissa
MEAN = 1 / 255  # of an image after six steps
PLAIN, GRAPHS = ProviderOptions(cuda_graphs=False), ProviderOptions(cuda_graphs=True)


@pytest.fixture
def engines(tmp_path: Path) -> ProviderOptions:
    """Return provider options with an empty folder for engines; skip the test if TensorRT does not work."""
    if not works("tensorrt"):
        pytest.skip("TensorRT does not work here: pip install '.[tensorrt]'")
    return ProviderOptions(engines=tmp_path)


def unet_inputs(rows: int, seed: int = 0, side: int = 8) -> dict[str, Any]:
    """Return inputs of the built-in denoiser."""
    draw = np.random.default_rng(seed)
    prompt = draw.standard_normal((rows, 32, 128), np.float32)
    prompt.setflags(write=False)
    return {
        "sample": draw.standard_normal((rows, 16, side, side), np.float32),
        "timestep": np.linspace(100, 900, rows, dtype=np.float32),
        "encoder_hidden_states": prompt,
    }


def relative_difference(graph: Any, other: Any, inputs: dict[str, Any]) -> float:
    """Return the largest difference of two graphs' outputs, relative to the largest value."""
    one, two = (np.asarray(g.run(["out_sample"], inputs)[0]) for g in (graph, other))
    return float(np.abs(one - two).max() / np.abs(two).max())


@cache
def on_cpu() -> Graph:
    return OrtGraph(OnnxFile(UNET), "cpu", 4)


def generate(provider: str, options: ProviderOptions = PLAIN) -> np.ndarray:
    with Repository(providers=[provider], options=options) as repository:
        assert repository.wait(timeout=600).spec.provider == provider
        engine = Engine(repository)
        for _ in range(3):  # the second and third use buffers, graphs and engines
            engine.admit(Job(prompt="a red circle", seed=1, steps=6, width=128, height=128))
            while engine.step():
                pass
            builder().submit(lambda: None).result(600)
            found = [to_floats(event.pixels) for _, event in engine.collect() if isinstance(event, Finished)]
        return found[0]


@pytest.mark.parametrize("options", [PLAIN, GRAPHS], ids=["plain", "graphs"])
def test_images_equal_those_of_the_cpu(options: ProviderOptions) -> None:
    """The whole engine gives the CPU's image, with and without CUDA graphs."""
    assert np.abs(generate("cuda", options) - generate("cpu")).mean() <= MEAN


def test_fused_norms_equal_the_exports() -> None:
    """CUDA computes the sample right, and the denoiser with fused norms and the channels last."""
    assert not sample.find_problem()
    assert run_probe("cuda").channels_last
    graph = OrtGraph(OnnxFile(UNET), "cuda", 4)
    assert graph.fused
    assert relative_difference(graph, on_cpu(), unet_inputs(2)) <= RELATIVE
    assert graph.fused, "a call failed and was repeated without"


@pytest.mark.parametrize("options", [PLAIN, GRAPHS], ids=["plain", "graphs"])
def test_a_memory_budget_leaves_results_the_same(options: ProviderOptions) -> None:
    """Each session then has an arena of its own, and all but the denoiser return it after each call."""
    limited = replace(options, arena=2**30)
    assert np.abs(generate("cuda", limited) - generate("cpu")).mean() <= MEAN


def test_device_buffers_equal_a_plain_run() -> None:
    """Buffers stay on the device while shapes, steps and prompts change."""
    graph = OrtGraph(OnnxFile(UNET), "cuda", 4)
    bound = DeviceBuffers(graph._session, "cuda")
    for step in range(3):
        for rows in (1, 2):
            inputs = unet_inputs(rows, step)
            assert relative_difference(bound, graph._session, inputs) <= RELATIVE
            assert relative_difference(bound, on_cpu(), inputs) <= RELATIVE


def test_captured_graphs_equal_a_plain_run(caplog: pytest.LogCaptureFixture) -> None:
    """Each replay uses the latents, the timestep and the prompt of its own call, with two shapes in turn."""
    caplog.set_level(logging.WARNING)
    graph = OrtGraph(OnnxFile(UNET), "cuda", 4, options=GRAPHS, role=GraphRole.DENOISER)
    assert graph.captures, f"onnxruntime refuses to capture: {caplog.text}"
    for step in range(4):
        for rows in (1, 2):
            assert relative_difference(graph, on_cpu(), unet_inputs(rows, step)) <= RELATIVE
    assert graph._buffers is not None
    assert all(bound._is_captured for bound in graph._buffers._latest.values()), caplog.text


def test_a_model_is_loaded_while_graphs_are_captured() -> None:
    """Loading in another thread does not break the captures, nor the captures the load."""
    with Repository(providers=["cuda"], options=GRAPHS) as repository:
        repository.wait(timeout=600)
        graph = OrtGraph(OnnxFile(UNET), "cuda", 4, options=GRAPHS, role=GraphRole.DENOISER)
        repository.unload()
        repository.load()
        for rows in (1, 2, 3, 1, 2, 3):
            assert relative_difference(graph, on_cpu(), unet_inputs(rows)) <= RELATIVE
        assert repository.wait(timeout=600).spec.provider == "cuda"


def test_tensorrt_replaces_cuda(engines: ProviderOptions) -> None:
    """CUDA serves until the engine is built; both give equal results, and other numbers of rows stay on CUDA."""
    graph = TensorRtGraph(OnnxFile(UNET), 4, options=engines)
    for step in range(HOT):
        assert relative_difference(graph, on_cpu(), unet_inputs(2, step)) <= RELATIVE
    (engine,) = graph._engines.values()
    built = engine.result(1100)
    assert built is not None, "no engine could be built: the log says why"
    assert built.provider == "tensorrt"
    for rows in (1, 2, 8):
        assert relative_difference(graph, on_cpu(), unet_inputs(rows)) <= RELATIVE


def test_engines_are_reused(engines: ProviderOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second session of a graph writes no new engine; the timing cache is kept in the same folder."""
    monkeypatch.setattr(tensorrt, "HOT", 1)
    written: list[dict[Path, int]] = []
    for _ in range(2):
        graph = TensorRtGraph(OnnxFile(UNET), 4, options=engines)
        graph.run(["out_sample"], unet_inputs(1))
        (engine,) = graph._engines.values()
        assert engine.result(1100) is not None
        written.append({path: path.stat().st_mtime_ns for path in engines.engines.rglob("*.engine")})
    assert written[0]
    assert written[1] == written[0]
    assert list(engines.engines.glob("*.timing"))


def test_images_of_tensorrt_equal_those_of_the_cpu(engines: ProviderOptions) -> None:
    """The images are equal while engines are built and afterwards."""
    assert np.abs(generate("tensorrt", engines) - generate("cpu")).mean() <= MEAN


def test_a_session_works_after_an_out_of_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without sufficient memory raises OutOfMemory, and the next call succeeds."""
    monkeypatch.setattr(ort, "cuda_options", lambda **_: {"gpu_mem_limit": str(256 * 2**20)})
    session = Session(OnnxFile(UNET), Runtime("cuda", 4))
    with pytest.raises(OutOfMemory):
        session.compute(
            ["out_sample"], unet_inputs(256, side=64)
        )  # 64 MiB of latents, 256 MiB after the first convolution
    (out,) = session.compute(["out_sample"], unet_inputs(1))
    assert np.isfinite(out).all()
