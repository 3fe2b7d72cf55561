"""The kinds of graphs that have templates: how a module is built from its configuration, and made a component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from tintype.service.models.templates.language_fields import LANGUAGE, VISION

from ..components import (
    autoencoders,
    controlnets,
    denoisers,
    flux,
    flux2,
    qwen_language,
    qwen_vision,
    text_encoders,
    z_image,
)
from ..components.language_models import language_model
from ..components.newer import chatglm, dreamlite, ernie_image, flux_like, krea2, qwen_image, qwen_vae
from ..components.tensor_specs import ExampleSize

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..components.component import Component

# Lengths as in `tracing.TRACED_SIZE`, but shorter. UNets halve their sides three times. An AutoencoderDC enlarges
# latents 32 times.
SMALL = ExampleSize(rows=2, height=8, width=12, tokens=5)
FOR_UNETS = ExampleSize(rows=2, height=16, width=24, tokens=5)
FOR_DC = ExampleSize(rows=2, height=3, width=5, tokens=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphKind:
    """How the graphs of one kind are made.

    - `part` is the attribute of a pipeline that holds the module, `build` makes the module of a configuration.
    - `components` returns the module's component or components, of which `position` is the wanted one.
    - `halves`: there is a float16 variant.
    """

    part: str
    build: Callable[..., torch.nn.Module]
    components: Callable[[Any, str], Component | tuple[Component, Component]]
    position: int = 0
    size: ExampleSize = SMALL
    halves: bool = True


def _text_encoder(model: Any, config: Any) -> Callable[..., torch.nn.Module]:
    return lambda **fields: model(config(**fields))


def _rotary_model(model: Any, config: Any) -> Callable[..., torch.nn.Module]:
    """Return a function that builds a language model, whose rotary places have a kind and perhaps a scale."""

    def build(rope_theta: float, rope_scaling: dict[str, Any] | None, **fields: Any) -> torch.nn.Module:
        rope = {"rope_type": "default", **(rope_scaling or {}), "rope_theta": rope_theta}
        module: torch.nn.Module = model(config(**fields, rope_parameters=rope))
        return module

    return build


_QWEN3_VL = _rotary_model(Qwen3VLTextModel, Qwen3VLTextConfig)
_QWEN3 = _text_encoder(transformers.Qwen3Model, transformers.Qwen3Config)


def _qwen_language(image_token_id: int, rope_theta: float, mrope_section: list[int], **fields: Any) -> torch.nn.Module:
    """Return Qwen2.5-VL, of which only the language model becomes a graph."""
    rope = {"rope_type": "default", "rope_theta": rope_theta, "mrope_section": mrope_section}
    config = transformers.Qwen2_5_VLConfig(
        text_config={**fields, "rope_parameters": rope}, vision_config={"depth": 1}, image_token_id=image_token_id
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _chatglm(**fields: Any) -> torch.nn.Module:
    return ChatGLMModel(ChatGLMConfig(**fields, original_rope=True), empty_init=False)


def _without_buffers(model: Any) -> Callable[..., torch.nn.Module]:
    """Return a function that builds a model whose buffers are all stored: SD3's table of positions takes 4 GB."""

    def build(**fields: Any) -> torch.nn.Module:
        with torch.device("meta"):
            module: torch.nn.Module = model(**fields)
        return module

    return build


def _pair(name: str, build: Any, components: Any, **options: Any) -> dict[str, GraphKind]:
    """Return the kinds of an autoencoder's two graphs."""
    names = (f"{name}_encoder", f"{name}_decoder")
    return {
        each: GraphKind(part="vae", build=build, components=components, position=position, **options)
        for position, each in enumerate(names)
    }


