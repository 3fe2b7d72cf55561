"""Engines are built in the background for shapes that come often, and CUDA serves until they are there, and after."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import numpy as np
import pytest

from tintype.service.models.runtime import tensorrt
from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.ort import NO_ENGINE, EngineOptions
from tintype.service.models.runtime.provider_options import ProviderOptions
from tintype.service.models.runtime.tensorrt import COUNTED, ENGINES, HOT, TensorRtGraph, builder
from tintype.service.models.runtime.tensorrt_engines import MARK

PORTS = (Port("x", "tensor(float)", ("rows", "side")),)


class Fake:
    """A session that answers which provider it is on; TensorRT's is made when a test lets it, or fails."""

    gate = Event()
    faults: list[Exception] = []  # noqa: RUF012 - reset by the fixture
    answering = "tensorrt"
    runs: list[Thread] = []  # noqa: RUF012 - reset by the fixture
    made: list[tuple[str, EngineOptions]] = []  # noqa: RUF012 - reset by the fixture

    def __init__(
        self, path: Path, provider: str, *, options: ProviderOptions, engine: EngineOptions = NO_ENGINE, **_: object
    ) -> None:
        self.inputs, self.optional, self.outputs = PORTS, (), ("y",)
        self.path, self.provider = path, self.answering if engine.options else provider
        self.graphs = options.captures(provider)
        if engine.options:
            assert self.gate.wait(60)
            if self.faults:
                raise self.faults.pop(0)
            Path(engine.options["trt_engine_cache_path"], "x.engine").write_bytes(b"0" * 100)
        self.made.append((self.provider, engine))

    def run(self, *_: object) -> list[Any]:
        self.runs.append(current_thread())
        return [self.provider]


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRtGraph:
    monkeypatch.setattr(tensorrt, "OrtGraph", Fake)
    monkeypatch.setattr(Fake, "gate", Event())
    monkeypatch.setattr(Fake, "faults", [])
    monkeypatch.setattr(Fake, "made", [])
    monkeypatch.setattr(Fake, "runs", [])
    (tmp_path / "unet").mkdir()
    options = ProviderOptions(engines=tmp_path / "engines")
    return TensorRtGraph(tmp_path / "unet/model.onnx", 1, options=options)


def call(graph: TensorRtGraph, rows: int = 1, side: int = 4) -> Any:
    return graph.run(["y"], {"x": np.zeros((rows, side), np.float32)})[0]


def built() -> None:
    """Wait until all that was asked of the builder is done."""
    builder().submit(lambda: None).result(60)


def made_hot(graph: TensorRtGraph, rows: int = 1, side: int = 4) -> Any:
    """Call a shape until it has an engine, and return what answers then."""
    for _ in range(HOT):
        call(graph, rows, side)
    built()
    return call(graph, rows, side)


def test_cuda_serves_until_the_engine_is_there(graph: TensorRtGraph, tmp_path: Path) -> None:
    """Building blocks nothing; then the shape is TensorRT's, from a folder of its own, and no other shape is."""
    assert [call(graph) for _ in range(HOT + 3)] == ["cuda"] * (HOT + 3)
    Fake.gate.set()
    built()
    assert Fake.runs[-1] is not current_thread(), "its first call, which may build as well, was the builder's"
    assert call(graph) == "tensorrt"
    assert call(graph, rows=2) == "cuda", "another number of rows"
    assert call(graph, side=5) == "cuda", "another shape"
    (_, _), (_, engine) = Fake.made
    assert engine.axes == {"rows": 1, "side": 4}
    assert engine.options["trt_engine_cache_path"].startswith(str(tmp_path / "engines/unet-"))


