"""Sessions of onnxruntime: shared memory, CUDA graphs, and what replaces a session when a call fails."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest

from tests.support.models.onnx_files import FLOAT, external, graph, model, node, tensor, value
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.pipeline import pipeline
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.residency.malloc import trim
from tintype.service.models.runtime import nvidia, ort
from tintype.service.models.runtime.ort import Opened, OrtGraph
from tintype.service.models.runtime.provider_options import GraphRole, ProviderOptions
from tintype.service.models.runtime.providers import Probe, onnxruntime
from tintype.service.models.runtime.session_options import (
    ACCURACY_LEVEL,
    DISABLE_PREPACKING,
    EngineOptions,
    keep_weights_mapped,
    session_options,
    shrink_arena,
)

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Port

UNET = BUILTIN / "unet/model.onnx"
ENV = "session.use_env_allocators"
SMAPS = Path("/proc/self/smaps_rollup")
SIDE = 4096  # of a layer, 64 MiB


class FakeSession:
    """A session on CUDA without inputs and outputs; `graphs` says whether it was opened with CUDA graphs."""

    def __init__(self, *, graphs: bool) -> None:
        self.graphs = graphs

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_overridable_initializers = get_inputs

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]


class FakeBuffers:
    """Buffers of a fake session. With CUDA graphs a call raises `error`."""

    error: Exception = RuntimeError("CUDA error 901")
    options: list[tuple[bool, bool]] = []  # noqa: RUF012 - reset by the fixture

    def __init__(self, session: FakeSession, device: str, *, graphs: bool, shrinks: bool, **_: object) -> None:
        assert session.graphs == graphs
        assert device == "cuda"
        self._graphs = graphs
        self.options.append((graphs, shrinks))

    def run_on_device(self, *_: object) -> list[Any]:
        if self._graphs:
            raise self.error
        return [Mock(numpy=lambda: "plain")]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> type[FakeBuffers]:
    """Replace sessions on CUDA and their buffers with fakes."""
    monkeypatch.setattr(FakeBuffers, "options", [])
    monkeypatch.setattr(ort, "DeviceBuffers", FakeBuffers)
    monkeypatch.setattr(ort, "_open_session", lambda *_, graphs, **__: Opened(FakeSession(graphs=graphs), graphs))
    return FakeBuffers


def test_a_call_that_fails_with_cuda_graphs_is_repeated_without(
    cuda: type[FakeBuffers], caplog: pytest.LogCaptureFixture
) -> None:
    """The capture may have broken the session, so a new one runs this call and all later ones."""
    graph = OrtGraph(OnnxFile(UNET), "cuda", 1, role=GraphRole.DENOISER)
    captures = [graph.captures]
    with caplog.at_level(logging.WARNING):
        assert [graph.run(["y"], {}) for _ in range(3)] == [["plain"]] * 3
    assert [graphs for graphs, _ in cuda.options] == [True, False]
    assert [*captures, graph.captures] == [True, False]
    assert "is repeated without: CUDA error 901" in caplog.text


def test_a_call_with_fused_norms_that_fails_is_repeated_without(
    cuda: type[FakeBuffers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel may refuse a shape; the graph is opened as it is, and not rewritten again."""
    settings: list[bool] = []

    def open_session(chosen: Any, _engine: object, *, graphs: bool, **_: object) -> Opened:
        settings.append(chosen.rewrites)
        return Opened(FakeSession(graphs=graphs), graphs, chosen.rewrites)

    monkeypatch.setattr(ort, "_open_session", open_session)
    calls = iter([RuntimeError("GroupNorm in CUDA does not support the input"), None, None])

    def run(*_: object) -> list[Any]:
        if error := next(calls):
            raise error
        return ["plain"]

    monkeypatch.setattr(cuda, "run_on_device", run)
    graph = OrtGraph(OnnxFile(UNET), "cuda", 1, role=GraphRole.VAE)
    assert [graph.run_on_device(["y"], {}) for _ in range(2)] == [["plain"]] * 2
    assert settings == [True, False]
    assert "a call with fused norms failed and is repeated without: GroupNorm in CUDA" in caplog.text


