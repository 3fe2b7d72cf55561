"""TensorRT: engines built in the background for frequent shapes, engines on disk, and CUDA for everything else."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import numpy as np
import pytest

from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.runtime import nvidia, tensorrt
from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.provider_options import ProviderOptions
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.models.runtime.session_options import NO_ENGINE, EngineOptions
from tintype.service.models.runtime.tensorrt import (
    DESCRIPTION,
    HOT,
    MAX_COUNTED,
    MAX_ENGINES,
    TensorRtGraph,
    builder,
    empty_folder,
    engine_folder,
    is_unreadable,
    remove_old_engines,
)

SHAPES = {"sample": (2, 4, 64, 96), "timestep": (2,)}
PORTS = (Port("x", "tensor(float)", ("rows", "side")),)


class FakeGraph:
    """A graph whose output is its provider. On TensorRT it opens once `gate` is set, or raises the next fault."""

    gate = Event()
    faults: list[Exception] = []  # noqa: RUF012 - reset by the fixture
    actual_provider = "tensorrt"
    runs: list[Thread] = []  # noqa: RUF012 - reset by the fixture
    opened: list[tuple[str, EngineOptions]] = []  # noqa: RUF012 - reset by the fixture

    def __init__(
        self, path: Path, provider: str, *, options: ProviderOptions, engine: EngineOptions = NO_ENGINE, **_: object
    ) -> None:
        self.inputs, self.optional, self.outputs = PORTS, (), ("y",)
        self.path, self.provider = path, self.actual_provider if engine.options else provider
        self.graphs = options.captures(provider)
        if engine.options:
            assert self.gate.wait(60)
            if self.faults:
                raise self.faults.pop(0)
            Path(engine.options["trt_engine_cache_path"], "x.engine").write_bytes(b"0" * 100)
        self.opened.append((self.provider, engine))

    def run(self, *_: object) -> list[Any]:
        self.runs.append(current_thread())
        return [self.provider]


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRtGraph:
    monkeypatch.setattr(tensorrt, "OrtGraph", FakeGraph)
    monkeypatch.setattr(tensorrt, "PAUSE", 0.0)
    monkeypatch.setattr(tensorrt, "is_close", lambda *_: True)
    monkeypatch.setattr(FakeGraph, "gate", Event())
    monkeypatch.setattr(FakeGraph, "faults", [])
    monkeypatch.setattr(FakeGraph, "opened", [])
    monkeypatch.setattr(FakeGraph, "runs", [])
    (tmp_path / "unet").mkdir()
    options = ProviderOptions(engines=tmp_path / "engines")
    return TensorRtGraph(OnnxFile(tmp_path / "unet/model.onnx"), 1, options=options)


def call(graph: TensorRtGraph, rows: int = 1, side: int = 4) -> Any:
    return graph.run(["y"], {"x": np.zeros((rows, side), np.float32)})[0]


def wait_for_builder() -> None:
    """Wait until the builder has finished everything that was submitted."""
    builder().submit(lambda: None).result(60)


def build_engine(graph: TensorRtGraph, rows: int = 1, side: int = 4) -> Any:
    """Call a shape until its engine is built, and return the provider of the next call."""
    for _ in range(HOT):
        call(graph, rows, side)
    wait_for_builder()
    return call(graph, rows, side)


def test_cuda_serves_until_the_engine_is_built(graph: TensorRtGraph, tmp_path: Path) -> None:
    """Building blocks no call. Then this shape, and no other, runs on TensorRT with an engine in its own folder."""
    assert [call(graph) for _ in range(HOT + 3)] == ["cuda"] * (HOT + 3)
    FakeGraph.gate.set()
    wait_for_builder()
    assert FakeGraph.runs[-1] is not current_thread(), "the first call ran on the builder's thread"
    assert call(graph) == "tensorrt"
    assert call(graph, rows=2) == "cuda", "another number of rows"
    assert call(graph, side=5) == "cuda", "another shape"
    (_, _), (_, engine) = FakeGraph.opened
    assert engine.axes == {"rows": 1, "side": 4}
    assert engine.options["trt_engine_cache_path"].startswith(str(tmp_path / "engines/unet-"))


def test_an_engine_with_other_results_is_not_used(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first result is compared with CUDA's, which is returned if they differ; a close one is compared once."""
    compared: list[tuple[Any, Any]] = []

    def compare(one: Any, other: Any, _: float) -> bool:
        compared.append((one, other))
        return len(compared) > 1

    monkeypatch.setattr(tensorrt, "is_close", compare)
    FakeGraph.gate.set()
    assert build_engine(graph) == "cuda"
    assert call(graph) == "cuda"
    assert "the engine for {'x': (1, 4)} computes other values" in caplog.text
    assert build_engine(graph, rows=2) == call(graph, rows=2) == "tensorrt"
    assert compared == [("tensorrt", "cuda")] * 2


