"""Templates of small pipelines: equal to ordinary exports, without weights, and independent of their values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from tests.support.export.filled_templates import write_filled
from tintype.export.components import autoencoders
from tintype.export.components.component import Component
from tintype.export.components.tensor_specs import TensorSpec
from tintype.export.errors import VerificationError
from tintype.export.families import family_of
from tintype.export.graph.component_graph import ComponentGraph
from tintype.export.graph.session import GraphSession
from tintype.export.graph.tracing import float16_weights
from tintype.export.pipeline import PipelineReader
from tintype.export.source import find_source
from tintype.export.templates import kinds, making, weightless
from tintype.export.templates.folder import write
from tintype.export.templates.making import GraphConfig, make
from tintype.export.templates.pipelines import graph_configs
from tintype.export.verify import SIZES
from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.catalogue import find, read_index
from tintype.service.models.templates.keys import kind_of, shaping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tintype.service.models.templates.catalogue import Template

pytestmark = pytest.mark.torch

PLAIN = Variant()
# Family -> the components whose graphs are compared; `comparison.test_published` compares images of all families.
COMPARED = {
    "sd15": ("text_encoder", "unet", "vae_encoder", "vae_decoder"),
    "sdxl": ("text_encoder_2", "unet"),
    "sd35": ("text_encoder_3", "transformer"),
    "flux_dev": ("transformer",),
    "flux2_klein": ("text_encoder",),
    "flux2_dev": ("text_encoder",),
    "lumina2": ("text_encoder",),
    "pixart_sigma": ("text_encoder", "transformer"),
    "sana": ("text_encoder", "transformer", "vae_encoder", "vae_decoder"),
}

# Family -> the components that have the other kinds of graphs.
OTHERS = {
    "kolors": ("text_encoder",),
    "flux2_klein": ("transformer", "vae_encoder", "vae_decoder"),
    "chroma": ("transformer",),
    "z_image": ("text_encoder", "transformer"),
    "lumina2": ("transformer",),
    "aura_flow": ("text_encoder", "transformer"),
    "ovis_image": ("text_encoder", "transformer"),
    "longcat_image": ("text_encoder", "transformer"),
    "ernie_image": ("text_encoder", "transformer"),
    "krea2": ("text_encoder", "transformer", "vae_encoder", "vae_decoder"),
    "dreamlite": ("text_encoder", "unet", "vae_encoder", "vae_decoder"),
    "qwen_image_edit": ("vision_encoder", "transformer"),
}
# Kinds of graphs beside pipelines -> small configurations.
BESIDE: dict[str, dict[str, Any]] = {
    "controlnet": {
        "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "conditioning_embedding_out_channels": [8, 8, 8, 8],
    },
    "sd3_controlnet": {
        "num_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 16,
        "pos_embed_max_size": 16,
    },
    "flux_controlnet": {
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "pooled_projection_dim": 16,
        "axes_dims_rope": [4, 2, 2],
    },
    "clip_vision": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "projection_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
}
CLIP = ("clip", "clip_projected")
# Adapters change denoisers and CLIP alone.
DENOISERS = (
    *("unet", "dreamlite", "sd3", "flux", "flux2", "chroma", "aura_flow", "pixart", "sana", "z_image", "lumina2"),
    *("ovis_image", "longcat_image", "ernie_image", "krea2", "qwen_image"),
)
# Linear attention divides by sums that float16 cannot hold, and the configuration of FLUX.2's VAE asks for float32.
FLOAT32 = ("dc_encoder", "dc_decoder", "kl_flux2_encoder", "kl_flux2_decoder")


@pytest.fixture(scope="module")
def templates(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one folder with a template of every compared component."""
    return write_made(configs_of(COMPARED, pipelines), tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="module")
def every_kind(
    templates: Path, pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Template]:
    """Return a template of every kind."""
    configs = configs_of(OTHERS, pipelines)
    configs |= {kind: GraphConfig(kind=kind, fields=shaping(kind, fields)) for kind, fields in BESIDE.items()}
    others = write_made(configs, tmp_path_factory.mktemp("others"))
    return {template.kind: template for template in (*read_index(templates), *read_index(others))}


