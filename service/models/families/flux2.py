"""FLUX.2: klein, which reads Qwen3, and dev, which reads Mistral."""

from __future__ import annotations

from dataclasses import replace

from ..family import Distilled, Family, Padding, TextEncoderSpec, VaeSpec
from ..position_ids import flux2_ids
from ..spec import Guidance, ReferenceFit, ReferenceRule
from ..text.chat_templates import FLUX2_DEV, FLUX2_KLEIN
from ..text.tokenizers import MISTRAL, QWEN
from .distilled import marked
from .parts import TRANSFORMER


def _without_image_marks(prompt: str) -> str:
    """Return a prompt without the token that stands for an image, as diffusers' pipeline."""
    return prompt.replace("[IMG]", "")


# Black Forest Labs names the largest numbers of images to edit: 4 for klein, and recommends at most 6 for dev
# (docs.bfl.ml/guides/prompting_editing_overview).
_KLEIN = Family(
    name="flux2_klein",
    pipelines=("Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
    text_encoders=(
        TextEncoderSpec(
            tokenizer_kind=QWEN,
            max_tokens=512,
            embeds="prompt_embeds",
            template=FLUX2_KLEIN,
            expands=False,
            graph="layers",
        ),
    ),
    denoiser=replace(TRANSFORMER, packed=True, timestep_scale=1e-3, position_ids=flux2_ids),
    vae=VaeSpec(patch=2, normalized=True),
    latent_channels=128,
    downscale=16,
    native_side=1024,
    scaling_factor=1.0,
    steps=50,
    guidance_scale=4.0,
    references=ReferenceRule(most=4, fit=ReferenceFit.FLUX2, masked=True),
    draws_posterior=False,
    distilled=Distilled(marked, steps=4, guidance_scale=1.0, guidance=Guidance.NONE),
    even_levels=True,
    shift_by_steps=True,
    smooth_mask=True,
)

FAMILIES: tuple[Family, ...] = (
    _KLEIN,
    replace(
        _KLEIN,
        name="flux2",
        pipelines=("Flux2Pipeline",),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=MISTRAL,
                max_tokens=512,
                embeds="prompt_embeds",
                clean=_without_image_marks,
                template=FLUX2_DEV,
                padding=Padding(left=True),
                expands=False,
                graph="layers",
            ),
        ),
        references=ReferenceRule(most=6, fit=ReferenceFit.FLUX2, masked=True),
        guidance=Guidance.NONE,
        distilled=None,
    ),
)