def test_an_engine_is_built_in_a_pause(graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are timed while no call of the graph runs, unless calls do not pause within PATIENCE seconds."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    now = [100.0]
    monkeypatch.setattr("tintype.service.models.runtime.tensorrt.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tintype.service.models.runtime.tensorrt.time.sleep", sleep)
    monkeypatch.setattr(tensorrt, "PAUSE", 1.0)
    call(graph)
    graph._wait_for_pause()
    assert 0.99 < sum(slept) < 1.2
    slept.clear()
    monkeypatch.setattr(tensorrt, "PAUSE", 100.0)
    graph._wait_for_pause()
    assert tensorrt.PATIENCE <= sum(slept) < 2 * tensorrt.PATIENCE


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "arena", "workspace"),
    [(0, 0, ""), (20 * GIB, 0, str(6 * GIB)), (20 * GIB, GIB, str(GIB)), (8 * GIB, 0, None)],
)
def test_an_engine_is_built_only_if_the_gpu_has_room_for_it(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, free: int, arena: int, workspace: str | None
) -> None:
    """The weights are there twice more while it is built; half of the rest is for kernels, the other for calls."""
    monkeypatch.setattr(nvidia, "free_memory", lambda: free)
    monkeypatch.setattr(OnnxFile, "weights_bytes", 4 * GIB)
    monkeypatch.setattr(graph, "_options", ProviderOptions(arena=arena))
    FakeGraph.gate.set()
    assert build_engine(graph) == ("cuda" if workspace is None else "tensorrt")
    if workspace is not None:
        assert FakeGraph.opened[-1][1].options.get("trt_max_workspace_size", "") == workspace


def test_each_shape_has_its_own_engine(graph: TensorRtGraph) -> None:
    """All axes of an engine are fixed, rows included, so no part of a cut graph has a dynamic input."""
    FakeGraph.gate.set()
    assert [build_engine(graph, rows) for rows in (1, 2)] == ["tensorrt"] * 2
    engines = [engine for provider, engine in FakeGraph.opened if provider == "tensorrt"]
    assert [engine.axes["rows"] for engine in engines] == [1, 2]
    assert len({engine.options["trt_engine_cache_path"] for engine in engines}) == 2


def test_the_number_of_engines_of_a_graph_is_bounded(graph: TensorRtGraph) -> None:
    """Beyond MAX_ENGINES the least recently used engine is dropped, and its shape runs on CUDA again."""
    FakeGraph.gate.set()
    for side in range(MAX_ENGINES):
        build_engine(graph, side=side)
    call(graph, side=0)
    assert build_engine(graph, side=99) == "tensorrt"
    assert len(graph._engines) == MAX_ENGINES
    assert call(graph, side=1) == "cuda"
    assert call(graph, side=0) == "tensorrt"


def test_the_number_of_counted_shapes_is_bounded(graph: TensorRtGraph) -> None:
    """Requests of many different sizes do not grow the counters without bound."""
    for side in range(1000):
        call(graph, side=side)
    assert len(graph._calls) <= MAX_COUNTED + 1


