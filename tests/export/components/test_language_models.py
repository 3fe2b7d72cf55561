"""Language models as text encoders, against transformers: layers, masks on either side, float16."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.export.errors import ExportRefusal
from tintype.export.graph.session import GraphSession

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

TOKENS = 701
WIDTHS: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 36,
    "intermediate_size": 52,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
HEADS = {"head_dim": 12}
VISION: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16}
SECTIONS = {"rope_type": "default", "mrope_section": [2, 2, 2]}


def _build(name: str) -> Any:
    import transformers  # noqa: PLC0415

    match name:
        case "qwen3":
            return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**WIDTHS, **HEADS))
        case "mistral":
            text = transformers.MistralConfig(**WIDTHS, **HEADS, sliding_window=None, rope_theta=1e9)
            vision = VISION | {"num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 64, "patch_size": 16}
            config = transformers.Mistral3Config(
                text_config=text, vision_config=transformers.PixtralVisionConfig(**vision)
            )
            return transformers.Mistral3ForConditionalGeneration(config)
        case "ministral3":
            return transformers.Ministral3Model(transformers.Ministral3Config(**WIDTHS, **HEADS))
        case "qwen25_vl":
            text = WIDTHS | {"hidden_size": 48, "rope_scaling": SECTIONS | {"type": "mrope"}}
            vision = VISION | {"depth": 1, "num_heads": 1, "out_hidden_size": 48}
            config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
            return transformers.Qwen2_5_VLForConditionalGeneration(config)
        case _:
            text = WIDTHS | HEADS | {"rope_scaling": SECTIONS | {"mrope_interleaved": True}}
            vision = VISION | {"depth": 1, "num_heads": 1, "out_hidden_size": 36, "deepstack_visual_indexes": [0]}
            config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision)
            return transformers.Qwen3VLForConditionalGeneration(config)


def random_model(name: str) -> Any:
    """Return a model whose layers and masks matter: with transformers' weights, states hardly differ."""
    import torch  # noqa: PLC0415

    torch.manual_seed(1)
    model = _build(name).eval().requires_grad_(False)  # noqa: FBT003
    for parameter, value in model.named_parameters():
        if value.ndim == 1:
            value.add_(0.1 * torch.randn_like(value))
        elif "proj" in parameter or "embed_tokens" in parameter:
            value.mul_(12 if "proj" in parameter else 20)
    return model


def component_of(model: Any, *layers: int) -> Any:
    from tintype.export.components.language_models import language_model  # noqa: PLC0415

    return language_model(*layers)(SimpleNamespace(text_encoder=model), "text_encoder")


def graph_of(component: Any, path: Path, *, half: bool = False) -> GraphSession:
    """Trace a component with all checks, and write it to `path`."""
    from tintype.export.graph import weights  # noqa: PLC0415
    from tintype.export.graph.component_graph import ComponentGraph  # noqa: PLC0415
    from tintype.export.graph.tracing import float16_weights  # noqa: PLC0415

    if half:
        with float16_weights(component.module):
            weights.write(ComponentGraph.trace(component, half=True).model, component.module.state_dict(), path)
    else:
        weights.write(ComponentGraph.trace(component, half=False).model, component.module.state_dict(), path)
    return GraphSession(path)