KINDS: dict[str, GraphKind] = {
    "clip": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.CLIPTextModel, transformers.CLIPTextConfig),
        components=text_encoders.clip,
    ),
    "clip_projected": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.CLIPTextModelWithProjection, transformers.CLIPTextConfig),
        components=text_encoders.clip,
    ),
    "t5": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.T5EncoderModel, transformers.T5Config),
        components=text_encoders.t5,
    ),
    "masked_t5": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.T5EncoderModel, transformers.T5Config),
        components=text_encoders.masked_t5,
    ),
    "gemma": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.Gemma2Model, transformers.Gemma2Config),
        components=text_encoders.gemma,
    ),
    "unet": GraphKind(part="unet", build=diffusers.UNet2DConditionModel, components=denoisers.unet, size=FOR_UNETS),
    "sd3": GraphKind(
        part="transformer", build=_without_buffers(diffusers.SD3Transformer2DModel), components=denoisers.sd3
    ),
    "flux": GraphKind(part="transformer", build=diffusers.FluxTransformer2DModel, components=flux.flux),
    "flux2": GraphKind(part="transformer", build=diffusers.Flux2Transformer2DModel, components=flux2.transformer),
    "umt5": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.UMT5EncoderModel, transformers.UMT5Config),
        components=text_encoders.umt5,
    ),
    "aura_flow": GraphKind(
        part="transformer", build=diffusers.AuraFlowTransformer2DModel, components=denoisers.aura_flow
    ),
    "chroma": GraphKind(part="transformer", build=diffusers.ChromaTransformer2DModel, components=flux.chroma),
    "pixart": GraphKind(part="transformer", build=diffusers.PixArtTransformer2DModel, components=denoisers.pixart),
    "sana": GraphKind(part="transformer", build=diffusers.SanaTransformer2DModel, components=denoisers.sana),
    "z_image": GraphKind(part="transformer", build=diffusers.ZImageTransformer2DModel, components=z_image.z_image),
    "lumina2": GraphKind(part="transformer", build=diffusers.Lumina2Transformer2DModel, components=z_image.lumina2),
    "ovis_image": GraphKind(
        part="transformer", build=diffusers.OvisImageTransformer2DModel, components=flux_like.ovis_image
    ),
    "longcat_image": GraphKind(
        part="transformer", build=diffusers.LongCatImageTransformer2DModel, components=flux_like.longcat_image
    ),
    "ernie_image": GraphKind(
        part="transformer", build=diffusers.ErnieImageTransformer2DModel, components=ernie_image.transformer
    ),
    "krea2": GraphKind(part="transformer", build=diffusers.Krea2Transformer2DModel, components=krea2.transformer),
    "dreamlite": GraphKind(part="unet", build=diffusers.DreamLiteUNetModel, components=dreamlite.unet, size=FOR_UNETS),
    "chatglm": GraphKind(part="text_encoder", build=_chatglm, components=chatglm.chatglm),
    **_pair("kl", diffusers.AutoencoderKL, autoencoders.kl),
    **_pair("kl_flux2", diffusers.AutoencoderKLFlux2, flux2.autoencoder, halves=False),
    **_pair("dc", diffusers.AutoencoderDC, autoencoders.dc, size=FOR_DC, halves=False),
    **_pair("tiny", diffusers.AutoencoderTiny, autoencoders.tiny),
    "clip_vision": GraphKind(
        part="image_encoder",
        build=_text_encoder(transformers.CLIPVisionModelWithProjection, transformers.CLIPVisionConfig),
        components=controlnets.clip_vision,
    ),
    "controlnet": GraphKind(
        part="controlnet", build=diffusers.ControlNetModel, components=controlnets.controlnet, size=FOR_UNETS
    ),
    "sd3_controlnet": GraphKind(
        part="controlnet",
        build=_without_buffers(diffusers.SD3ControlNetModel),
        components=controlnets.sd3_controlnet,
    ),
    "flux_controlnet": GraphKind(
        part="controlnet", build=diffusers.FluxControlNetModel, components=controlnets.flux_controlnet
    ),
    "qwen_image": GraphKind(
        part="transformer", build=diffusers.QwenImageTransformer2DModel, components=qwen_image.transformer
    ),
    "gemma_penultimate": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.Gemma2Model, transformers.Gemma2Config),
        components=text_encoders.penultimate_gemma,
    ),
    "qwen3": GraphKind(part="text_encoder", build=_QWEN3, components=language_model(-1)),
    "qwen3_penultimate": GraphKind(part="text_encoder", build=_QWEN3, components=language_model(-2)),
    "qwen3_layers": GraphKind(part="text_encoder", build=_QWEN3, components=language_model(9, 18, 27)),
    "mistral_layers": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.MistralModel, transformers.MistralConfig),
        components=language_model(10, 20, 30),
    ),
    "ministral3_penultimate": GraphKind(
        part="text_encoder",
        build=_rotary_model(transformers.Ministral3Model, transformers.Ministral3Config),
        components=language_model(-2),
    ),
    "qwen3_vl": GraphKind(part="text_encoder", build=_QWEN3_VL, components=language_model(-1)),
    "qwen3_vl_layers": GraphKind(part="text_encoder", build=_QWEN3_VL, components=language_model(*krea2.LAYERS)),
    LANGUAGE: GraphKind(part="text_encoder", build=_qwen_language, components=qwen_language.language),
    VISION: GraphKind(
        part="text_encoder",
        build=_text_encoder(Qwen2_5_VisionTransformerPretrainedModel, Qwen2_5_VLVisionConfig),
        components=lambda pipeline, _: qwen_vision.vision(pipeline.text_encoder),
    ),
    **_pair("qwen_vae", diffusers.AutoencoderKLQwenImage, qwen_vae.autoencoder),
}
