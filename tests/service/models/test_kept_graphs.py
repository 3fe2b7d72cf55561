"""Optimized graphs that are kept give the same numbers, without the work and the memory of optimizing them again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import numpy as np
import pytest

from tests.support.models.onnx_files import FLOAT, external, graph, model, node, tensor, value
from tintype.service.errors import Cancelled
from tintype.service.models import kept_graphs
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.kept_graphs import CPUINFO, GRAPH, kept_graph, processor
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.provider_options import ProviderOptions
from tintype.service.models.runtime.providers import onnxruntime

if TYPE_CHECKING:
    from tintype.service.models.graph_source import GraphSource

SMAPS = Path("/proc/self/smaps_rollup")
SIDE = 2048  # of a layer, 16 MiB

pytestmark = pytest.mark.skipif(not processor(), reason="only Linux names the processor and its instructions")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep graphs of any size."""
    monkeypatch.setattr(kept_graphs, "SMALLEST", 0)


def write_layer(folder: Path, *, optional: bool = False) -> OnnxFile:
    """Write a graph `y = x @ w` whose weight is external data; `optional` makes a bias an input with a default."""
    folder.mkdir(parents=True)
    weight = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    (folder / "data").write_bytes(weight.tobytes())
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"], ["y"])]
    inputs = [value("x", FLOAT, ("n", SIDE)), *([value("b", FLOAT, (SIDE,))] if optional else [])]
    weights = [external("w", (SIDE, SIDE), "data", size=weight.nbytes), tensor("b", FLOAT, (SIDE,), bytes(4 * SIDE))]
    content = model(graph("layer", nodes, inputs, [value("y", FLOAT, ("n", SIDE))], weights))
    (folder / "model.onnx").write_bytes(content)
    return OnnxFile(folder / "model.onnx")


def run(source: GraphSource, kept: Path | None) -> tuple[OrtGraph, np.ndarray]:
    """Open a graph, and return it with the result of a call."""
    opened = OrtGraph(source, "cpu", 1, options=ProviderOptions(kept=kept))
    rng = np.random.default_rng(1)
    feeds = {
        port.name: rng.standard_normal([axis if isinstance(axis, int) else 8 for axis in port.shape], np.float32)
        for port in opened.inputs
    }
    return opened, opened.run(opened.outputs[:1], feeds)[0]


def entries(folder: Path) -> list[str]:
    """Return the names of the kept graphs."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("component", ["unet", "vae_decoder"])
def test_a_kept_graph_gives_the_same_bits(tmp_path: Path, component: str) -> None:
    """The first session keeps it and the second one finds it; both compute as one without it does."""
    source, cache = OnnxFile(BUILTIN / component / "model.onnx"), tmp_path / "cache"
    results = [run(source, kept)[1] for kept in (None, cache, cache)]
    assert len(entries(cache)) == 1
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_inputs_with_a_default_stay_inputs(tmp_path: Path) -> None:
    """Adapters are such inputs: they must not be folded into the graph."""
    source, cache = write_layer(tmp_path / "unet", optional=True), tmp_path / "cache"
    for _ in range(2):
        opened, plain = run(source, cache)
        assert [port.name for port in opened.optional] == ["b"]
        x = np.ones((1, SIDE), np.float32)
        given, usual = (opened.run(["y"], {"x": x, **more})[0] for more in ({"b": np.ones(SIDE, np.float32)}, {}))
        assert plain.shape == (8, SIDE)
        assert np.allclose(given, np.add(usual, 1), atol=1e-4)


@pytest.mark.skipif(not SMAPS.exists(), reason="only Linux counts anonymous memory")
def test_a_kept_graph_leaves_its_weights_in_the_file(tmp_path: Path) -> None:
    """They are mapped in the kernels' layout, so a session takes hardly any memory of its own."""
    source, cache = write_layer(tmp_path / "unet"), tmp_path / "cache"
    run(source, cache)
    before = _anonymous_bytes()
    opened, _ = run(source, cache)
    assert opened.inputs
    assert _anonymous_bytes() - before < SIDE * SIDE