class Opening:
    """An onnxruntime whose sessions record their model and options, and fail with the next of `faults`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *faults: str) -> None:
        self.opened: list[tuple[bool, dict[str, str]]] = []  # whether the model is rewritten, and CUDA's options
        self._faults = list(faults)
        monkeypatch.setattr(onnxruntime(), "InferenceSession", self._open)
        monkeypatch.setattr(ort, "_uncaptured", set())
        monkeypatch.setattr(ort, "with_fallbacks", lambda _: ["CUDAExecutionProvider"])
        monkeypatch.setattr(ort, "run_probe", lambda _: Probe("", channels_last=True))
        monkeypatch.setattr(ort, "load_libraries", lambda _: None)
        monkeypatch.setattr(nvidia, "share_arena", lambda: None)
        monkeypatch.setattr(ort, "DeviceBuffers", Mock())

    def _open(self, content: Path | bytes, _options: object, providers: list[Any], **_: object) -> FakeSession:
        self.opened.append((isinstance(content, bytes), providers[0][1]))
        if self._faults and (fault := self._faults.pop(0)):
            raise RuntimeError(fault)
        return FakeSession(graphs="enable_cuda_graph" in providers[0][1])


def test_a_refused_capture_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is loaded again after an eviction is then loaded once."""
    opening = Opening(monkeypatch, "This session cannot use the graph capture feature as requested by the user")
    for _ in range(2):
        graph = OrtGraph(OnnxFile(UNET), "cuda", 1, role=GraphRole.DENOISER)
        assert (graph.captures, graph.fused) == (False, True)
    assert ["enable_cuda_graph" in options for _, options in opening.opened] == [True, False, False]
    assert all(rewritten and options["prefer_nhwc"] == "1" for rewritten, options in opening.opened)


def test_a_graph_is_opened_as_it_is_if_cuda_refuses_the_rewritten_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls are captured all the same."""
    opening = Opening(monkeypatch, "no kernel for GroupNorm")
    graph = OrtGraph(OnnxFile(UNET), "cuda", 1, role=GraphRole.DENOISER)
    assert (graph.captures, graph.fused) == (True, False)
    assert [(rewritten, "prefer_nhwc" in options) for rewritten, options in opening.opened] == [
        (True, True),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("provider", "probe", "rewriting"),
    [
        ("cuda", Probe("", channels_last=True), "cuda"),
        ("cuda", Probe(""), ""),
        ("tensorrt", Probe(""), "tensorrt"),
        ("webgpu", Probe("", wrong=("MultiHeadAttention",)), "tensorrt"),
        ("webgpu", Probe("", wrong=("MultiHeadAttention",), software=True), ""),
        ("webgpu", Probe(""), ""),
    ],
)
def test_what_the_probe_found_decides_how_graphs_are_rewritten(
    monkeypatch: pytest.MonkeyPatch, provider: str, probe: Probe, rewriting: str
) -> None:
    """A plugin's wrong attention becomes standard operators on a GPU; in software the CPU provider computes it."""
    monkeypatch.setattr(ort, "run_probe", lambda _: probe)
    monkeypatch.setattr(ort, "installed", lambda: ("webgpu",))
    settings = ort._GraphSettings(OnnxFile(UNET), provider, 1, ProviderOptions())
    assert ort._rewriting(settings) == rewriting
    assert ort._rewriting(settings._replace(rewrites=False)) == ""


def test_a_limited_session_has_an_arena_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit includes the weights, which onnxruntime reserves there."""
    opening, source = Opening(monkeypatch), OnnxFile(UNET)
    OrtGraph(source, "cuda", 1, options=ProviderOptions(arena=2**20), role=GraphRole.VAE)
    ((_, options),) = opening.opened
    assert 2**20 + source.weights_bytes < int(options["gpu_mem_limit"]) < 2**20 + 1.1 * source.weights_bytes


def reserving(limit: int) -> bytes:
    """Return what a process prints that computes in an arena of `limit` MiB beside 16 MiB of reserved weights."""
    program = f"""