def test_rare_shapes_get_no_engine(graph: TensorRtGraph) -> None:
    """No engine is built for a shape that was called fewer than HOT times."""
    FakeGraph.gate.set()
    for side in range(4, 8):
        for _ in range(HOT - 1):
            call(graph, side=side)
    wait_for_builder()
    assert [provider for provider, _ in FakeGraph.opened] == ["cuda"]


def test_a_graph_stays_on_cuda_after_a_failed_build(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why, once, and no second attempt is made."""
    monkeypatch.setattr(FakeGraph, "faults", [RuntimeError("a node is not known")])
    FakeGraph.gate.set()
    for _ in range(3 * HOT):
        assert call(graph) == "cuda"
    wait_for_builder()
    assert call(graph) == "cuda"
    assert caplog.text.count("stays on CUDA: no engine for {'x': (1, 4)}: a node is not known") == 1


def test_a_session_on_another_provider_is_not_used_as_an_engine(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without TensorRT's libraries onnxruntime opens the session on CUDA; the existing CUDA session goes on."""
    monkeypatch.setattr(FakeGraph, "actual_provider", "cuda")
    FakeGraph.gate.set()
    for _ in range(HOT):
        call(graph)
    wait_for_builder()
    assert call(graph) == "cuda"
    assert "onnxruntime runs the graph on cuda instead" in caplog.text


UNREADABLE = RuntimeError("[ONNXRuntimeError] : 11 : EP_FAIL : TensorRT EP could not deserialize engine from cache: x")


def test_an_unreadable_engine_is_built_again(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An engine that is damaged or belongs to another TensorRT is removed, and one more attempt is made."""
    FakeGraph.gate.set()
    build_engine(graph)
    (kept,) = tmp_path.glob("engines/*/x.engine")
    kept.with_name("old.engine").write_bytes(b"of another version")
    again = TensorRtGraph(graph._source, 1, options=ProviderOptions(engines=graph._engine_folder))
    monkeypatch.setattr(FakeGraph, "faults", [UNREADABLE])
    assert build_engine(again) == "tensorrt"
    assert sorted(file.name for file in kept.parent.iterdir()) == [DESCRIPTION, "x.engine"]


def test_an_unreadable_engine_is_built_again_only_once(
    graph: TensorRtGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the second attempt fails as well, CUDA goes on."""
    monkeypatch.setattr(FakeGraph, "faults", [UNREADABLE, UNREADABLE, AssertionError("a third attempt")])
    FakeGraph.gate.set()
    assert build_engine(graph) == "cuda"
    assert len(FakeGraph.faults) == 1
    assert "stays on CUDA" in caplog.text


def test_cuda_sessions_of_tensorrt_capture_no_cuda_graphs(graph: TensorRtGraph, tmp_path: Path) -> None:
    """Building an engine calls CUDA for minutes, which would make captures fail."""
    options = ProviderOptions(cuda_graphs=True, engines=tmp_path)
    other = TensorRtGraph(graph._source, 1, options=options)
    assert not other._cuda.graphs  # type: ignore[attr-defined]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a graph, which is the only file in its folder."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/model.onnx").write_bytes(b"graph")
    return tmp_path / "unet/model.onnx"


def test_the_engine_folder_depends_on_files_and_shapes(path: Path, tmp_path: Path) -> None:
    """Another shape, number of rows or weights file has another folder; equal ones have the same folder."""
    first = engine_folder(tmp_path / "e", OnnxFile(path), SHAPES)
    assert first.name.startswith("unet-")
    assert engine_folder(tmp_path / "e", OnnxFile(path), dict(reversed(SHAPES.items()))) == first
    others = [
        engine_folder(tmp_path / "e", OnnxFile(path), SHAPES | more)
        for more in ({"timestep": (1,)}, {"sample": (2, 4, 64, 64)})
    ]
    (path.parent / "model.onnx_data").write_bytes(b"weights")
    others.append(engine_folder(tmp_path / "e", OnnxFile(path), SHAPES))
    assert len({first, *others}) == 4


@pytest.mark.parametrize("what", ["describe_gpu", "tensorrt_version"])
def test_the_engine_folder_depends_on_gpu_and_tensorrt(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Another GPU, even of the same capability, or another TensorRT has another folder; its description names them."""
    folders = []
    for value in ("NVIDIA A10 8.6", "NVIDIA A40 8.6"):
        monkeypatch.setattr(nvidia, what, lambda value=value: value)
        folders.append(engine_folder(tmp_path / "e", OnnxFile(path), SHAPES))
        assert value in (folders[-1] / DESCRIPTION).read_text()
    assert folders[0] != folders[1]


def test_the_engine_folder_depends_on_onnxruntime(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documentation of onnxruntime says to remove engines after an update; a new folder has the same effect."""
    first = engine_folder(tmp_path / "e", OnnxFile(path), SHAPES)
    monkeypatch.setattr(onnxruntime(), "__version__", "9.9")
    assert engine_folder(tmp_path / "e", OnnxFile(path), SHAPES) != first


@pytest.mark.parametrize(
    ("message", "unreadable"),
    [
        ("TensorRT EP could not deserialize engine from cache: /a/b.engine", True),
        ("TensorRT EP failed to deserialize engine for fused node: n", True),
        ("TensorRT EP failed to create engine from network", False),
        ("CUDA failure 2: out of memory", False),
    ],
)
def test_an_unreadable_engine_is_recognized_by_the_error(message: str, *, unreadable: bool) -> None:
    """The texts are those of the TensorRT provider in onnxruntime 1.31.1."""
    assert is_unreadable(RuntimeError(message)) is unreadable


def test_an_emptied_folder_keeps_its_description(path: Path, tmp_path: Path) -> None:
    """The facts that an engine was built for stay readable."""
    folder = engine_folder(tmp_path / "e", OnnxFile(path), SHAPES)
    (folder / "a.engine").write_bytes(b"1")
    empty_folder(folder)
    assert [file.name for file in folder.iterdir()] == [DESCRIPTION]


def write_engine(root: Path, name: str, size: int, used: int) -> Path:
    """Write an engine of `size` bytes that was last used at time `used`; return its folder."""
    (root / name).mkdir(parents=True)
    (root / name / "x.engine").write_bytes(b"0" * size)
    (root / name / DESCRIPTION).write_text("")
    os.utime(root / name / DESCRIPTION, (used, used))
    return root / name


@pytest.mark.parametrize(("bound", "left"), [(1000, "abcd"), (399, "bcd"), (250, "cd"), (150, "d"), (0, "d")])
def test_the_least_recently_used_engines_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int, left: str
) -> None:
    """All engines together take at most `bound` bytes; the newest one stays, even if it is larger than that."""
    monkeypatch.setattr(tensorrt, "MAX_BYTES", bound)
    root = tmp_path / "e"
    folders = [write_engine(root, name, 100, used) for name, used in {"a": 1, "c": 3, "b": 2, "d": 4}.items()]
    remove_old_engines(root, folders[-1])
    assert sorted(folder.name for folder in root.iterdir()) == list(left)


def test_files_of_other_programs_are_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders without a description, files, and timing caches stay, and their bytes do not count."""
    monkeypatch.setattr(tensorrt, "MAX_BYTES", 10)
    engine = write_engine(tmp_path, "unet-0123456789abcdef", 100, 1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.engine").write_bytes(b"0" * 100)
    (tmp_path / "kernels.timing").write_bytes(b"0" * 100)
    remove_old_engines(tmp_path, tmp_path / "none")
    assert not engine.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kernels.timing", "photos"]


def test_each_use_of_an_engine_updates_its_description(path: Path, tmp_path: Path) -> None:
    """The modification time of the description is the last use, by which engines are ordered."""
    description = engine_folder(tmp_path / "e", OnnxFile(path), SHAPES) / DESCRIPTION
    os.utime(description, (1, 1))
    engine_folder(tmp_path / "e", OnnxFile(path), SHAPES)
    assert description.stat().st_mtime > 1