def configs_of(components: Mapping[str, Sequence[str]], pipelines: Callable[[str], Path]) -> dict[str, GraphConfig]:
    """Return what the templates of some components of families are made from, by the templates' names."""
    return {
        name: config
        for family, wanted in components.items()
        for name, (component, config) in graph_configs(pipelines(family)).items()
        if component in wanted
    }


def write_made(configs: Mapping[str, GraphConfig], out: Path) -> Path:
    """Make templates in a folder, and return it."""
    # One number is enough here: the comparison with exports would find a number that leaked.
    write(out, {name: make(config, making.NUMBERS[:1]) for name, config in configs.items()})
    return out


def components_of(folder: Path, part: str) -> dict[str, Component]:
    """Return the components of a part of a pipeline, with its weights, by name."""
    from tintype.export.components import registry  # noqa: PLC0415

    source = find_source(str(folder))
    pipeline = PipelineReader(source).read_whole()
    return {component.folder: component for component in registry.components(pipeline, source.family, part)}


@pytest.mark.parametrize("family", COMPARED)
def test_filled_templates_equal_exports_exactly(
    family: str, templates: Path, pipelines: Callable[[str], Path], exported: Callable[..., Path], tmp_path: Path
) -> None:
    """A template, filled with the weights of the files, gives the answer of the exported graph to the last bit."""
    folder = pipelines(family)
    index = json.loads((folder / "model_index.json").read_text())
    for name in COMPARED[family]:
        part = "vae" if name.startswith("vae") else name
        components = components_of(folder, part)
        config = json.loads((folder / part / "config.json").read_text())
        variants = {encoder.encoder: encoder.variant for encoder in family_of(index).served.text_encoders}
        kind = kind_of(index[part][1], name, variants.get(name, ""))
        template = find(kind, config, templates)
        tensors = {key: value.numpy() for key, value in components[name].module.state_dict().items()}
        graph = GraphSession(write_filled(template.read(PLAIN), tensors, tmp_path / f"{name}.onnx"))
        reference = GraphSession(exported(family) / name / "model.onnx")
        assert graph.inputs == reference.inputs
        inputs = {key: value.numpy() for key, value in components[name].example_inputs(SIZES[0]).items()}
        for key, value in reference(**inputs).items():
            np.testing.assert_array_equal(graph(**inputs)[key], value)