import numpy, onnxruntime as ort
from tests.support.models.onnx_files import FLOAT, graph, model, node, tensor, value
arena = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
config = ort.OrtArenaCfg({{"arena_extend_strategy": 1, "max_mem": {limit} * 2**20}})
ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", arena, 0, ort.OrtMemType.DEFAULT), config)
options = ort.SessionOptions()
options.log_severity_level, options.enable_mem_pattern = 4, False
options.add_session_config_entry("session.use_env_allocators", "1")
weight = tensor("w", FLOAT, (2048, 2048), numpy.ones((2048, 2048), numpy.float32).tobytes())
layer = node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])
ends = value("x", FLOAT, ["n", 2048]), value("y", FLOAT, ["n", 2048])
content = model(graph("g", layer, ends[:1], ends[1:], [weight]))
session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
try:
    session.run(None, {{"x": numpy.ones((1536, 2048), numpy.float32)}})
    print("fits")
except Exception as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=120).stdout


@pytest.mark.slow
def test_onnxruntime_counts_weights_against_the_limit_of_an_arena() -> None:
    """12 MiB of results fit beside them, or not; and a limit that the weights exceed is not checked at all."""
    assert reserving(64).strip() == b"fits"
    assert b"is smaller than requested bytes" in reserving(20)
    assert reserving(12).strip() == b"fits"