def prompts(rows: int, tokens: int) -> dict[str, Any]:
    """Return ids and a mask: the first row is full, the second padded on the right, the third on the left."""
    import torch  # noqa: PLC0415

    mask = torch.ones(rows, tokens, dtype=torch.long)
    mask[1:2, tokens // 4 :] = 0
    mask[2:3, : tokens * 3 // 4] = 0
    return {"input_ids": torch.randint(0, TOKENS, (rows, tokens)), "attention_mask": mask}


CASES = [
    ("qwen3", (-2,)),
    ("qwen3", (1, 2, 3)),
    ("qwen3", (0, -1)),
    ("mistral", (1, 3)),
    ("ministral3", (-2,)),
    ("qwen25_vl", (-1,)),
    ("qwen3_vl", (1, 2, -1)),
]


@pytest.mark.parametrize(("name", "layers"), CASES)
def test_layers_equal_those_of_transformers(name: str, layers: tuple[int, ...], tmp_path: Path) -> None:
    """At two sizes, with padding on either side: the states at padding too, which FLUX.2 klein's denoiser reads."""
    component = component_of(random_model(name), *layers)
    graph = graph_of(component, tmp_path / "model.onnx")
    for rows, tokens in ((3, 37), (1, 5)):
        inputs = prompts(rows, tokens)
        want = component(inputs)["prompt_embeds"].numpy()
        got = graph(**{key: value.numpy() for key, value in inputs.items()})["prompt_embeds"]
        assert got.shape == want.shape == (rows, tokens, len(layers) * component.module.config.hidden_size)
        assert np.abs(got - want).max() < 2e-5 + 2e-6 * np.abs(want).max()


def test_prompts_with_images_equal_those_of_transformers(tmp_path: Path) -> None:
    """Tokens of images have their embeddings, and places of three axes."""
    from tintype.export.components.qwen_language import language  # noqa: PLC0415
    from tintype.export.components.tensor_specs import ExampleSize  # noqa: PLC0415

    model = random_model("qwen25_vl")
    model.config.image_token_id = 5
    component = language(SimpleNamespace(text_encoder=model), "text_encoder")
    graph = graph_of(component, tmp_path / "model.onnx")
    for size in (ExampleSize(3, 8, 8, 21), ExampleSize(1, 8, 8, 40)):
        inputs = component.example_inputs(size, seed=3)
        assert (inputs["input_ids"] == 5).sum() > 1
        assert (inputs["position_ids"][:, 1] != inputs["position_ids"][:, 2]).any()
        want = component(inputs)["prompt_embeds"].numpy()
        got = graph(**{key: value.numpy() for key, value in inputs.items()})["prompt_embeds"]
        assert np.abs(got - want).max() < 2e-5


def test_speeds_turn_with_the_axes_of_the_model() -> None:
    """In blocks for Qwen2.5-VL, by turns for Qwen3-VL."""
    from tintype.export.components.language_models import core_of, position_axes  # noqa: PLC0415

    assert position_axes(core_of(_build("qwen25_vl"))) == (0, 0, 1, 1, 2, 2)
    assert position_axes(core_of(_build("qwen3_vl"))) == (0, 1, 2, 0, 1, 2)


@pytest.mark.parametrize(("name", "layers"), [("qwen3", (1, 2, 3)), ("mistral", (1, 3)), ("qwen25_vl", (-1,))])
def test_float16_graphs_are_near(name: str, layers: tuple[int, ...], tmp_path: Path) -> None:
    """The differences are those of float16's rounding."""
    component = component_of(random_model(name), *layers)
    inputs = prompts(3, 37)
    want = component(inputs)["prompt_embeds"].numpy()
    graph = graph_of(component, tmp_path / "model.onnx", half=True)
    got = graph(**{key: value.numpy() for key, value in inputs.items()})["prompt_embeds"]
    assert 1e-5 < np.abs(got - want).max() / np.abs(want).max() < 1e-2


def test_states_may_exceed_float16(tmp_path: Path) -> None:
    """Float16 graphs hold states beyond 65,504, which models that are trained in bfloat16 may have."""
    import torch  # noqa: PLC0415

    model = random_model("qwen3")
    model.model.layers[0].mlp.down_proj.weight.mul_(3e4)
    model.model.layers[0].mlp.gate_proj.weight.mul_(2)
    component = component_of(model, 2)
    inputs = {key: value[:1] for key, value in prompts(1, 9).items()}
    want = component(inputs)["prompt_embeds"].numpy()
    assert np.abs(want).max() > 2 * torch.finfo(torch.float16).max
    graph = graph_of(component, tmp_path / "model.onnx", half=True)
    got = graph(**{key: value.numpy() for key, value in inputs.items()})["prompt_embeds"]
    assert np.abs(got - want).max() < 1e-2 * np.abs(want).max()


def test_layers_after_the_last_one_are_left_out() -> None:
    """Their weights, the last norm and the head are not in the component, and the model itself keeps them."""
    model = random_model("qwen3")
    names = set(component_of(model, 1, 2).module.state_dict())
    assert {name.split(".")[1] for name in names if name.startswith("layers.")} == {"0", "1"}
    assert not any(name.startswith(("norm.", "lm_head")) for name in names)
    assert len(model.model.layers) == 4
    assert model.model.norm.weight.numel() == 36


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"num_hidden_layers": 2}, "num_hidden_layers must be at least 3; got 2"),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "sliding window"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type must be one of .*; got 'dynamic'"),
    ],
)
def test_models_that_cannot_be_read_are_refused(change: dict[str, Any], why: str) -> None:
    """The message names the field of the configuration."""
    import transformers  # noqa: PLC0415

    model = transformers.Qwen3Model(transformers.Qwen3Config(**WIDTHS | HEADS | change))
    with pytest.raises(ExportRefusal, match=why):
        component_of(model, 3)