@pytest.mark.parametrize("half", [False, True])
def test_graphs_do_not_depend_on_how_they_are_traced(half: bool, pipelines: Callable[[str], Path]) -> None:  # noqa: FBT001
    """The nodes equal those of a trace with weights, products and the usual size: only equal weights stay apart."""
    folder = pipelines("sdxl")
    components = components_of(folder, "unet")
    config = next(config for component, config in graph_configs(folder).values() if component == "unet")
    with float16_weights(components["unet"].module) if half else torch.no_grad(), torch.no_grad():
        for number, parameter in enumerate(components["unet"].module.parameters()):
            parameter.fill_(number * 1e-3)  # no two are equal, so that none are merged
        expected = ComponentGraph.trace(components["unet"], half=half).with_inputs(adapters=True)
    made = dict(make(config, making.NUMBERS[:1]).variants)[Variant(half, adapters=True)]
    assert list(onnx.load_from_string(made).graph.node) == list(expected.graph.node)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_variants(kind: str, every_kind: Mapping[str, Template]) -> None:
    """There are float16 variants, and variants with adapters, where they apply; the inputs say so."""
    template = every_kind[kind]
    halves = (False,) if kind in FLOAT32 else (False, True)
    adapters = (False, True) if kind in (*CLIP, *DENOISERS) else (False,)
    assert [each.variant for each in template.variants] == [Variant(half, a) for half in halves for a in adapters]
    for variant in (each.variant for each in template.variants):
        graph = onnx.load_from_string(template.read(variant)).graph
        names = {entry.name for entry in graph.input}
        assert any(name.startswith("lora.") for name in names) == variant.adapters
        assert ("embeddings" in names) == (kind in CLIP)
        weights = [tensor for tensor in graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
        assert (TensorProto.FLOAT16 in {tensor.data_type for tensor in weights}) == variant.half
        assert template.tensors == len(weights)


def test_weights_have_no_numbers() -> None:
    """A weight is a name, a shape and a type; its place is given when the template is filled."""
    made = make(GraphConfig(kind="tiny_decoder", fields=shaping("tiny_decoder", {})), making.NUMBERS[:1])
    graph = onnx.load_from_string(dict(made.variants)[PLAIN]).graph
    for tensor in graph.initializer:
        assert tensor.data_location == TensorProto.EXTERNAL
        assert [(entry.key, entry.value) for entry in tensor.external_data] == [("location", "weights")]
        assert not tensor.raw_data
    assert made.parameters == 1_222_531
    assert made.tensors == 67


class _Leaking(torch.nn.Module):
    """A module whose graph holds a constant that depends on a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(self.weight.sum())


def test_a_value_that_leaks_is_found() -> None:
    """A graph that holds a number from a weight is refused, with the node that depends on it."""
    component = Component(
        folder="leaking",
        module=_Leaking(),
        call=lambda module, sample: (module(sample),),
        inputs={"sample": TensorSpec(("batch_size", 4))},
        outputs={"out": TensorSpec(("batch_size", 4))},
    )
    with pytest.raises(VerificationError, match="leaking: the graph holds a value of a weight: /module/Constant"):
        making._trace(component, kinds.SMALL, making.NUMBERS, half=False)


def test_torch_is_as_before() -> None:
    """After a trace, products, convolutions and initial weights are computed as usual."""
    make_plain("tiny_encoder", shaping("tiny_encoder", {}))
    x = torch.ones(2, 2)
    assert float((x @ x)[0, 0]) == 2
    assert float(torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))) == 9
    assert torch.nn.Linear(8, 8).weight.std() > 0


def test_tied_weights_stay_one() -> None:
    """A tensor with two names is one weight, under its first name, as in T5."""
    fields = shaping("t5", {"num_layers": 1, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2, "vocab_size": 10})
    component = making.component_of(GraphConfig(kind="t5", fields=fields))
    with weightless.stored_tensors_as(component.module, 0.5):
        tied = component.module.shared.weight, component.module.encoder.embed_tokens.weight
        assert tied[0] is tied[1]
        assert tied[0].stride() == (0, 0)
    names = {tensor.name for tensor in onnx.load_from_string(make_plain("t5", fields)).graph.initializer}
    assert "shared.weight" in names
    assert "encoder.embed_tokens.weight" not in names


def make_plain(kind: str, fields: dict[str, Any]) -> bytes:
    return dict(make(GraphConfig(kind=kind, fields=fields), making.NUMBERS[:1]).variants)[PLAIN]


@pytest.mark.parametrize("name", ["tiny_encoder", "tiny_decoder"])
def test_tiny_autoencoder_equals_diffusers(name: str, tmp_path: Path) -> None:
    """TAESD as a template, filled with random weights, equals diffusers' AutoencoderTiny."""
    from types import SimpleNamespace  # noqa: PLC0415

    import diffusers  # noqa: PLC0415

    torch.manual_seed(0)
    vae = diffusers.AutoencoderTiny(latent_channels=16).eval()
    component = autoencoders.tiny(SimpleNamespace(vae=vae), "vae")[name == "tiny_decoder"]
    tensors = {key: value.numpy() for key, value in vae.state_dict().items()}
    made = make_plain(name, shaping(name, dict(vae.config)))
    graph = GraphSession(write_filled(made, tensors, tmp_path / "tiny.onnx"))
    inputs = component.example_inputs(SIZES[0])
    (expected,) = component(inputs).values()
    (found,) = graph(**{key: value.numpy() for key, value in inputs.items()}).values()
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5 * float(expected.abs().max()))
