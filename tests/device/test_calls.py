"""Calls whose inputs and outputs stay on the device have the CPU's results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.unet_calls import OUT, UNET, largest_difference, prompt_embeds, unet_feeds
from tintype.service.errors import OutOfMemory
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.graph_writer import field
from tintype.service.models.runtime import device_buffers, ort, probe, providers
from tintype.service.models.runtime.device_buffers import SHAPES, DeviceBuffers
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.plugins import vulkan
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session import Session

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Graph

pytestmark = pytest.mark.slow

RELATIVE = 1e-4  # float32 on both sides; WebGPU on llvmpipe showed 2e-6


@pytest.fixture(scope="module")
def graph(provider: str) -> OrtGraph:
    return OrtGraph(UNET, provider, 1)


@pytest.fixture(scope="module")
def cpu() -> Graph:
    return OrtGraph(UNET, "cpu", 1)


def test_the_session_is_on_the_device(graph: OrtGraph, provider: str) -> None:
    """Onnxruntime drops a plugin's name from `providers`; the session must not be on the CPU."""
    assert graph.provider == provider
    assert graph._session.get_providers()[0] != "CPUExecutionProvider"
    assert graph._buffers is not None


def test_results_equal_those_of_the_cpu(graph: OrtGraph, cpu: Graph) -> None:
    """Over shapes, steps and prompts in turn; a prompt's embeddings are one read-only array for all of its steps."""
    prompts = {(rows, seed): prompt_embeds(rows, seed) for rows in (1, 2) for seed in (1, 2)}
    for step in range(3):
        for (rows, seed), embeds in prompts.items():
            feeds = unet_feeds(rows, 10 * step + seed) | {"encoder_hidden_states": embeds}
            feeds["timestep"] = np.full(rows, 900 - 300 * step, np.float32)
            assert largest_difference(graph, cpu, feeds) <= RELATIVE
    assert largest_difference(graph, cpu, unet_feeds(side=8)) <= RELATIVE


def test_earlier_results_stay(graph: OrtGraph) -> None:
    """Later calls of the same shape do not write into results that were returned."""
    found = [graph.run(OUT, unet_feeds(seed=seed))[0] for seed in (1, 2)]
    kept = [result.copy() for result in found]
    graph.run(OUT, unet_feeds(seed=3))
    assert all(np.array_equal(one, other) for one, other in zip(found, kept, strict=True))
    assert not np.array_equal(found[0], found[1])