def test_a_session_that_ran_out_of_memory_is_opened_by_a_later_call(
    cuda: type[FakeBuffers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session with CUDA graphs is closed by then; the engine frees memory and calls again."""
    graph = OrtGraph(OnnxFile(UNET), "cuda", 1, role=GraphRole.DENOISER)
    with monkeypatch.context() as context:
        context.setattr(ort, "_open_session", Mock(side_effect=RuntimeError("CUDA failure 2: out of memory")))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="out of memory"):
                graph.run(["y"], {})
    assert graph.run(["y"], {}) == ["plain"]
    assert [graphs for graphs, _ in cuda.options] == [True, False]


def test_out_of_memory_keeps_the_session(cuda: type[FakeBuffers], monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that is too large does not invalidate the captured graphs of other sizes."""
    monkeypatch.setattr(cuda, "error", RuntimeError("CUDA failure 2: out of memory"))
    graph = OrtGraph(OnnxFile(UNET), "cuda", 1, role=GraphRole.DENOISER)
    with pytest.raises(RuntimeError, match="out of memory"):
        graph.run(["y"], {})
    assert graph.captures
    assert len(cuda.options) == 1


def test_only_denoisers_are_captured_and_only_vaes_shrink(cuda: type[FakeBuffers]) -> None:
    """Text encoders and VAEs share memory on the device, and the VAE, which needs most, returns it."""
    for role in GraphRole:
        OrtGraph(OnnxFile(UNET), "cuda", 1, role=role)
    assert dict(zip(GraphRole, cuda.options, strict=True)) == {
        GraphRole.DENOISER: (True, False),
        GraphRole.VAE: (False, True),
        GraphRole.TEXT_ENCODER: (False, False),
    }


def test_each_graph_of_a_model_has_its_role() -> None:
    """The family names the folders of the denoiser and the VAE; all others are text encoders."""
    manifest = read_manifest(BUILTIN)
    roles = {name: pipeline._role(manifest, manifest.graphs[name]) for name in manifest.components}
    assert roles == {"text_encoder": GraphRole.TEXT_ENCODER, "unet": GraphRole.DENOISER, "vae_decoder": GraphRole.VAE}


def test_a_session_that_captures_shares_no_memory() -> None:
    """A replay must not write to memory of another session; sessions without captures share an arena."""
    assert session_options(1).get_session_config_entry(ENV) == "1"
    assert session_options(1, shared=False).get_session_config_entry(ENV) == "0"


def test_exact_sessions_multiply_int8_weights_in_float32() -> None:
    """By default the other factor is rounded to int8 as well."""
    assert session_options(1).get_session_config_entry(ACCURACY_LEVEL) == "4"
    assert session_options(1, exact=True).get_session_config_entry(ACCURACY_LEVEL) == "1"


@pytest.mark.skipif(not SMAPS.exists(), reason="only Linux counts anonymous memory")
@pytest.mark.parametrize("mapped", [False, True])
def test_mapped_sessions_copy_no_weights(tmp_path: Path, *, mapped: bool) -> None:
    """A layer of 64 MiB in external data takes no memory of its own, and has the same result."""
    weight = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    (tmp_path / "data").write_bytes(weight.tobytes())
    path = _write_layer(tmp_path, "MatMul", external("w", (SIDE, SIDE), "data", size=weight.nbytes))
    OrtGraph(OnnxFile(UNET), "cpu", 1)  # loads onnxruntime, and creates its arena
    before = _anonymous_bytes()
    layer = OrtGraph(OnnxFile(path), "cpu", 1, options=ProviderOptions(mapped=mapped))
    x = np.ones((1, SIDE), np.float32)
    assert np.allclose(layer.run(["y"], {"x": x})[0], x @ weight, atol=1e-2)
    taken = _anonymous_bytes() - before
    assert taken < 0.3 * weight.nbytes if mapped else taken > 0.7 * weight.nbytes


@pytest.mark.skipif(not SMAPS.exists(), reason="only Linux counts anonymous memory")
def test_a_shrunk_arena_returns_the_memory_of_large_calls() -> None:
    """The next call takes it again, and has the same result."""
    decoder = OrtGraph(OnnxFile(BUILTIN / "vae_decoder/model.onnx"), "cpu", 1)
    feeds = {decoder.inputs[0].name: np.random.default_rng(0).standard_normal((6, 16, 16, 16), np.float32)}
    before = decoder.run(["sample"], feeds)[0]
    taken = _anonymous_bytes()
    shrink_arena()
    trim()
    assert taken - _anonymous_bytes() > 2 * before.nbytes
    assert np.array_equal(decoder.run(["sample"], feeds)[0], before)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize(
    ("operator", "prepacks"), [("MatMul", False), ("MatMulNBits", True), ("DequantizeLinear", True)]
)
def test_quantized_weights_are_prepacked_even_if_mapped(
    tmp_path: Path, operator: str, *, prepacks: bool, as_bytes: bool
) -> None:
    """Without prepacking MatMulNBits converts all weights in each call."""
    path = _write_layer(tmp_path, operator, tensor("w", FLOAT, (1,), bytes(4)))
    options = session_options(1)
    keep_weights_mapped(options, path.read_bytes() if as_bytes else path)
    assert options.graph_optimization_level == onnxruntime().GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    assert options.get_session_config_entry(DISABLE_PREPACKING) == ("0" if prepacks else "1")


def test_a_session_with_fixed_axes_takes_only_their_lengths(tmp_path: Path) -> None:
    """It has the results of a session with free axes, and rejects other shapes."""
    plain = OrtGraph(OnnxFile(UNET), "cpu", 1)
    feeds = {port.name: np.ones(_shape(port, rows=2), np.float32) for port in plain.inputs}
    axes = {
        name: length for port in plain.inputs for name, length in zip(port.shape, feeds[port.name].shape, strict=True)
    }
    names = {name: length for name, length in axes.items() if isinstance(name, str)}
    fixed = OrtGraph(
        OnnxFile(UNET), "cpu", 1, options=ProviderOptions(engines=tmp_path), engine=EngineOptions({}, names)
    )
    assert np.allclose(fixed.run(["out_sample"], feeds)[0], plain.run(["out_sample"], feeds)[0], atol=1e-4)
    assert all(isinstance(axis, int) for port in fixed.inputs for axis in port.shape)
    with pytest.raises(Exception, match="invalid dimensions"):
        fixed.run(["out_sample"], {port.name: np.ones(_shape(port, rows=1), np.float32) for port in plain.inputs})


def _shape(port: Port, rows: int) -> tuple[int, ...]:
    """Return a shape with `rows` rows, and 8 for every other free axis."""
    return tuple(axis if isinstance(axis, int) else 8 if i else rows for i, axis in enumerate(port.shape))


def _write_layer(folder: Path, operator: str, weight: bytes) -> Path:
    """Write a graph of one operator, which reads `x` [n, SIDE] and the initializer `w`."""
    ports = [value(name, FLOAT, ("n", SIDE)) for name in "xy"]
    path = folder / "model.onnx"
    path.write_bytes(model(graph("layer", [node(operator, "xw", "y")], ports[:1], ports[1:], [weight])))
    return path


def _anonymous_bytes() -> int:
    lines = dict(line.split(":", 1) for line in SMAPS.read_text().splitlines() if ":" in line)
    return int(lines["Anonymous"].split()[0]) * 1024
