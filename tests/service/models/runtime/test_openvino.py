"""OpenVINO's runtime computes the same results as onnxruntime, within rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.engine import Engine
from tintype.service.engine.events import Finished
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import openvino, providers
from tintype.service.models.runtime.openvino import OpenVinoGraph
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.providers import ProviderUnavailable, choose

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Graph

TOLERANCE = 1 / 255  # for an image; kernels sum in another order
RELATIVE = 1e-4  # for one result of a graph, relative to its largest value

needs_openvino = pytest.mark.skipif(not openvino.is_installed(), reason="openvino is not installed")


def feeds(rows: int) -> dict[str, Any]:
    """Return inputs of the built-in denoiser with `rows` rows."""
    draw = np.random.default_rng(rows)
    return {
        "sample": draw.standard_normal((rows, 16, 8, 8), np.float32),
        "timestep": np.linspace(100, 900, rows, dtype=np.float32),
        "encoder_hidden_states": draw.standard_normal((rows, 32, 128), np.float32),
    }


def run(graph: Graph, rows: int) -> np.ndarray:
    (out,) = graph.run(["out_sample"], feeds(rows))
    return np.asarray(out)


@needs_openvino
@pytest.mark.parametrize("component", ["text_encoder", "unet", "vae_decoder", "vae_encoder"])
def test_inputs_and_outputs_are_those_of_onnxruntime(component: str) -> None:
    """The names, types and numbers of axes of inputs and the names of outputs are the same under both runtimes."""
    path = BUILTIN / component / "model.onnx"
    ours, other = OpenVinoGraph(OnnxFile(path), 1), OrtGraph(OnnxFile(path), "cpu", 1)
    assert [(p.name, p.type, len(p.shape)) for p in ours.inputs] == [
        (p.name, p.type, len(p.shape)) for p in other.inputs
    ]
    assert ours.outputs == other.outputs


@needs_openvino
def test_results_do_not_depend_on_the_compiled_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled for all shapes, for one frequent shape, and for all again; later calls do not change earlier results."""
    monkeypatch.setattr(openvino, "HOT", 2)
    path = BUILTIN / "unet/model.onnx"
    ours, other = OpenVinoGraph(OnnxFile(path), 1), OrtGraph(OnnxFile(path), "cpu", 1)
    fixed, results = [], []
    for rows in (1, 1, 1, 1, 2, 2, 2, 2, 2, 1):
        results.append((rows, run(ours, rows)))
        fixed.append(ours._fixed and ours._fixed["sample"][0])
    assert fixed == [None, None, 1, 1, None, None, None, None, 2, None]
    expected = {rows: run(other, rows) for rows in (1, 2)}
    for rows, out in results:
        assert np.abs(out - expected[rows]).max() <= RELATIVE * np.abs(expected[rows]).max()


def image(provider: str) -> np.ndarray:
    with Repository(providers=[provider], threads=1) as repository:
        assert repository.wait(timeout=120).spec.provider == provider
        engine = Engine(repository)
        engine.admit(Job(prompt="a red circle", seed=1, steps=6, width=128, height=128))
        while engine.step():
            pass
        return next(event.pixels for _, event in engine.collect() if isinstance(event, Finished))


@needs_openvino
def test_an_image_is_the_same_within_one_level() -> None:
    """The image of a prompt differs from the CPU provider's by at most 1 level of 255."""
    assert np.abs(image("openvino") - image("cpu")).max() <= TOLERANCE


def test_the_error_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """If neither onnxruntime nor a package provides OpenVINO, the error says how to install it."""
    monkeypatch.setattr(openvino, "is_installed", lambda: False)
    if "openvino" in providers.available():
        pytest.skip("this onnxruntime was built with OpenVINO")
    with pytest.raises(ProviderUnavailable, match=r"provider 'openvino' is not in .*pip install '\.\[openvino\]'"):
        choose.__wrapped__(("openvino",))