def test_embeddings_are_sent_once(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt's embeddings are sent for its first step only, and latents and timestep reuse their buffers."""
    sent: list[Any] = []
    value = device_buffers._value

    def record(array: Any, device: str) -> Any:
        sent.append(array)
        return value(array, device)

    monkeypatch.setattr(device_buffers, "_value", record)
    assert graph._buffers is not None
    buffers, feeds = DeviceBuffers(graph._session, graph._buffers._device), unet_feeds()
    for _ in range(3):
        buffers.run(OUT, feeds)
    assert [array.ndim for array in sent] == [4, 1, 3]


def test_attention_of_standard_operators_equals_that_of_the_cpu(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that computes onnxruntime's attention wrongly computes it right of other operators, without the CPU."""
    path = tmp_path / "model.onnx"
    path.write_bytes(probe.attention_graph().replace(field(8, field(2, 13)), field(8, field(2, 18))))
    wrong = providers.run_probe(provider)._replace(wrong=(probe.ATTENTION,), software=False)
    monkeypatch.setattr(ort, "run_probe", lambda _: wrong)
    monkeypatch.setattr(ort, "cpu_nodes", lambda _, model: pytest.fail("stays") if isinstance(model, Path) else {})
    (result,) = OrtGraph(OnnxFile(path), provider, 1).run(["mixed"], probe.arrays(probe.ATTENTION_SHAPES))
    assert np.abs(np.asarray(result, np.float64) - probe.expected_attention()).max() <= RELATIVE


def test_a_stopped_call_ends_between_two_nodes(graph: OrtGraph, cpu: Graph) -> None:
    """Calls with bound buffers carry the model's stop flag, and are right again after `resume`."""
    assert graph._buffers is not None
    graph._stop_flag.stop()
    try:
        with pytest.raises(Exception, match="terminate"):
            graph._buffers.run(OUT, unet_feeds())
    finally:
        graph._stop_flag.resume()
    assert largest_difference(graph, cpu, unet_feeds(seed=3)) <= RELATIVE


def test_a_failed_call_leaves_the_graph_usable(graph: OrtGraph, cpu: Graph) -> None:
    """Wrong inputs fail; the next call has the CPU's results."""
    with pytest.raises(Exception, match="encoder_hidden_states"):
        graph.run(OUT, unet_feeds() | {"encoder_hidden_states": np.zeros((1, 32, 5), np.float32)})
    assert largest_difference(graph, cpu, unet_feeds()) <= RELATIVE


def test_attention_equals_numpys(provider: str, tmp_path: Path) -> None:
    """Where a plugin's own kernel is wrong, as WebGPU's is on llvmpipe, the node runs on the CPU."""
    (tmp_path / "model.onnx").write_bytes(probe.attention_graph())
    graph = OrtGraph(OnnxFile(tmp_path / "model.onnx"), provider, 1)
    assert graph.provider == provider
    (found,) = graph.run(["mixed"], probe.arrays(probe.ATTENTION_SHAPES))
    expected = probe.expected_attention()
    assert np.abs(np.asarray(found, np.float64) - expected).max() <= RELATIVE * np.abs(expected).max()


@pytest.mark.skipif(vulkan.memory() is None, reason="Vulkan does not tell what is free")
def test_a_device_without_spare_memory_is_not_trusted(
    provider: str, cpu: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WebGPU's plugin computes on after an allocation failed; so such a call raises OutOfMemory, and the next is right.

    The device tells how much it has; here it tells that most is taken.
    """
    if provider != "webgpu":
        pytest.skip(f"provider {provider} reports that memory is short")
    session, feeds = Session(UNET, Runtime(provider, 1)), unet_feeds()
    told = vulkan.memory()
    assert told
    assert 0 < told.free <= told.total
    monkeypatch.setattr(vulkan, "memory", lambda: told._replace(free=2**27))
    with pytest.raises(OutOfMemory):
        session.compute(OUT, feeds)
    monkeypatch.setattr(vulkan, "memory", lambda: told._replace(free=2**20))
    with pytest.raises(OutOfMemory, match="does not fit into memory"):
        Session(UNET, Runtime(provider, 1))
    monkeypatch.undo()
    (found,), (expected,) = session.compute(OUT, feeds), cpu.run(OUT, feeds)
    assert np.abs(found - np.asarray(expected, np.float32)).max() <= RELATIVE * np.abs(found).max()


def test_a_session_works_after_a_call_that_is_too_large(provider: str, cpu: Graph) -> None:
    """A tensor larger than the adapter binds raises OutOfMemory, so that a VAE uses tiles; the next call succeeds."""
    session = Session(UNET, Runtime(provider, 1))
    with pytest.raises(OutOfMemory):
        session.compute(OUT, unet_feeds(side=1536))  # 1.2 GB after the first convolution
    feeds = unet_feeds()
    (found,), (expected,) = session.compute(OUT, feeds), cpu.run(OUT, feeds)
    assert np.abs(found - np.asarray(expected, np.float32)).max() <= RELATIVE * np.abs(found).max()


def test_the_number_of_kept_shapes_is_bounded(graph: OrtGraph, cpu: Graph) -> None:
    """Shapes beyond the kept ones release their buffers, and come back with right results."""
    for rows in (1, 2, 3, 4, 5, 1):
        assert largest_difference(graph, cpu, unet_feeds(rows)) <= RELATIVE
    assert graph._buffers is not None
    assert len(graph._buffers._latest) == SHAPES
