"""The key of a template: the kind of its graph, and the normalised fields of a configuration that shape it.

Spellings with the same meaning have the same key: tuples and lists, absent fields and defaults, `8` and `[8, 8, 8]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..files import ModelFileError
from .fields import IGNORED, SHAPING
from .language_fields import LANGUAGE, LANGUAGE_MODELS, VISION, flat_language

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class NoTemplate(ModelFileError):
    """A component has no template."""


# Class of a module -> kind of its graph. Those in PAIRS have two, by the component's suffix.
CLASSES = {
    "CLIPTextModel": "clip",
    "CLIPTextModelWithProjection": "clip_projected",
    "T5EncoderModel": "t5",
    "UMT5EncoderModel": "umt5",
    "Gemma2Model": "gemma",
    "Gemma2ForCausalLM": "gemma",
    "Qwen3Model": "qwen3",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3VLModel": "qwen3_vl",
    "Qwen3VLForConditionalGeneration": "qwen3_vl",
    "Mistral3ForConditionalGeneration": "mistral",
    "Mistral3Model": "ministral3",
    "UNet2DConditionModel": "unet",
    "SD3Transformer2DModel": "sd3",
    "FluxTransformer2DModel": "flux",
    "Flux2Transformer2DModel": "flux2",
    "ChromaTransformer2DModel": "chroma",
    "AuraFlowTransformer2DModel": "aura_flow",
    "PixArtTransformer2DModel": "pixart",
    "Transformer2DModel": "pixart",  # as the configurations of PixArt-Sigma name it; others have another `norm_type`
    "SanaTransformer2DModel": "sana",
    "CLIPVisionModelWithProjection": "clip_vision",
    "ControlNetModel": "controlnet",
    "SD3ControlNetModel": "sd3_controlnet",
    "FluxControlNetModel": "flux_controlnet",
    "ZImageTransformer2DModel": "z_image",
    "OvisImageTransformer2DModel": "ovis_image",
    "LongCatImageTransformer2DModel": "longcat_image",
    "ErnieImageTransformer2DModel": "ernie_image",
    "Krea2Transformer2DModel": "krea2",
    "DreamLiteUNetModel": "dreamlite",
    "ChatGLMModel": "chatglm",
    "Lumina2Transformer2DModel": "lumina2",
    "QwenImageTransformer2DModel": "qwen_image",
    "Qwen2_5_VLForConditionalGeneration": LANGUAGE,
    "Qwen2_5_VisionTransformerPretrainedModel": VISION,
}
PAIRS = {
    "AutoencoderKL": "kl",
    "AutoencoderKLFlux2": "kl_flux2",
    "AutoencoderDC": "dc",
    "AutoencoderTiny": "tiny",
    "AutoencoderKLQwenImage": "qwen_vae",
}
# Fields that hold a value for each level, or one value for all levels.
SPREAD = frozenset(
    {
        "only_cross_attention",
        "layers_per_block",
        "cross_attention_dim",
        "attention_head_dim",
        "encoder_block_types",
        "decoder_block_types",
        "decoder_norm_types",
        "decoder_act_fns",
    }
)
CROSS_ATTENTION = "CrossAttn"
# Characters of a field's value in a message.
MAX_SHOWN = 120
MAX_LEVELS = 100  # of a UNet; the largest published ones have 4


def kind_of(class_name: str, component: str, variant: str = "") -> str:
    """Return the kind of graph of a component: `vae_decoder` of an `AutoencoderKL` is a `kl_decoder`.

    `variant` chooses among the graphs of a text encoder, if there are several: `masked` or the layers that are read.

    Raises:
        NoTemplate: the class is not supported.
        ModelFileError: the component is not half of a VAE.
    """
    if class_name in PAIRS:
        half = component.removeprefix("vae_")
        if half not in ("encoder", "decoder"):
            raise ModelFileError(f"{component} must be vae_encoder or vae_decoder to be an {class_name}")
        return f"{PAIRS[class_name]}_{half}"
    if class_name not in CLASSES:
        raise NoTemplate(f"{component} is a {shown(class_name)}, which has no template")
    kind = CLASSES[class_name]
    found = next((each for each in (f"{variant}_{kind}", f"{kind}_{variant}", kind) if each in SHAPING), None)
    if found is None:
        raise NoTemplate(f"{component} is a {class_name}, which has no template for this family")
    return found


def shaping(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that shape a graph of this kind, normalised and sorted.

    Fields that the configuration lacks have the default of their class.

    Raises:
        NoTemplate: a field is neither known nor null, false or empty.
        ModelFileError: a field has a value of the wrong type.
    """
    known, ignored, config = SHAPING[kind], IGNORED[kind], _FLATTEN.get(kind, dict)(config)
    for field, value in config.items():
        if value and field not in known and field not in ignored and not field.startswith("_"):
            raise NoTemplate(f"{shown(field)} is not known for graphs of kind {kind}; got {shown(value)}")
    fields = {field: _listed(config.get(field, default)) for field, default in known.items()}
    fields |= {field: _collapsed(fields[field]) for field in SPREAD & fields.keys()}
    fields = _NORMALISE.get(kind, dict)(fields)
    return dict(sorted(fields.items()))


def shown(value: object) -> str:
    """Return a value for a one-line message, shortened."""
    text = value if isinstance(value, str) else repr(value)
    short = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    return short if short.isprintable() else ascii(short)[1:-1]


