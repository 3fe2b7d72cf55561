"""Sessions of onnxruntime: what they share, and what takes their place when a call fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest

from tintype.service.models.folder.manifest import read
from tintype.service.models.pipeline import pipeline
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import ort
from tintype.service.models.runtime.ort import OrtGraph, session_options, share_device_arena
from tintype.service.models.runtime.provider_options import GraphRole, ProviderOptions
from tintype.service.models.runtime.providers import onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.runtime.graph import Port

UNET = BUILTIN / "unet/model.onnx"
ENV = "session.use_env_allocators"


class Session:
    """A session that answers whether it was made with CUDA graphs, or fails."""

    def __init__(self, *, graphs: bool) -> None:
        self.graphs = graphs

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_overridable_initializers = get_inputs

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]


class Bound:
    """Buffers of such a session. With graphs a call raises `error`."""

    error: Exception = RuntimeError("CUDA error 901")
    made: list[tuple[bool, bool]] = []  # noqa: RUF012 - reset by the fixture

    def __init__(self, session: Session, device: str, *, graphs: bool, shrinks: bool) -> None:
        assert session.graphs == graphs
        assert device == "cuda"
        self._graphs = graphs
        self.made.append((graphs, shrinks))

    def run(self, *_: object) -> list[Any]:
        if self._graphs:
            raise self.error
        return ["plain"]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> type[Bound]:
    """Have sessions on CUDA made without CUDA."""
    monkeypatch.setattr(Bound, "made", [])
    monkeypatch.setattr(ort, "DeviceBuffers", Bound)
    monkeypatch.setattr(ort, "_open_session", lambda *_, graphs, **__: (Session(graphs=graphs), graphs))
    return Bound


def test_a_call_that_fails_with_graphs_is_made_without(cuda: type[Bound], caplog: pytest.LogCaptureFixture) -> None:
    """The session may be broken by the capture: another one answers this call and all later ones."""
    graph = OrtGraph(UNET, "cuda", 1, role=GraphRole.DENOISER)
    capturing = [graph.captures]
    with caplog.at_level(logging.WARNING):
        assert [graph.run(["y"], {}) for _ in range(3)] == [["plain"]] * 3
    assert [graphs for graphs, _ in cuda.made] == [True, False]
    assert [*capturing, graph.captures] == [True, False]
    assert "is repeated without: CUDA error 901" in caplog.text


def test_a_session_that_found_no_memory_is_opened_by_a_later_call(
    cuda: type[Bound], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The captured session is gone by then; the engine makes room and calls again."""
    graph = OrtGraph(UNET, "cuda", 1, role=GraphRole.DENOISER)
    with monkeypatch.context() as short:
        short.setattr(ort, "_open_session", Mock(side_effect=RuntimeError("CUDA failure 2: out of memory")))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="out of memory"):
                graph.run(["y"], {})
    assert graph.run(["y"], {}) == ["plain"]
    assert [graphs for graphs, _ in cuda.made] == [True, False]


def test_a_lack_of_memory_keeps_the_session(cuda: type[Bound], monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that is too large says nothing of the graphs of others; the engine makes room."""
    monkeypatch.setattr(cuda, "error", RuntimeError("CUDA failure 2: out of memory"))
    graph = OrtGraph(UNET, "cuda", 1, role=GraphRole.DENOISER)
    with pytest.raises(RuntimeError, match="out of memory"):
        graph.run(["y"], {})
    assert graph.captures
    assert len(cuda.made) == 1


def test_only_denoisers_are_captured_and_only_vaes_shrink(cuda: type[Bound]) -> None:
    """Text encoders and VAEs share memory on the device, and the largest of them gives it back."""
    for role in GraphRole:
        OrtGraph(UNET, "cuda", 1, role=role)
    assert dict(zip(GraphRole, cuda.made, strict=True)) == {
        GraphRole.DENOISER: (True, False),
        GraphRole.VAE: (False, True),
        GraphRole.TEXT_ENCODER: (False, False),
    }


def test_each_graph_of_a_model_is_opened_for_its_use() -> None:
    """The denoiser's and the VAE's folders are the family's; all others are text encoders."""
    manifest = read(BUILTIN)
    found = {part: pipeline._role(manifest, manifest.graph(part)) for part in manifest.components}
    assert found == {"text_encoder": GraphRole.TEXT_ENCODER, "unet": GraphRole.DENOISER, "vae_decoder": GraphRole.VAE}


def test_a_session_that_captures_shares_no_memory() -> None:
    """What a replay writes to must not be another session's; all others share an arena."""
    assert session_options(1).get_session_config_entry(ENV) == "1"
    assert session_options(1, shared=False).get_session_config_entry(ENV) == "0"


@pytest.mark.parametrize(("limit", "name"), [(0, "any"), (2**30, "1 GiB")])
def test_the_arena_on_the_device_is_asked_for_once(monkeypatch: pytest.MonkeyPatch, limit: int, name: str) -> None:
    """It grows by what is asked for, so that it can shrink, up to the limit that is set."""
    asked: list[Any] = []
    runtime = onnxruntime()
    monkeypatch.setattr(runtime, "create_and_register_allocator_v2", lambda *given: asked.append(given))
    share_device_arena.cache_clear()
    for _ in range(2):
        share_device_arena(limit)
    share_device_arena.cache_clear()
    ((provider, place, told, bounds),) = asked
    assert (provider, place.name, told) == ("CUDAExecutionProvider", "Cuda", {})
    assert (bounds.max_mem, bounds.arena_extend_strategy) == (limit, 1), name


def test_onnxruntime_knows_this_call(caplog: pytest.LogCaptureFixture) -> None:
    """Without CUDA it says that CUDA is not there, and not that it was called wrongly; sessions do without."""
    share_device_arena.cache_clear()
    with caplog.at_level(logging.WARNING):
        share_device_arena(0)
    share_device_arena.cache_clear()
    assert "sessions share no memory on the GPU" in caplog.text or not caplog.text
    assert "incompatible" not in caplog.text


def test_axes_that_are_fixed_are_known_throughout(tmp_path: Path) -> None:
    """A session with fixed axes answers as one without, and refuses other shapes."""
    plain = OrtGraph(UNET, "cpu", 1)
    fed = {port.name: np.ones(_shape(port, rows=2), np.float32) for port in plain.inputs}
    axes = {
        name: length for port in plain.inputs for name, length in zip(port.shape, fed[port.name].shape, strict=True)
    }
    names = {name: length for name, length in axes.items() if isinstance(name, str)}
    fixed = OrtGraph(UNET, "cpu", 1, options=ProviderOptions(engines=tmp_path), engine=ort.EngineOptions({}, names))
    assert np.allclose(fixed.run(["out_sample"], fed)[0], plain.run(["out_sample"], fed)[0], atol=1e-4)
    assert all(isinstance(axis, int) for port in fixed.inputs for axis in port.shape)
    with pytest.raises(Exception, match="invalid dimensions"):
        fixed.run(["out_sample"], {port.name: np.ones(_shape(port, rows=1), np.float32) for port in plain.inputs})


def _shape(port: Port, rows: int) -> tuple[int, ...]:
    """Return a shape with `rows` rows, and 8 for every other free axis."""
    return tuple(axis if isinstance(axis, int) else 8 if place else rows for place, axis in enumerate(port.shape))
