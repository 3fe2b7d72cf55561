"""The table of model families.

A family names the components of a model folder, how their outputs become one conditioning, and the values that hold if
neither tintype.json nor the components' configurations give others. No other code branches on a family's name.
Numbers and rules are those of diffusers' pipelines, so that a request gives the same image as there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..family import PENULTIMATE, DenoiserSpec, Distilled, Family, TextEncoderSpec
from ..spec import IMAGE_TO_IMAGE, INPAINTING, Guidance
from ..text.combine import clip_pooled_and_t5, clips_side_by_side, clips_then_t5, masked_embeds
from ..text.tokenizers import GEMMA, T5

if TYPE_CHECKING:
    from collections.abc import Collection


def _pipelines(*stems: str) -> tuple[str, ...]:
    """Return diffusers' class names of the pipelines of one kind of model, one for each task."""
    return tuple(f"{stem}{task}Pipeline" for stem in stems for task in ("", "Img2Img", "Inpaint"))


def _clean_caption(text: str) -> str:
    """Return a text trimmed and in lower case, like diffusers' cleaning of captions without its HTML parser."""
    return text.lower().strip()


# From diffusers' SanaPipeline.__call__; Xie et al. 2410.10629, section 3.1, gives the reason.
_SANA_INSTRUCTION = """\
Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable for image \
generation. Evaluate the level of detail in the user prompt:
- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial relationships \
to create vivid and concrete scenes.
- If the prompt is already detailed, refine and enhance the existing details slightly without overcomplicating.
Here are examples of how to transform or refine prompts:
- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, sleeping peacefully \
on a warm sunny windowsill, surrounded by pots of blooming red flowers.
- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing street lamps, \
a diverse crowd of people in colorful clothing, and a double-decker bus passing by towering glass skyscrapers.
Please generate only the enhanced description for the prompt below and avoid including any additional commentary or \
evaluations:
User Prompt: """

_TRANSFORMER = DenoiserSpec(folder="transformer", latents="hidden_states", out="out_hidden_states")
_SECOND_CLIP = TextEncoderSpec(
    tokenizer="tokenizer_2", encoder="text_encoder_2", embeds=PENULTIMATE, pooled="text_embeds"
)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        # Stable Diffusion 1.x and 2.x; an inpainting UNet is recognised by its channels.
        Family(
            name="sd",
            pipelines=_pipelines("StableDiffusion"),
            native_side=512,
            scaling_factor=0.18215,
            steps=50,
            guidance_scale=7.5,
            distilled=Distilled(steps=1, guidance_scale=0),
        ),
        # Latent consistency models: few steps, and the guidance scale as an input.
        Family(
            name="lcm",
            pipelines=("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"),
            native_side=512,
            scaling_factor=0.18215,
            steps=4,
            guidance_scale=8.5,
            guidance=Guidance.EMBEDDED,
            respaced=True,
        ),
        # SDXL, and Turbo, which has other defaults.
        Family(
            name="sdxl",
            pipelines=_pipelines("StableDiffusionXL"),
            text_encoders=(TextEncoderSpec(embeds=PENULTIMATE), _SECOND_CLIP),
            combine=clips_side_by_side,
            native_side=1024,
            scaling_factor=0.13025,
            steps=50,
            guidance_scale=5.0,
            distilled=Distilled(steps=1, guidance_scale=0),
            zero_negative=True,
        ),
        # SDXL's second stage, with the second text encoder only. Served alone, it starts from an image.
        Family(
            name="sdxl_refiner",
            pipelines=("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
            text_encoders=(_SECOND_CLIP,),
            combine=clips_side_by_side,
            native_side=1024,
            scaling_factor=0.13025,
            steps=50,
            guidance_scale=5.0,
            zero_negative=True,
            capabilities=frozenset({IMAGE_TO_IMAGE, INPAINTING}),
        ),
        Family(
            name="sd3",
            pipelines=_pipelines("StableDiffusion3"),
            text_encoders=(
                TextEncoderSpec(embeds=PENULTIMATE, pooled="text_embeds", expands=False),
                replace(_SECOND_CLIP, expands=False),
                TextEncoderSpec(
                    tokenizer="tokenizer_3",
                    encoder="text_encoder_3",
                    tokenizer_kind=T5,
                    max_tokens=256,
                    optional=True,
                    expands=False,
                ),
            ),
            combine=clips_then_t5,
            denoiser=replace(_TRANSFORMER, patch=2),
            latent_channels=16,
            native_side=1024,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            steps=28,
            guidance_scale=7.0,
        ),
        # FLUX.1 schnell and dev: distilled, one call per step.
        Family(
            name="flux",
            pipelines=_pipelines("Flux"),
            text_encoders=(
                TextEncoderSpec(pooled="pooler_output"),
                TextEncoderSpec(tokenizer="tokenizer_2", encoder="text_encoder_2", tokenizer_kind=T5, max_tokens=512),
            ),
            combine=clip_pooled_and_t5,
            denoiser=replace(_TRANSFORMER, patch=2, packed=True, timestep_scale=1e-3),
            latent_channels=16,
            native_side=1024,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            steps=28,
            guidance_scale=3.5,
            guidance=Guidance.NONE,
            distilled=Distilled(steps=4, guidance_scale=0, max_tokens=256),
            even_levels=True,
        ),
        Family(
            name="pixart_sigma",
            pipelines=("PixArtSigmaPipeline",),
            text_encoders=(
                TextEncoderSpec(tokenizer_kind=T5, max_tokens=300, clean=_clean_caption, expands=False, masked=True),
            ),
            combine=masked_embeds,
            denoiser=replace(_TRANSFORMER, patch=2),
            native_side=1024,
            scaling_factor=0.13025,
            steps=20,
            guidance_scale=4.5,
        ),
        Family(
            name="sana",
            pipelines=("SanaPipeline",),
            text_encoders=(
                TextEncoderSpec(
                    tokenizer_kind=GEMMA,
                    max_tokens=300,
                    clean=_clean_caption,
                    instruction=_SANA_INSTRUCTION,
                    expands=False,
                ),
            ),
            combine=masked_embeds,
            denoiser=_TRANSFORMER,
            latent_channels=32,
            downscale=32,
            native_side=1024,
            scaling_factor=0.41407,
            steps=20,
            guidance_scale=4.5,
        ),
    )
}


def by_pipeline(class_name: str, absent: Collection[str] = ()) -> Family | None:
    """Return the family of a pipeline class, of diffusers, its legacy ONNX ones or optimum; None if not supported.

    `absent` are components that model_index.json says are missing; a family that requires one of them is skipped.
    """
    name = class_name.removeprefix("ORT").removeprefix("Onnx").removesuffix("Legacy")
    name = name.replace("OnnxPipeline", "Pipeline")  # StableDiffusionOnnxPipeline, the oldest
    found = (family for family in FAMILIES.values() if name in family.pipelines)
    return next((family for family in found if not set(family.required_graphs) & set(absent)), None)


def known_pipelines() -> list[str]:
    """Return the pipeline classes that are supported, sorted."""
    return sorted({name for family in FAMILIES.values() for name in family.pipelines})
