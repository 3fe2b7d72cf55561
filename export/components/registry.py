"""The function that makes the components of each module class; a module becomes one graph, an autoencoder two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ExportRefusal
from . import autoencoders, denoisers, flux, flux2, qwen_language, text_encoders, z_image
from .language_models import language_model
from .newer import chatglm, dreamlite, ernie_image, flux_like, krea2, qwen_image, qwen_vae

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..families import Family
    from .component import Component

MAKERS: dict[str, Callable[[Any, str], Component | tuple[Component, Component]]] = {
    "CLIPTextModel": text_encoders.clip,
    "CLIPTextModelWithProjection": text_encoders.clip,
    "T5EncoderModel": text_encoders.t5,
    "T5EncoderModel with a mask": text_encoders.masked_t5,
    "UMT5EncoderModel": text_encoders.umt5,
    "Gemma2Model": text_encoders.gemma,
    "ChatGLMModel": chatglm.chatglm,
    "Qwen3 last layer": language_model(-1),
    "Gemma2 penultimate": text_encoders.penultimate_gemma,
    "Qwen3-VL last layer": language_model(-1),
    "Qwen3-VL layers of Krea 2": language_model(*krea2.LAYERS),
    "Qwen3 penultimate": language_model(-2),
    "Qwen3 layers 9, 18, 27": language_model(9, 18, 27),
    "Mistral layers 10, 20, 30": language_model(10, 20, 30),
    "Ministral3 penultimate": language_model(-2),
    "UNet2DConditionModel": denoisers.unet,
    "SD3Transformer2DModel": denoisers.sd3,
    "FluxTransformer2DModel": flux.flux,
    "Flux2Transformer2DModel": flux2.transformer,
    "ChromaTransformer2DModel": flux.chroma,
    "AuraFlowTransformer2DModel": denoisers.aura_flow,
    "PixArtTransformer2DModel": denoisers.pixart,
    "SanaTransformer2DModel": denoisers.sana,
    "OvisImageTransformer2DModel": flux_like.ovis_image,
    "LongCatImageTransformer2DModel": flux_like.longcat_image,
    "ErnieImageTransformer2DModel": ernie_image.transformer,
    "Krea2Transformer2DModel": krea2.transformer,
    "DreamLiteUNetModel": dreamlite.unet,
    "ZImageTransformer2DModel": z_image.z_image,
    "Lumina2Transformer2DModel": z_image.lumina2,
    "AutoencoderKL": autoencoders.kl,
    "AutoencoderKLFlux2": flux2.autoencoder,
    "AutoencoderDC": autoencoders.dc,
    "AutoencoderTiny": autoencoders.tiny,
    "Qwen2_5_VLForConditionalGeneration": qwen_language.language,
    "Qwen2_5_VLForConditionalGeneration with vision": qwen_language.language_and_vision,
    "QwenImageTransformer2DModel": qwen_image.transformer,
    "AutoencoderKLQwenImage": qwen_vae.autoencoder,
}


def components(pipeline: Any, family: Family, part: str) -> tuple[Component, ...]:
    """Return the components of a part of a diffusers `pipeline`.

    Raises ExportRefusal if the part's class cannot be exported.
    """
    kind = type(getattr(pipeline, part)).__name__
    kind = family.classes.get(kind, kind)
    if kind not in MAKERS:
        raise ExportRefusal(f"{part} is a {kind}, which cannot be exported; supported: {', '.join(MAKERS)}")
    found = MAKERS[kind](pipeline, part)
    return found if isinstance(found, tuple) else (found,)
