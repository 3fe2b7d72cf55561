"""Sana and SANA-Sprint."""

from __future__ import annotations

from dataclasses import replace

from ..family import Family, TextEncoderSpec
from ..spec import TEXT_TO_IMAGE, Guidance
from ..text.combine import masked_embeds
from ..text.tokenizers import GEMMA
from .parts import TRANSFORMER, clean_caption

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

_SANA = Family(
    name="sana",
    pipelines=("SanaPipeline",),
    text_encoders=(
        TextEncoderSpec(
            tokenizer_kind=GEMMA,
            max_tokens=300,
            clean=clean_caption,
            instruction=_SANA_INSTRUCTION,
            expands=False,
        ),
    ),
    combine=masked_embeds,
    denoiser=TRANSFORMER,
    latent_channels=32,
    downscale=32,
    native_side=1024,
    scaling_factor=0.41407,
    steps=20,
    guidance_scale=4.5,
)

FAMILIES: tuple[Family, ...] = (
    _SANA,
    # One to four steps of a consistency model, with the guidance scale as an input.
    replace(
        _SANA,
        name="sana_sprint",
        pipelines=("SanaSprintPipeline",),
        steps=2,
        guidance=Guidance.EMBEDDED,
        capabilities=frozenset({TEXT_TO_IMAGE}),
    ),
)