def _listed(value: Any) -> Any:
    """Return a value with lists in place of tuples."""
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value


def _collapsed(value: Any) -> Any:
    """Return the element of a list whose elements are equal; any other value unchanged."""
    if isinstance(value, list) and value and all(each == value[0] for each in value):
        return value[0]
    return value


def _controlnet(fields: dict[str, Any]) -> dict[str, Any]:
    """Write the depths of transformers as a list for each block; a block without attention has zeros."""
    down = _names(fields, "down_block_types")
    layers = _per_level(fields["layers_per_block"], down, "layers_per_block")
    depths = _per_level(fields["transformer_layers_per_block"], down, "transformer_layers_per_block")
    middle = CROSS_ATTENTION in str(fields["mid_block_type"])  # it has the depth of the last level
    reads = [CROSS_ATTENTION in name for name in down[:-1]] + [middle or CROSS_ATTENTION in down[-1]]
    written = [_depths(depth, count, reads=read) for depth, count, read in zip(depths, layers, reads, strict=True)]
    return fields | {"transformer_layers_per_block": written}


def _unet(fields: dict[str, Any]) -> dict[str, Any]:
    """Write the depths of transformers on the way up, too, as a list for each block."""
    down, up = (_names(fields, field) for field in ("down_block_types", "up_block_types"))
    layers = _per_level(fields["layers_per_block"], down, "layers_per_block")
    depths = _per_level(fields["transformer_layers_per_block"], down, "transformer_layers_per_block")
    upward = fields["reverse_transformer_layers_per_block"]
    upward = depths[::-1] if upward is None else _per_level(upward, up, "reverse_transformer_layers_per_block")
    return _controlnet(fields) | {
        "reverse_transformer_layers_per_block": [
            _depths(depth, count + 1, reads=CROSS_ATTENTION in name)
            for depth, count, name in zip(upward, layers[::-1], up, strict=True)
        ],
    }


def _names(fields: Mapping[str, Any], field: str) -> list[str]:
    """Return the names of a UNet's blocks."""
    value = fields[field]
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ModelFileError(f"{field} must be a list of names; got {shown(value)}")
    if len(value) > MAX_LEVELS:
        raise ModelFileError(f"{field} must have at most {MAX_LEVELS} entries; got {len(value)}")
    if len(value) != len(fields["down_block_types"]):
        raise ModelFileError(f"{field} must have {len(fields['down_block_types'])} entries; got {len(value)}")
    return value


def _per_level(value: Any, levels: list[str], field: str) -> list[Any]:
    """Return one value for each level."""
    values = value if isinstance(value, list) else [value] * len(levels)
    if len(values) != len(levels):
        raise ModelFileError(f"{field} must have {len(levels)} entries, as the blocks; got {shown(value)}")
    return values


def _depths(depth: Any, count: Any, *, reads: bool) -> list[Any]:
    """Return the depth of each transformer of a block with `count` layers."""
    if not isinstance(count, int) or not 0 < count < 100:
        raise ModelFileError(f"layers_per_block must be 1 to 99; got {shown(count)}")
    if not reads:
        return [0] * count
    return depth if isinstance(depth, list) else [depth] * count


def _dc_encoder(fields: dict[str, Any]) -> dict[str, Any]:
    """Name the way to shrink an image as `conv`, unless it is the only other one: the class takes any name."""
    other = fields["downsample_block_type"] != "pixel_unshuffle"
    return fields | ({"downsample_block_type": "conv"} if other else {})


def _out_as_in(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace null by the number of channels that the class takes for its output."""
    return fields | {"out_channels": fields["out_channels"] or fields["in_channels"]}


def _pixart(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace null by what the class derives from the size of its training images."""
    size = fields["sample_size"]
    if not isinstance(size, int):
        raise ModelFileError(f"sample_size must be a whole number; got {shown(size)}")
    if fields["use_additional_conditions"] is None:
        fields["use_additional_conditions"] = size == 128
    if fields["interpolation_scale"] is None:
        fields["interpolation_scale"] = max(size // 64, 1)
    return fields


def _sana(fields: dict[str, Any]) -> dict[str, Any]:
    """Without a scale there are no positions, and the size of the training images does not matter."""
    if fields["interpolation_scale"] is None:
        fields["sample_size"] = SHAPING["sana"]["sample_size"]
    return fields


def _gemma(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace the usual pattern of layers, every other one with a sliding window, by null."""
    types = fields["layer_types"]
    if isinstance(types, list) and types == [("sliding_attention", "full_attention")[n % 2] for n in range(len(types))]:
        fields["layer_types"] = None
    return fields


def _mistral(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace null by the width of a head that the class derives."""
    heads, width = fields["num_attention_heads"], fields["hidden_size"]
    if not fields["head_dim"] and all(type(each) is int and each > 0 for each in (heads, width)):
        return fields | {"head_dim": width // heads}
    return fields


_FLATTEN: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = dict.fromkeys(
    (*LANGUAGE_MODELS, "gemma"), flat_language
)
_NORMALISE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "unet": _unet,
    "controlnet": _controlnet,
    "dc_encoder": _dc_encoder,
    "flux": _out_as_in,
    "chroma": _out_as_in,
    "lumina2": _out_as_in,
    "pixart": _pixart,
    "sana": _sana,
    "gemma": _gemma,
    "gemma_penultimate": _gemma,
    "mistral_layers": _mistral,
}