def test_each_shape_has_an_engine_of_its_own(graph: TensorRtGraph) -> None:
    """All axes of an engine are fixed, rows too: none is free in any part that the graph is cut into."""
    Fake.gate.set()
    assert [made_hot(graph, rows) for rows in (1, 2)] == ["tensorrt"] * 2
    engines = [engine for provider, engine in Fake.made if provider == "tensorrt"]
    assert [engine.axes["rows"] for engine in engines] == [1, 2]
    assert len({engine.options["trt_engine_cache_path"] for engine in engines}) == 2


def test_a_graph_keeps_a_few_engines(graph: TensorRtGraph) -> None:
    """Each holds the weights once more: beyond ENGINES the one used longest ago goes, and CUDA has its shape again."""
    Fake.gate.set()
    for side in range(ENGINES):
        made_hot(graph, side=side)
    call(graph, side=0)
    assert made_hot(graph, side=99) == "tensorrt"
    assert len(graph._engines) == ENGINES
    assert call(graph, side=1) == "cuda"
    assert call(graph, side=0) == "tensorrt"


def test_counting_is_bounded(graph: TensorRtGraph) -> None:
    """However many sizes are asked for, the counts take no more memory."""
    for side in range(1000):
        call(graph, side=side)
    assert len(graph._calls) <= COUNTED + 1


def test_rare_shapes_get_no_engine(graph: TensorRtGraph) -> None:
    """What comes less than HOT times costs no building."""
    Fake.gate.set()
    for side in range(4, 8):
        for _ in range(HOT - 1):
            call(graph, side=side)
    built()
    assert [provider for provider, _ in Fake.made] == ["cuda"]


def test_without_an_engine_cuda_goes_on(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why, and it is not tried again."""
    monkeypatch.setattr(Fake, "faults", [RuntimeError("a node is not known")])
    Fake.gate.set()
    for _ in range(3 * HOT):
        assert call(graph) == "cuda"
    built()
    assert call(graph) == "cuda"
    assert caplog.text.count("stays on CUDA: no engine for {'x': (1, 4)}: a node is not known") == 1


def test_what_onnxruntime_gives_to_another_provider_is_no_engine(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where TensorRT's libraries are not found, a session comes without it: then the first one goes on."""
    monkeypatch.setattr(Fake, "answering", "cuda")
    Fake.gate.set()
    for _ in range(HOT):
        call(graph)
    built()
    assert call(graph) == "cuda"
    assert "onnxruntime runs the graph on cuda instead" in caplog.text


UNREADABLE = RuntimeError("[ONNXRuntimeError] : 11 : EP_FAIL : TensorRT EP could not deserialize engine from cache: x")


def test_an_engine_that_cannot_be_read_is_built_anew(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An engine of another TensorRT, or a damaged one, is removed, and one more attempt is made."""
    Fake.gate.set()
    made_hot(graph)
    (kept,) = tmp_path.glob("engines/*/x.engine")
    kept.with_name("old.engine").write_bytes(b"of another version")
    again = TensorRtGraph(graph._path, 1, options=ProviderOptions(engines=graph._engine_folder))
    monkeypatch.setattr(Fake, "faults", [UNREADABLE])
    assert made_hot(again) == "tensorrt"
    assert sorted(file.name for file in kept.parent.iterdir()) == [MARK, "x.engine"]


def test_one_more_attempt_is_all(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where that does not help, CUDA goes on."""
    monkeypatch.setattr(Fake, "faults", [UNREADABLE, UNREADABLE, AssertionError("a third attempt")])
    Fake.gate.set()
    assert made_hot(graph) == "cuda"
    assert len(Fake.faults) == 1
    assert "stays on CUDA" in caplog.text


def test_nothing_is_captured_beside_tensorrt(graph: TensorRtGraph, tmp_path: Path) -> None:
    """An engine that is built calls CUDA for minutes, which would end each capture."""
    options = ProviderOptions(cuda_graphs=True, engines=tmp_path)
    beside = TensorRtGraph(graph._path, 1, options=options)
    assert not beside._cuda.graphs  # type: ignore[attr-defined]
