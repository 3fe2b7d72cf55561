"""Captured calls on a plugin have the CPU's results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.unet_calls import OUT, UNET, largest_difference, prompt_embeds, unet_feeds
from tintype.service.models.runtime import device_buffers
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.plugins import captured
from tintype.service.models.runtime.plugins.captured import CapturedGraph
from tintype.service.models.runtime.provider_options import GraphRole, ProviderOptions, capture_options, fixed_axes
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session_options import EngineOptions

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


def test_prompts_alternate_in_captured_calls(
    provider: str, cpu: Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guidance as two calls: each prompt is sent once, and copied within the device into the input of the capture."""
    monkeypatch.setattr(captured, "HOT", 2)
    graph, prompts = open_graph(provider), [prompt_embeds(1, seed) for seed in (1, 2)]
    for _ in range(4):  # loads it again with fixed axes, captures it, and checks the first replay
        graph.run(OUT, unet_feeds() | {"encoder_hidden_states": prompts[0]})
    sent: list[int] = []
    value = device_buffers._value

    def record(array: Any, device: str) -> Any:
        sent.append(array.ndim)
        return value(array, device)

    monkeypatch.setattr(device_buffers, "_value", record)
    for step in range(3):
        for embeds in prompts:
            feeds = unet_feeds(seed=step) | {"encoder_hidden_states": embeds}
            assert largest_difference(graph, cpu, feeds) <= RELATIVE
    assert isinstance(graph._graph, OrtGraph)
    assert graph._graph.captures, caplog.text
    assert sent == [3, 3]


def test_a_captured_graph_is_released_and_captured_again(provider: str, cpu: Graph) -> None:
    """After an error the buffers of a capture are dropped, with its graph; the next calls capture another one."""
    axes = fixed_axes(OrtGraph(UNET, "cpu", 1).inputs, {name: array.shape for name, array in unet_feeds().items()})
    graph = OrtGraph(UNET, provider, 1, options=FIXED, role=GraphRole.DENOISER, engine=EngineOptions({}, axes))
    assert graph.captures
    assert graph._buffers is not None
    for number in (1, 2):
        for seed in range(4):
            assert largest_difference(graph, cpu, unet_feeds(seed=seed)) <= RELATIVE
        (shape,) = graph._buffers._latest
        buffers = graph._buffers._latest[shape]
        assert (buffers.number, buffers.replays, buffers._is_captured) == (number, True, True)
        graph._buffers._drop(shape)


def test_a_graph_with_free_axes_is_not_captured(provider: str) -> None:
    """Onnxruntime computes its shapes on the CPU, and refuses to capture it."""
    graph = OrtGraph(UNET, provider, 1, options=FIXED, role=GraphRole.DENOISER)
    assert not graph.captures
    graph.run(OUT, unet_feeds())
