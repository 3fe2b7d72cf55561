"""The tables of fields against the signatures of diffusers' and transformers' classes."""

from __future__ import annotations

import inspect
import json
from typing import Any

import diffusers
import pytest
import transformers
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

from tintype.service.models.templates.fields import IGNORED, SHAPING
from tintype.service.models.templates.keys import NoTemplate, shaping
from tintype.service.models.templates.language_fields import LANGUAGE_MODELS

pytestmark = pytest.mark.torch

# Kind of graph -> the class that reads its configuration; of a language model's, the part that is the model's own.
CLASSES: dict[str, Any] = {
    "clip": transformers.CLIPTextConfig,
    "clip_projected": transformers.CLIPTextConfig,
    "clip_vision": transformers.CLIPVisionConfig,
    "t5": transformers.T5Config,
    "masked_t5": transformers.T5Config,
    "umt5": transformers.UMT5Config,
    "chatglm": ChatGLMConfig,
    "gemma": transformers.Gemma2Config,
    "gemma_penultimate": transformers.Gemma2Config,
    "qwen3": transformers.Qwen3Config,
    "qwen3_penultimate": transformers.Qwen3Config,
    "qwen3_layers": transformers.Qwen3Config,
    "mistral_layers": transformers.MistralConfig,
    "ministral3_penultimate": transformers.Ministral3Config,
    "qwen3_vl": Qwen3VLTextConfig,
    "qwen3_vl_layers": Qwen3VLTextConfig,
    "qwen25_vl": Qwen2_5_VLTextConfig,
    "qwen25_vision": Qwen2_5_VLVisionConfig,
    "unet": diffusers.UNet2DConditionModel,
    "dreamlite": diffusers.DreamLiteUNetModel,
    "sd3": diffusers.SD3Transformer2DModel,
    "flux": diffusers.FluxTransformer2DModel,
    "flux2": diffusers.Flux2Transformer2DModel,
    "chroma": diffusers.ChromaTransformer2DModel,
    "aura_flow": diffusers.AuraFlowTransformer2DModel,
    "pixart": diffusers.PixArtTransformer2DModel,
    "sana": diffusers.SanaTransformer2DModel,
    "z_image": diffusers.ZImageTransformer2DModel,
    "lumina2": diffusers.Lumina2Transformer2DModel,
    "ovis_image": diffusers.OvisImageTransformer2DModel,
    "longcat_image": diffusers.LongCatImageTransformer2DModel,
    "ernie_image": diffusers.ErnieImageTransformer2DModel,
    "krea2": diffusers.Krea2Transformer2DModel,
    "qwen_image": diffusers.QwenImageTransformer2DModel,
    "controlnet": diffusers.ControlNetModel,
    "sd3_controlnet": diffusers.SD3ControlNetModel,
    "flux_controlnet": diffusers.FluxControlNetModel,
    "kl_encoder": diffusers.AutoencoderKL,
    "kl_decoder": diffusers.AutoencoderKL,
    "kl_flux2_encoder": diffusers.AutoencoderKLFlux2,
    "kl_flux2_decoder": diffusers.AutoencoderKLFlux2,
    "dc_encoder": diffusers.AutoencoderDC,
    "dc_decoder": diffusers.AutoencoderDC,
    "tiny_encoder": diffusers.AutoencoderTiny,
    "tiny_decoder": diffusers.AutoencoderTiny,
    "qwen_vae_encoder": diffusers.AutoencoderKLQwenImage,
    "qwen_vae_decoder": diffusers.AutoencoderKLQwenImage,
}
QWEN3 = ("qwen3", "qwen3_penultimate", "qwen3_layers")
# Kind of a language model with encoders of images -> the class of the whole configuration, which nests the model's.
WHOLE: dict[str, Any] = {
    "mistral_layers": transformers.Mistral3Config,
    "ministral3_penultimate": transformers.Mistral3Config,
    "qwen3_vl": transformers.Qwen3VLConfig,
    "qwen3_vl_layers": transformers.Qwen3VLConfig,
    "qwen25_vl": transformers.Qwen2_5_VLConfig,
}
SCALED = {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}
# Full attention in all layers, as by default, is the same as null.
SLIDING = {"layer_types": ["full_attention", "sliding_attention"]}
# Kind of graph -> fields that no graph has yet, each with a value that is refused. Their defaults have no effect.
REFUSED: dict[str, dict[str, Any]] = {
    **{kind: {"use_bidirectional_attention": True} | SCALED for kind in ("gemma", "gemma_penultimate")},
    **dict.fromkeys(QWEN3, SLIDING),
    "qwen25_vl": SLIDING | SCALED,
    # Qwen-Image-Layered has the last two.
    "qwen_image": dict.fromkeys(("guidance_embeds", "use_additional_t_cond", "use_layer3d_rope"), True),
}
# Kinds whose rotary places shape the graph; the vision tower's follow from other fields.
ROTARY = LANGUAGE_MODELS | {"gemma"}
# Kind of graph -> defaults that the model has, and not its configuration.
BUILT_IN = {"qwen25_vl": {"mrope_section": Qwen2_5_VLRotaryEmbedding(Qwen2_5_VLTextConfig()).mrope_section}}
# Kind of graph -> fields that published files have, although the class does not read them.
UNREAD = {
    "tiny_encoder": {"block_out_channels"},
    "tiny_decoder": {"block_out_channels"},
    "kl_flux2_encoder": {"force_upcast"},
    "kl_flux2_decoder": {"force_upcast"},
    "qwen_image": {"pooled_projection_dim"},
    "controlnet": {"sample_size"},
}


