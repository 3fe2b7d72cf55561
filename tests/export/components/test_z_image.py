"""Z-Image's and Lumina-Image 2's transformers as graphs, against diffusers' modules."""

from __future__ import annotations

import re
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch

from tintype.export.components.registry import MAKERS
from tintype.export.components.tensor_specs import ExampleSize
from tintype.export.errors import ExportRefusal
from tintype.export.graph import rotary_attention, weights
from tintype.export.graph.component_graph import ComponentGraph
from tintype.export.graph.session import GraphSession
from tintype.export.graph.tracing import float16_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.export.components.component import Component

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

Z_IMAGE = {"dim": 36, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 3, "n_kv_heads": 3, "cap_feat_dim": 20}
Z_IMAGE_PLACES = {"axes_dims": [4, 4, 4], "axes_lens": [512, 64, 64]}
LUMINA2 = {"hidden_size": 48, "num_layers": 1, "num_refiner_layers": 1, "num_attention_heads": 4, "num_kv_heads": 2}
LUMINA2_PLACES = {"axes_dim_rope": (4, 4, 4), "multiple_of": 8, "cap_feat_dim": 20}
# Rows, sides in latents, and tokens of the text; none is the size that is traced.
SIZES = [ExampleSize(3, 18, 14, 40), ExampleSize(1, 10, 6, 90), ExampleSize(2, 4, 4, 2)]

# Layers whose results exceed float16 if their weights are 250 times as large.
LARGE = re.compile(r"(feed_forward\.(w|linear_)[13]|to_v|to_out\.0)\.weight$")


def module(name: str) -> Any:
    """Return a random transformer whose norms and biases are random too."""
    torch.manual_seed(1)
    made = {
        "z_image": lambda: diffusers.ZImageTransformer2DModel(**Z_IMAGE, **Z_IMAGE_PLACES),
        "lumina2": lambda: diffusers.Lumina2Transformer2DModel(**LUMINA2, **LUMINA2_PLACES),
    }[name]().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * (0.3 if weight.ndim < 2 else 0.1))
    return made


def component(transformer: Any) -> Component:
    made = MAKERS[type(transformer).__name__](SimpleNamespace(transformer=transformer), "transformer")
    assert not isinstance(made, tuple)
    return made


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Component, GraphSession]]:
    """Return a cached function from a transformer's name to its component and graph."""

    @cache
    def graph(name: str) -> tuple[Component, GraphSession]:
        path, made = tmp_path_factory.mktemp("graph") / "model.onnx", component(module(name))
        model = ComponentGraph.trace(made, half=False).with_inputs(adapters=False)
        weights.write(model, dict(made.module.named_parameters()), path)
        return made, GraphSession(path)

    return graph


def both(made: Component, graph: GraphSession, inputs: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    """Return the outputs of a graph and of diffusers' module."""
    given = {name: value.numpy() for name, value in inputs.items()}
    return graph(**given)["out_hidden_states"], made(inputs)["out_hidden_states"].numpy()


@pytest.mark.parametrize("name", ["z_image", "lumina2"])
def test_a_graph_equals_diffusers_module(name: str, traced: Callable[[str], tuple[Component, GraphSession]]) -> None:
    """At other sizes and lengths than the traced one, and with rows of different length, outputs are equal."""
    made, graph = traced(name)
    for size in SIZES:
        ours, theirs = both(made, graph, made.example_inputs(size, seed=3))
        assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max(), size


@pytest.mark.parametrize("name", ["z_image", "lumina2"])
def test_padding_has_no_effect(name: str, traced: Callable[[str], tuple[Component, GraphSession]]) -> None:
    """Numbers behind the real tokens change nothing; a real token changes the output."""
    made, graph = traced(name)
    inputs = {name: value.numpy() for name, value in made.example_inputs(SIZES[0], seed=3).items()}
    plain = graph(**inputs)["out_hidden_states"]
    padding = inputs["encoder_attention_mask"][..., None] == 0
    other = inputs | {"encoder_hidden_states": np.where(padding, 50, inputs["encoder_hidden_states"])}
    assert padding.any()
    assert np.array_equal(graph(**other)["out_hidden_states"], plain)
    inputs["encoder_hidden_states"][:, 0] = 50
    assert np.abs(graph(**inputs)["out_hidden_states"] - plain).max() > 1e-2


@pytest.mark.parametrize("name", ["z_image", "lumina2"])
def test_float16_graphs_hold_what_exceeds_float16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of attention and of the feed-forward beyond 65504 give outputs near those of float32.

    torch computes what is traced: onnxruntime's CPU provider keeps float32 between its nodes, and would not overflow.
    """
    transformer = module(name)
    with torch.no_grad():
        for part, weight in transformer.named_parameters():
            weight.mul_(250.0 if LARGE.search(part) else 1.0)
    made = component(transformer)
    inputs = made.example_inputs(SIZES[0], seed=3)
    theirs = made(inputs)["out_hidden_states"]
    assert (half_output(made, inputs) - theirs).abs().max() < 2e-2 * theirs.abs().max()
    for scale in ("ATTENTION_SCALE", "FEED_FORWARD_SCALE"):
        with monkeypatch.context() as patch:
            patch.setattr(rotary_attention, scale, 1.0)
            assert not half_output(made, inputs).isfinite().all(), scale


def half_output(made: Component, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return what a float16 graph computes, in torch."""
    given = inputs | {"hidden_states": inputs["hidden_states"].half()}
    assert made.traced_call
    with float16_weights(made.module), made.trace_patch(), torch.no_grad():
        return made.traced_call(made.module, **given)[0].float()


def test_other_patches_are_refused() -> None:
    """A transformer with other patches is refused; the message names the field and both values."""
    other = diffusers.Lumina2Transformer2DModel(**LUMINA2, **LUMINA2_PLACES, patch_size=1)
    with pytest.raises(ExportRefusal, match=r"transformer/config.json: patch_size must be 2; got \[1\]"):
        component(other)
