"""Families of models: what folders of one kind have in common, each a value in one table.

A family says which components a folder has, how their answers become one conditioning, and what holds where neither
the manifest nor the components' configurations say otherwise. Nothing in this package branches on a family's name.
Numbers and habits are those of diffusers' pipelines, so that a request gives the picture that it gives there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..family import PENULTIMATE, DenoiserPart, Family, TextPart
from ..spec import IMAGE_TO_IMAGE, INPAINTING, Guidance
from ..text import instructions
from ..text.combine import clip_and_t5, features, masked, pooled_and_embeds
from ..text.tokenizers import GEMMA, T5

if TYPE_CHECKING:
    from collections.abc import Collection


def _tasks(*stems: str) -> tuple[str, ...]:
    """Return diffusers' names of the pipelines of one kind of model, one for each task."""
    return tuple(f"{stem}{task}Pipeline" for stem in stems for task in ("", "Img2Img", "Inpaint"))


def _trimmed(text: str) -> str:
    """Lower case without space around it: diffusers' cleaning of captions without its optional HTML parser."""
    return text.lower().strip()


_TRANSFORMER = DenoiserPart(folder="transformer", latents="hidden_states", out="out_hidden_states")
_SECOND_CLIP = TextPart(tokenizer="tokenizer_2", encoder="text_encoder_2", embeds=PENULTIMATE, pooled="text_embeds")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        # Stable Diffusion 1.x and 2.x; an inpainting UNet is known by its channels.
        Family(
            name="sd",
            pipelines=_tasks("StableDiffusion"),
            native=512,
            scaling_factor=0.18215,
            steps=50,
            guidance_scale=7.5,
        ),
        # Latent consistency models: a few steps, and the scale of guidance as an input.
        Family(
            name="lcm",
            pipelines=("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"),
            native=512,
            scaling_factor=0.18215,
            steps=4,
            guidance_scale=8.5,
            guidance=Guidance.EMBEDDED,
            respaced=True,
        ),
        # SDXL, and Turbo, which is another set of defaults.
        Family(
            name="sdxl",
            pipelines=_tasks("StableDiffusionXL"),
            text=(TextPart(embeds=PENULTIMATE), _SECOND_CLIP),
            join=features,
            native=1024,
            scaling_factor=0.13025,
            steps=50,
            guidance_scale=5.0,
            zero_negative=True,
        ),
        # SDXL's second stage: the second encoder alone. Alone it starts from a picture.
        Family(
            name="sdxl_refiner",
            pipelines=("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
            text=(_SECOND_CLIP,),
            join=features,
            native=1024,
            scaling_factor=0.13025,
            steps=50,
            guidance_scale=5.0,
            zero_negative=True,
            capabilities=frozenset({IMAGE_TO_IMAGE, INPAINTING}),
        ),
        Family(
            name="sd3",
            pipelines=_tasks("StableDiffusion3"),
            text=(
                TextPart(embeds=PENULTIMATE, pooled="text_embeds", expands=False),
                replace(_SECOND_CLIP, expands=False),
                TextPart(
                    tokenizer="tokenizer_3",
                    encoder="text_encoder_3",
                    kind=T5,
                    max_tokens=256,
                    optional=True,
                    expands=False,
                ),
            ),
            join=clip_and_t5,
            denoiser=replace(_TRANSFORMER, patch=2),
            latent_channels=16,
            native=1024,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            steps=28,
            guidance_scale=7.0,
        ),
        # FLUX.1 schnell and dev: distilled, one call for each step.
        Family(
            name="flux",
            pipelines=_tasks("Flux"),
            text=(
                TextPart(pooled="pooler_output"),
                TextPart(tokenizer="tokenizer_2", encoder="text_encoder_2", kind=T5, max_tokens=512),
            ),
            join=pooled_and_embeds,
            denoiser=replace(_TRANSFORMER, patch=2, packed=True, time_scale=1e-3),
            latent_channels=16,
            native=1024,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            steps=28,
            guidance_scale=3.5,
            guidance=Guidance.NONE,
            even_levels=True,
        ),
        Family(
            name="pixart_sigma",
            pipelines=("PixArtSigmaPipeline",),
            text=(TextPart(kind=T5, max_tokens=300, clean=_trimmed, expands=False),),
            join=masked,
            denoiser=replace(_TRANSFORMER, patch=2),
            native=1024,
            scaling_factor=0.13025,
            steps=20,
            guidance_scale=4.5,
        ),
        Family(
            name="sana",
            pipelines=("SanaPipeline",),
            text=(TextPart(kind=GEMMA, max_tokens=300, clean=_trimmed, instruction=instructions.SANA, expands=False),),
            join=masked,
            denoiser=_TRANSFORMER,
            latent_channels=32,
            downscale=32,
            native=1024,
            scaling_factor=0.41407,
            steps=20,
            guidance_scale=4.5,
        ),
    )
}


def by_pipeline(class_name: str, absent: Collection[str] = ()) -> Family | None:
    """Return the family whose folders name this pipeline; optimum's `ORT` in front of diffusers' name is ignored.

    `absent` are components that the folder says it has not: with them, of two families the one that needs none counts.
    """
    plain = class_name.removeprefix("ORT")
    found = (family for family in FAMILIES.values() if plain in family.pipelines)
    return next((family for family in found if not set(family.graphs) & set(absent)), None)


def known_pipelines() -> list[str]:
    """Return the pipeline classes that can be served, sorted."""
    return sorted({name for family in FAMILIES.values() for name in family.pipelines})
