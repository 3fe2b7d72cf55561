"""Captured calls on a plugin have the CPU's results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.models.unet_calls import OUT, UNET, largest_difference, unet_feeds
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.plugins import captured
from tintype.service.models.runtime.plugins.captured import CapturedGraph
from tintype.service.models.runtime.provider_options import GraphRole, ProviderOptions, capture_options
from tintype.service.models.runtime.runtime import Runtime

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Graph

pytestmark = pytest.mark.slow

RELATIVE = 1e-4
FIXED = ProviderOptions(fixed_shapes=True)


@pytest.fixture(scope="module")
def cpu() -> Graph:
    return OrtGraph(UNET, "cpu", 1)


@pytest.fixture(autouse=True)
def _captures(provider: str) -> None:
    if not capture_options(provider):
        pytest.skip(f"provider {provider} captures nothing")


def open_graph(provider: str) -> CapturedGraph:
    graph = Runtime(provider, 1, options=FIXED).for_role(GraphRole.DENOISER).open(UNET)
    assert isinstance(graph, CapturedGraph)
    return graph


def test_a_frequent_shape_is_captured(
    provider: str, cpu: Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each replay uses the latents, the timestep and the prompt of its own call; another shape ends the capture."""
    monkeypatch.setattr(captured, "HOT", 2)
    graph = open_graph(provider)
    for seed in range(7):
        assert largest_difference(graph, cpu, unet_feeds(seed=seed)) <= RELATIVE
    session = graph._graph
    assert isinstance(session, OrtGraph)
    assert session.captures, caplog.text
    assert session._buffers is not None
    (buffers,) = session._buffers._latest.values()
    assert buffers._is_captured
    assert buffers._is_checked
    assert buffers.replays, f"the first replay differed: {caplog.text}"
    assert largest_difference(graph, cpu, unet_feeds(2)) <= RELATIVE
    assert isinstance(graph._graph, OrtGraph)
    assert not graph._graph.captures
    assert graph._hot == 4


def test_a_graph_with_free_axes_is_not_captured(provider: str) -> None:
    """Onnxruntime computes its shapes on the CPU, and refuses to capture it."""
    graph = OrtGraph(UNET, provider, 1, options=FIXED, role=GraphRole.DENOISER)
    assert not graph.captures
    graph.run(OUT, unet_feeds())