def test_another_file_processor_or_onnxruntime_has_another_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in another kernel's layout would give noise."""
    source, cache = write_layer(tmp_path / "unet"), tmp_path / "cache"
    run(source, cache)
    assert len(entries(cache)) == 1
    monkeypatch.setattr(kept_graphs, "processor", lambda: ("x86_64", "flags: sse2"))
    run(source, cache)
    assert len(entries(cache)) == 2
    monkeypatch.setattr(onnxruntime(), "__version__", "9.0.0")
    run(source, cache)
    assert len(entries(cache)) == 3


def test_a_changed_file_has_another_graph(tmp_path: Path) -> None:
    """The graph of the former weights is removed."""
    source, cache = write_layer(tmp_path / "unet"), tmp_path / "cache"
    first = run(source, cache)[1]
    (before,) = entries(cache)
    (tmp_path / "unet/data").write_bytes(np.ones((SIDE, SIDE), np.float32).tobytes())
    second = run(source, cache)[1]
    assert not np.array_equal(first, second)
    assert len(entries(cache)) == 1
    assert entries(cache) != [before]


def test_a_damaged_graph_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The session is opened from the model, and the next one keeps the graph again."""
    source, cache = write_layer(tmp_path / "unet"), tmp_path / "cache"
    expected = run(source, cache)[1]
    (entry,) = entries(cache)
    (cache / entry / GRAPH).write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(run(source, cache)[1], expected)
    assert "unet: no optimized graph is kept" in caplog.text
    assert entries(cache) == []
    assert np.array_equal(run(source, cache)[1], expected)
    assert entries(cache) == [entry]


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The model is served all the same."""
    source = write_layer(tmp_path / "unet")
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert run(source, tmp_path / "file")[1].shape == (8, SIDE)
    assert "--weights-cache" in caplog.text


def test_a_missing_file_is_reported_by_the_source(tmp_path: Path) -> None:
    """The error is that of a model without kept graphs."""
    source, messages = OnnxFile(BUILTIN / "unet/missing.onnx"), []
    for kept in (None, tmp_path / "cache"):
        with pytest.raises(FileNotFoundError) as caught:
            run(source, kept)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_cancelled_load_stays_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not load the graph in another way instead."""
    source = write_layer(tmp_path / "unet")
    monkeypatch.setattr(OnnxFile, "open", Mock(side_effect=Cancelled("tintype is ending")))
    with pytest.raises(Cancelled):
        run(source, tmp_path / "cache")


def test_small_graphs_and_unknown_processors_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones are opened in a fraction of a second; without the name of the processor no key is safe."""
    source = OnnxFile(BUILTIN / "unet/model.onnx")
    assert kept_graph(source, tmp_path)
    assert not kept_graph(source, None)
    monkeypatch.setattr(kept_graphs, "SMALLEST", source.weights_bytes + 1)
    assert not kept_graph(source, tmp_path)
    monkeypatch.setattr(kept_graphs, "SMALLEST", 0)
    monkeypatch.setattr(kept_graphs, "CPUINFO", tmp_path / "missing")
    assert processor.__wrapped__() == ()


def test_the_processor_is_its_model_and_its_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock rates and other cores change nothing."""
    text = "processor\t: 0\nmodel name\t: A\ncpu MHz\t: 1\nflags\t\t: sse avx\n\nprocessor\t: 1\nmodel name\t: B\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(kept_graphs, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.__wrapped__()[1:] == ("model name\t: A", "flags\t\t: sse avx")
    assert CPUINFO.exists()


def _anonymous_bytes() -> int:
    lines = dict(line.split(":", 1) for line in SMAPS.read_text().splitlines() if ":" in line)
    return int(lines["Anonymous"].split()[0]) * 1024
