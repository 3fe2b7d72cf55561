"""Configurations of language models in all their spellings, and the tensors that graphs do not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.small_template import write_stored
from tintype.service.models.files import ModelFileError
from tintype.service.models.templates.catalogue import installed
from tintype.service.models.templates.keys import NoTemplate, kind_of, shaping
from tintype.service.models.templates.language_fields import unread_tensors
from tintype.service.models.weights.linking import link
from tintype.service.models.weights.pieces import ComponentWeights
from tintype.service.models.weights.tensor_files import TensorFiles

if TYPE_CHECKING:
    from pathlib import Path

QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "max_position_embeddings": 40960,
    "max_window_layers": 36,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
MISTRAL: dict[str, Any] = {
    "head_dim": 128,
    "hidden_size": 5120,
    "intermediate_size": 32768,
    "model_type": "mistral",
    "num_hidden_layers": 40,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000000.0,
    "sliding_window": None,
    "vocab_size": 131072,
}
# As the repository of Qwen3-VL-4B-Instruct has them, without its image encoder.
QWEN3_VL: dict[str, Any] = {
    "image_token_id": 151655,
    "text_config": {
        "attention_bias": False,
        "head_dim": 128,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "vocab_size": 151936,
    },
    "video_token_id": 151656,
    "vision_config": {"depth": 24},
    "vision_start_token_id": 151652,
}
MINISTRAL3: dict[str, Any] = {
    "text_config": {
        "hidden_size": 3072,
        "intermediate_size": 9216,
        "model_type": "ministral3",
        "num_hidden_layers": 26,
        "rope_parameters": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 16.0,
            "llama_4_scaling_beta": 0.1,
            "max_position_embeddings": 262144,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 16384,
            "rope_theta": 1000000.0,
            "type": "yarn",
        },
    },
    "spatial_merge_size": 2,
    "vision_config": {"hidden_size": 1024},
}


def names_of(kind: str, config: dict[str, Any]) -> list[str]:
    """Return the installed templates of a configuration."""
    return [each.name for each in installed() if each.kind == kind and each.config == shaping(kind, config)]


@pytest.mark.parametrize(
    ("kind", "config", "name"),
    [
        ("qwen3_penultimate", QWEN3, "qwen3-4b-penultimate"),
        ("qwen3_layers", QWEN3, "qwen3-4b-layers"),
        ("qwen3_layers", QWEN3 | {"hidden_size": 4096, "intermediate_size": 12288}, "qwen3-8b-layers"),
        ("mistral_layers", {"text_config": MISTRAL, "vision_config": {"depth": 3}}, "mistral-small-3-layers"),
        ("qwen3_vl_layers", QWEN3_VL, "qwen3-vl-4b-layers"),
        ("ministral3_penultimate", MINISTRAL3, "ministral-3-3b-penultimate"),
    ],
)
def test_published_configurations_have_templates(kind: str, config: dict[str, Any], name: str) -> None:
    """As they are published, with fields that no graph depends on."""
    assert names_of(kind, config) == [name]


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": None, "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 1000000}, "layer_types": ["full_attention"] * 36},
        {"rope_scaling": {"type": "default"}},
    ],
)
def test_spellings_of_rotary_positions_are_equal(rope: dict[str, Any]) -> None:
    """As files of transformers 4 and 5 have them; scaled positions are another graph."""
    kind = "qwen3_layers"
    assert shaping(kind, QWEN3 | rope) == shaping(kind, QWEN3)
    scaled = QWEN3 | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
    assert shaping(kind, scaled)["rope_scaling"] == {"factor": 4.0, "rope_type": "yarn"}


def test_layers_with_a_window_are_refused() -> None:
    """The message names the field."""
    with pytest.raises(NoTemplate, match="layer_types is not known for graphs of kind qwen3_layers"):
        shaping("qwen3_layers", QWEN3 | {"layer_types": ["sliding_attention"] * 36})


@pytest.mark.parametrize(
    ("class_name", "variant", "kind"),
    [
        ("Qwen3ForCausalLM", "penultimate", "qwen3_penultimate"),
        ("Qwen3Model", "layers", "qwen3_layers"),
        ("Qwen3Model", "", "qwen3"),
        ("Mistral3ForConditionalGeneration", "layers", "mistral_layers"),
        ("Mistral3Model", "penultimate", "ministral3_penultimate"),
        ("Qwen3VLModel", "layers", "qwen3_vl_layers"),
        ("Qwen3VLForConditionalGeneration", "", "qwen3_vl"),
        ("Gemma2Model", "penultimate", "gemma_penultimate"),
        ("Gemma2Model", "", "gemma"),
        ("CLIPTextModel", "penultimate", "clip"),
    ],
)
def test_families_choose_the_layers(class_name: str, variant: str, kind: str) -> None:
    """A class has one kind of graph for each choice of layers; one that always returns them has one for all."""
    assert kind_of(class_name, "text_encoder", variant) == kind


def test_a_class_without_the_layers_of_a_family_is_refused() -> None:
    """The message names the component and the class."""
    message = "text_encoder is a Mistral3ForConditionalGeneration, which has no template for this family"
    with pytest.raises(NoTemplate, match=message):
        kind_of("Mistral3ForConditionalGeneration", "text_encoder")


READ = ("embed_tokens.weight", "layers.0.mlp.up_proj.weight", "layers.1.mlp.up_proj.weight")
ROOTS = ("", "model.", "language_model.model.", "model.language_model.")


def weights(path: Path, root: str, *more: str) -> tuple[TensorFiles, ComponentWeights]:
    tensors = {name: ("F32", np.zeros((2, 3), np.float32)) for name in (*(root + name for name in READ), *more)}
    file = write_stored(path / "model.safetensors", tensors)
    return TensorFiles([file]), ComponentWeights((file,))


@pytest.mark.parametrize("root", ROOTS)
def test_later_layers_heads_and_image_encoders_may_be_in_the_file(root: str, tmp_path: Path) -> None:
    """Under each prefix that published files have; the tensors that are read are found under it."""
    later = (f"{root}layers.2.mlp.up_proj.weight", f"{root}layers.10.mlp.up_proj.weight", f"{root}norm.weight")
    others = ("lm_head.weight", "visual.blocks.0.weight", "vision_tower.layers.0.weight", "multi_modal_projector.x")
    files, component = weights(tmp_path, root, *later, *others, "model.vision_tower.layers.0.weight")
    links = link(dict.fromkeys(READ, (2, 3)), files, component, unread_tensors(READ, 11))
    assert [each.pieces[0].name for each in links] == [root + name for name in READ]


def test_unknown_tensors_of_layers_that_are_read_are_refused(tmp_path: Path) -> None:
    """They would change the result of the model."""
    files, component = weights(tmp_path, "model.", "model.layers.1.mlp.extra.weight")
    with pytest.raises(ModelFileError, match=r"unknown: model\.layers\.1\.mlp\.extra\.weight"):
        link(dict.fromkeys(READ, (2, 3)), files, component, unread_tensors(READ, 11))


def test_a_graph_with_all_layers_reads_the_last_norm() -> None:
    """Only graphs of earlier layers lack it."""
    assert "norm." in unread_tensors(READ, 2)
    assert "norm." not in unread_tensors((*READ, "norm.weight"), 2)
    assert "layers.2." not in unread_tensors(READ, 2)
