"""OpenVINO runs the same graphs, and the pictures are the same to less than can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.engine import Engine
from tintype.service.engine.events import Finished
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import openvino, providers
from tintype.service.models.runtime.openvino import OpenVinoGraph
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.providers import ProviderUnavailable, choose

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Graph

TOLERANCE = 1 / 255  # of a picture; kernels sum in another order
RELATIVE = 1e-4  # of one answer of a graph, to its largest value

needs_openvino = pytest.mark.skipif(not openvino.installed(), reason="openvino is not installed")


def feeds(rows: int) -> dict[str, Any]:
    """Return what the built-in denoiser wants, of `rows` rows."""
    draw = np.random.default_rng(rows)
    return {
        "sample": draw.standard_normal((rows, 16, 8, 8), np.float32),
        "timestep": np.linspace(100, 900, rows, dtype=np.float32),
        "encoder_hidden_states": draw.standard_normal((rows, 32, 128), np.float32),
    }


def answer(graph: Graph, rows: int) -> np.ndarray:
    (out,) = graph.run(["out_sample"], feeds(rows))
    return np.asarray(out)


@needs_openvino
@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae_decoder", "vae_encoder"])
def test_a_graph_tells_the_same_under_both(part: str) -> None:
    """Names, types and number of axes of its inputs, and its outputs, are onnxruntime's."""
    path = BUILTIN / part / "model.onnx"
    ours, other = OpenVinoGraph(path, 1), OrtGraph(path, "cpu", 1)
    assert [(p.name, p.kind, len(p.shape)) for p in ours.inputs] == [
        (p.name, p.kind, len(p.shape)) for p in other.inputs
    ]
    assert ours.outputs == other.outputs


@needs_openvino
def test_answers_are_the_same_whatever_it_is_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all shapes, for the one that came often, and after another one came; what was answered stays as it was."""
    monkeypatch.setattr(openvino, "HOT", 2)
    path = BUILTIN / "unet/model.onnx"
    ours, other = OpenVinoGraph(path, 1), OrtGraph(path, "cpu", 1)
    fixed, answers = [], []
    for rows in (1, 1, 1, 1, 2, 2, 2, 2, 2, 1):
        answers.append((rows, answer(ours, rows)))
        fixed.append(ours._fixed and ours._fixed["sample"][0])
    assert fixed == [None, None, 1, 1, None, None, None, None, 2, None]
    expected = {rows: answer(other, rows) for rows in (1, 2)}
    for rows, out in answers:
        assert np.abs(out - expected[rows]).max() <= RELATIVE * np.abs(expected[rows]).max()


def picture(provider: str) -> np.ndarray:
    with Repository(providers=[provider], threads=1) as repository:
        assert repository.wait(timeout=120).spec.provider == provider
        engine = Engine(repository)
        engine.admit(Job(prompt="a red circle", seed=1, steps=6, width=128, height=128))
        while engine.step():
            pass
        return next(event.pixels for _, event in engine.collect() if isinstance(event, Finished))


@needs_openvino
def test_the_picture_is_the_same() -> None:
    """From prompt to pixels, with the whole engine, to a level of 255; and the provider tells its name."""
    assert np.abs(picture("openvino") - picture("cpu")).max() <= TOLERANCE


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither onnxruntime nor a package has it, the refusal names the extra."""
    monkeypatch.setattr(openvino, "installed", lambda: False)
    if "openvino" in providers.available():
        pytest.skip("this onnxruntime has it built in")
    with pytest.raises(ProviderUnavailable, match=r"provider 'openvino' is not in .*pip install '\.\[openvino\]'"):
        choose.__wrapped__(("openvino",))
