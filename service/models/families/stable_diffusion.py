"""Stable Diffusion: 1.x and 2.x, latent consistency models, SDXL and its refiner, Kolors, and SD3."""

from __future__ import annotations

from dataclasses import replace

from ..family import Distilled, Family, Padding, TextEncoderSpec
from ..spec import IMAGE_TO_IMAGE, INPAINTING, Guidance, MaskLayout
from ..text.combine import PENULTIMATE, clips_side_by_side, clips_then_t5
from ..text.tokenizers import CHATGLM, T5
from .distilled import turbo_unet
from .parts import TRANSFORMER, pipelines

_SECOND_CLIP = TextEncoderSpec(
    tokenizer="tokenizer_2", encoder="text_encoder_2", embeds=PENULTIMATE, pooled="text_embeds"
)

# SDXL, and Turbo, which has other defaults.
_SDXL = Family(
    name="sdxl",
    pipelines=pipelines("StableDiffusionXL"),
    text_encoders=(TextEncoderSpec(embeds=PENULTIMATE), _SECOND_CLIP),
    combine=clips_side_by_side,
    native_side=1024,
    scaling_factor=0.13025,
    steps=50,
    guidance_scale=5.0,
    distilled=Distilled(turbo_unet, steps=1, guidance_scale=0),
    zero_negative=True,
    mask=MaskLayout(),
)

FAMILIES: tuple[Family, ...] = (
    # Stable Diffusion 1.x and 2.x; an inpainting UNet is recognised by its channels.
    Family(
        name="sd",
        pipelines=pipelines("StableDiffusion"),
        native_side=512,
        scaling_factor=0.18215,
        steps=50,
        guidance_scale=7.5,
        distilled=Distilled(turbo_unet, steps=1, guidance_scale=0),
        mask=MaskLayout(),
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
    _SDXL,
    # Kolors: SDXL's UNet with ChatGLM3, which reads prompts in Chinese and English.
    replace(
        _SDXL,
        name="kolors",
        pipelines=pipelines("Kolors", tasks=("", "Img2Img")),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=CHATGLM,
                max_tokens=256,
                embeds="prompt_embeds",
                pooled="pooled_prompt_embeds",
                padding=Padding(left=True),
                expands=False,
            ),
        ),
        distilled=None,
        zero_negative=False,
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
        pipelines=pipelines("StableDiffusion3"),
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
        denoiser=replace(TRANSFORMER, patch=2),
        latent_channels=16,
        native_side=1024,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        steps=28,
        guidance_scale=7.0,
    ),
)
