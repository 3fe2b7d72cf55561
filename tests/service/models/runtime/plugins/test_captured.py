"""A denoiser on a plugin is loaded for one frequent shape, and for all shapes again; graphs are fakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.unet_calls import OUT, UNET, unet_feeds
from tintype.service.models.runtime import runtime
from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.plugins import captured, table
from tintype.service.models.runtime.plugins.captured import CapturedGraph
from tintype.service.models.runtime.provider_options import GraphRole, ProviderOptions, capture_options
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session_options import EngineOptions
from tintype.service.models.runtime.stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tintype.service.models.runtime.graph import Values

INPUTS = (
    Port("sample", "tensor(float)", ("batch", 16, "height", "width")),
    Port("timestep", "tensor(float)", ("batch",)),
    Port("encoder_hidden_states", "tensor(float)", ("batch", 32, 128)),
)
FIXED = ProviderOptions(fixed_shapes=True)


@dataclass
class FakeGraph:
    """A graph that records its axes, and refuses to be loaded if `lacking`."""

    axes: Mapping[str, int] = field(default_factory=dict)
    provider: str = "webgpu"
    device: str = "webgpu"
    inputs: tuple[Port, ...] = INPUTS
    optional: tuple[Port, ...] = ()
    outputs: tuple[str, ...] = ("out_sample",)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        assert outputs == OUT
        return [feeds["sample"] * 2]


class Loader:
    """Loads fake graphs in place of OrtGraph; `full` is whether memory is short."""

    def __init__(self) -> None:
        self.loaded: list[Mapping[str, int]] = []
        self.full = False

    def __call__(self, *_: Any, engine: EngineOptions = EngineOptions({}, {}), **__: Any) -> FakeGraph:  # noqa: B008
        if self.full:
            raise MemoryError
        self.loaded.append(dict(engine.axes))
        return FakeGraph(engine.axes)


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    found = Loader()
    monkeypatch.setattr(captured, "OrtGraph", found)
    monkeypatch.setattr(captured, "HOT", 2)
    return found


def open_graph() -> CapturedGraph:
    return CapturedGraph(UNET, "webgpu", 1, options=FIXED, stop_flag=StopFlag())


def call(graph: CapturedGraph, rows: int) -> None:
    feeds = unet_feeds(rows)
    assert np.array_equal(graph.run(OUT, feeds)[0], feeds["sample"] * 2)


def test_a_frequent_shape_fixes_the_axes(loader: Loader) -> None:
    """After two calls of a shape in a row; shapes in turn stay on free axes."""
    graph = open_graph()
    for rows in (1, 2, 1, 2, 2):
        call(graph, rows)
    assert loader.loaded == [{}]
    call(graph, 2)
    call(graph, 2)
    assert loader.loaded == [{}, {"batch": 2, "height": 4, "width": 4}]


def test_another_shape_frees_the_axes(loader: Loader) -> None:
    """Then twice as many calls are required."""
    graph = open_graph()
    for rows in (1, 1, 1, 2, 2, 2, 2):
        call(graph, rows)
    assert loader.loaded == [{}, {"batch": 1, "height": 4, "width": 4}, {}]
    call(graph, 2)
    assert loader.loaded[3:] == [{"batch": 2, "height": 4, "width": 4}]


def test_a_graph_that_did_not_fit_is_loaded_by_the_next_call(loader: Loader) -> None:
    """The first session is freed before the second is loaded, which may fail."""
    graph = open_graph()
    call(graph, 1)
    call(graph, 1)
    loader.full = True
    with pytest.raises(MemoryError):
        call(graph, 1)
    loader.full = False
    call(graph, 2)
    assert loader.loaded == [{}, {}]


def test_only_denoisers_of_plugins_are_captured(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only with the option; a plugin without the option for captures runs plain sessions."""
    plain: list[str] = []
    monkeypatch.setattr(runtime, "OrtGraph", lambda _, provider, *__, **___: plain.append(provider))
    plugins = {name: table.PLUGINS[name] for name in ("webgpu", "tensorrt-rtx")}
    monkeypatch.setattr(runtime, "installed", lambda: plugins)
    monkeypatch.setattr(runtime, "is_standalone", lambda _: False)
    denoiser = Runtime("webgpu", 1, options=FIXED).for_role(GraphRole.DENOISER)
    assert isinstance(denoiser.open(UNET), CapturedGraph)
    assert len(loader.loaded) == 1
    for other in (
        denoiser.for_role(GraphRole.VAE),
        Runtime("webgpu", 1).for_role(GraphRole.DENOISER),
        Runtime("tensorrt-rtx", 1, options=FIXED).for_role(GraphRole.DENOISER),
    ):
        other.open(UNET)
    assert plain == ["webgpu", "webgpu", "tensorrt-rtx"]
    assert capture_options("webgpu") == {"enableGraphCapture": "1"}
    assert capture_options("tensorrt-rtx") == capture_options("cpu") == {}
    assert FIXED.public("webgpu") == {"fixed_shapes": "on"}
    assert FIXED.public("cuda") == {"cuda_graphs": "on"}


def test_a_session_on_a_plugin_gets_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its options, not by its name; here the added device is none, so that onnxruntime stays on the CPU."""
    added: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr("tintype.service.models.runtime.ort.installed", lambda: {"webgpu": table.PLUGINS["webgpu"]})
    library = "tintype.service.models.runtime.ort.library"
    monkeypatch.setattr(f"{library}.add_device", lambda _, name, entries: added.append((name, entries)))
    monkeypatch.setattr(f"{library}.long_name", lambda _: "WebGpuExecutionProvider")
    monkeypatch.setattr("tintype.service.models.runtime.ort.DEVICES", {})
    graph = OrtGraph(UNET, "webgpu", 1, options=FIXED, role=GraphRole.DENOISER)
    assert graph.provider == "cpu", "the name says where the session is"
    OrtGraph(UNET, "webgpu", 1, options=FIXED, role=GraphRole.DENOISER, engine=EngineOptions({}, {"batch_size": 1}))
    assert added == [("webgpu", {}), ("webgpu", {"enableGraphCapture": "1"})]
    monkeypatch.setattr(f"{library}.long_name", lambda _: "CPUExecutionProvider")
    assert OrtGraph(UNET, "webgpu", 1).provider == "webgpu"