def fields_of(kind: str) -> dict[str, Any]:
    """Return the fields of a configuration with their defaults, flat: rotary places have fields of their own."""
    fields = (_parameters(WHOLE[kind]) if kind in WHOLE else {}) | _parameters(CLASSES[kind])
    fields.pop("text_config", None)
    if kind in ROTARY:
        del fields["rope_parameters"]
        fields |= _rotary(CLASSES[kind]().rope_parameters)
    return fields | BUILT_IN.get(kind, {})


def _parameters(of: Any) -> dict[str, Any]:
    parameters = inspect.signature(of.__init__).parameters
    return {name: each.default for name, each in parameters.items() if name not in ("self", "kwargs")}


def _rotary(rope: dict[str, Any]) -> dict[str, Any]:
    """Return the speed of rotary places, and their scale: null, or what the class has without repetitions."""
    repeated = {"rope_theta", "type", "max_position_embeddings"}
    scaled = rope["rope_type"] != "default"
    scale = {name: value for name, value in rope.items() if name not in repeated} if scaled else None
    return {"rope_theta": rope["rope_theta"], "rope_scaling": scale}


def test_every_kind_has_a_class() -> None:
    """No kind of graph is left out here."""
    assert CLASSES.keys() == SHAPING.keys()


@pytest.mark.parametrize("kind", CLASSES)
def test_every_field_is_known(kind: str) -> None:
    """Each field of the class shapes the graph, is ignored or refused: a field of a newer version is noticed."""
    known = SHAPING[kind].keys() | IGNORED[kind] | REFUSED.get(kind, {}).keys()
    assert fields_of(kind).keys() - known == set()


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in REFUSED.items() for field in fields])
def test_refused_fields(kind: str, field: str) -> None:
    """The class has the field; its default gives the usual graph, and another value is refused."""
    default = {field: fields_of(kind)[field]}
    assert shaping(kind, default) == shaping(kind, {})
    with pytest.raises(NoTemplate, match=f"{field} is not known"):
        shaping(kind, {field: REFUSED[kind][field]})


@pytest.mark.parametrize("kind", CLASSES)
def test_defaults(kind: str) -> None:
    """Absent fields have the class's default."""
    fields = fields_of(kind)
    differing = {
        name: (default, fields.get(name))
        for name, default in SHAPING[kind].items()
        if default != json.loads(json.dumps(fields.get(name, "absent")))
    }
    assert differing == {}


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(CLASSES[kind], transformers.PreTrainedConfig)])
def test_fields_of_every_configuration(kind: str) -> None:
    """What transformers writes for every model is ignored: nothing that a default configuration holds is unknown."""
    config = CLASSES[kind]()
    whole = WHOLE[kind](text_config=config) if kind in WHOLE else config
    assert shaping(kind, json.loads(whole.to_json_string(use_diff=False))) == shaping(kind, {})


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(CLASSES[kind], diffusers.ConfigMixin)])
def test_ignored_fields_of_diffusers_exist(kind: str) -> None:
    """The table holds no field that the class has no more."""
    assert IGNORED[kind] - fields_of(kind).keys() - UNREAD.get(kind, set()) == set()
