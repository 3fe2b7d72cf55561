"""FLUX.1 and its kin: Kontext, Fill and Chroma."""

from __future__ import annotations

from dataclasses import replace

from ..family import Distilled, Family, TextEncoderSpec
from ..spec import INPAINTING, Guidance, MaskLayout, ReferenceFit, ReferenceRule
from ..text.combine import clip_pooled_and_t5, masked_embeds
from ..text.tokenizers import T5
from .distilled import without_guidance_and_shift
from .parts import TRANSFORMER, pipelines

# FLUX.1 schnell, dev and Krea: distilled, one call per step.
_FLUX = Family(
    name="flux",
    pipelines=pipelines("Flux"),
    text_encoders=(
        TextEncoderSpec(pooled="pooler_output", pooled_only=True),
        TextEncoderSpec(tokenizer="tokenizer_2", encoder="text_encoder_2", tokenizer_kind=T5, max_tokens=512),
    ),
    combine=clip_pooled_and_t5,
    denoiser=replace(TRANSFORMER, patch=2, packed=True, timestep_scale=1e-3),
    latent_channels=16,
    native_side=1024,
    scaling_factor=0.3611,
    shift_factor=0.1159,
    steps=28,
    guidance_scale=3.5,
    guidance=Guidance.NONE,
    distilled=Distilled(without_guidance_and_shift, steps=4, guidance_scale=0, max_tokens=256),
    even_levels=True,
)

FAMILIES: tuple[Family, ...] = (
    _FLUX,
    # FLUX.1 Kontext: the graph of dev, with the tokens of an image to edit behind those of the result.
    replace(
        _FLUX,
        name="flux_kontext",
        pipelines=pipelines("FluxKontext", tasks=("", "Inpaint")),
        guidance_scale=2.5,
        distilled=None,
        references=ReferenceRule(most=1, fit=ReferenceFit.KONTEXT, source=True),
        draws_posterior=False,
    ),
    # FLUX.1 Fill: repaints. Its mask is every pixel, behind the latents of the masked image.
    replace(
        _FLUX,
        name="flux_fill",
        pipelines=("FluxFillPipeline",),
        steps=50,
        guidance_scale=30.0,
        strength=1.0,
        distilled=None,
        mask=MaskLayout(cells=8, last=True, draws_source=True),
        capabilities=frozenset({INPAINTING}),
    ),
    # Chroma: T5 alone, whose padding is masked, and guidance by the negative prompt.
    replace(
        _FLUX,
        name="chroma",
        pipelines=pipelines("Chroma"),
        text_encoders=(TextEncoderSpec(tokenizer_kind=T5, max_tokens=512, masked=True),),
        combine=masked_embeds,
        steps=40,
        guidance_scale=3.0,
        guidance=Guidance.CLASSIFIER_FREE,
        distilled=None,
    ),
)
