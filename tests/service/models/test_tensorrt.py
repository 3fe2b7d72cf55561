"""Engines are built in the background for shapes that come often, and CUDA serves until they are there, and after."""

from __future__ import annotations

from threading import Event, Thread, current_thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.models import tensorrt
from tintype.service.models.graph import Port
from tintype.service.models.runtime import Runtime
from tintype.service.models.tensorrt import HOT, TensorRtGraph, builder
from tintype.service.models.tuning import WIDEST, Tuning

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PORTS = (Port("x", "tensor(float)", ("rows", "side")),)


class Fake:
    """A session that answers which provider it is on; TensorRT's is made when a test lets it, or fails."""

    gate = Event()
    fault: Exception | None = None
    answering = "tensorrt"
    runs: list[Thread] = []  # noqa: RUF012 - reset by the fixture
    made: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 - reset by the fixture

    def __init__(self, path: Path, runtime: Runtime, engine: Mapping[str, str] | None = None) -> None:
        self.inputs, self.optional, self.outputs = PORTS, (), ("y",)
        self.path, self.provider = path, runtime.provider if engine is None else self.answering
        self.graphs = runtime.tuning.captures(runtime.provider)
        if engine is not None:
            assert self.gate.wait(60)
            if self.fault:
                raise self.fault
        self.made.append((self.provider, dict(engine or {})))

    def run(self, *_: object) -> list[Any]:
        self.runs.append(current_thread())
        return [self.provider]


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRtGraph:
    monkeypatch.setattr(tensorrt, "OrtGraph", Fake)
    monkeypatch.setattr(Fake, "gate", Event())
    monkeypatch.setattr(Fake, "fault", None)
    monkeypatch.setattr(Fake, "made", [])
    monkeypatch.setattr(Fake, "runs", [])
    (tmp_path / "unet").mkdir()
    runtime = Runtime("tensorrt", 1, tuning=Tuning(engines=tmp_path / "engines"))
    return TensorRtGraph(tmp_path / "unet/model.onnx", runtime)


def call(graph: TensorRtGraph, rows: int = 1, side: int = 4) -> Any:
    return graph.run(["y"], {"x": np.zeros((rows, side), np.float32)})[0]


def built() -> None:
    """Wait until all that was asked of the builder is done."""
    builder().submit(lambda: None).result(60)


def test_cuda_serves_until_the_engine_is_there(graph: TensorRtGraph, tmp_path: Path) -> None:
    """Building blocks nobody; then the shape is TensorRT's with any number of rows, from a folder of its own."""
    assert [call(graph) for _ in range(HOT + 3)] == ["cuda"] * (HOT + 3)
    Fake.gate.set()
    built()
    assert Fake.runs[-1] is not current_thread(), "its first call, which may build as well, was the builder's"
    assert [call(graph), call(graph, rows=WIDEST)] == ["tensorrt"] * 2
    assert call(graph, rows=WIDEST + 1) == "cuda", "wider than its profile"
    assert call(graph, side=5) == "cuda", "another shape"
    (_, _), (_, options) = Fake.made
    assert options["trt_profile_max_shapes"] == f"x:{WIDEST}x4"
    assert options["trt_engine_cache_path"].startswith(str(tmp_path / "engines/unet-"))


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
    monkeypatch.setattr(Fake, "fault", RuntimeError("a node is not known"))
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
    assert [engine.result() for engine in graph._engines.values()] == [None]
    assert "onnxruntime takes cuda in its place" in caplog.text


def test_nothing_is_captured_beside_tensorrt(graph: TensorRtGraph, tmp_path: Path) -> None:
    """An engine that is built calls CUDA for minutes, which would end each capture."""
    tuning = Tuning(cuda_graphs=True, engines=tmp_path)
    beside = TensorRtGraph(graph._path, Runtime("tensorrt", 1, tuning=tuning))
    assert not beside._cuda.graphs  # type: ignore[attr-defined]
