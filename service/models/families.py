"""Families of models: what folders of one kind have in common, each a value in one table.

A family says which components a folder has, what their graphs' inputs are called, and what holds where neither the
manifest nor the components' configurations say otherwise. Nothing in this package branches on a family's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """One text encoder: the folders of its tokenizer and its graph, and the names of input and output."""

    tokenizer: str = "tokenizer"
    encoder: str = "text_encoder"
    ids: str = "input_ids"
    embeds: str = "last_hidden_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserPart:
    """The denoiser: its folder, and what its graph calls latents [n, c, h, w], timesteps, prompt_embeds and output."""

    folder: str = "unet"
    latents: str = "sample"
    timestep: str = "timestep"
    prompt_embeds: str = "encoder_hidden_states"
    out: str = "out_sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaePart:
    """Latents to pixels and back: the folders and the names of their inputs; each graph has one output that counts."""

    decoder: str = "vae_decoder"
    encoder: str = "vae_encoder"
    latents: str = "latent_sample"
    pixels: str = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of model. `pipelines` are diffusers' class names of it; `native` is a side in pixels.

    `steps` and `guidance_scale` are the defaults of diffusers' own pipeline, so that a request without them gives the
    picture that it gives there.
    """

    name: str
    pipelines: tuple[str, ...]
    text: tuple[TextPart, ...] = (TextPart(),)
    denoiser: DenoiserPart = field(default_factory=DenoiserPart)
    vae: VaePart = field(default_factory=VaePart)
    latent_channels: int
    downscale: int
    native: int
    scaling_factor: float
    max_tokens: int
    steps: int
    guidance_scale: float
    capabilities: frozenset[str] = frozenset({TEXT_TO_IMAGE})

    @property
    def graphs(self) -> tuple[str, ...]:
        """The folders that hold a graph without which nothing can be drawn."""
        return (*(part.encoder for part in self.text), self.denoiser.folder, self.vae.decoder)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        # Stable Diffusion 1.x and 2.x; diffusers' StableDiffusionPipeline.__call__ and AutoencoderKL name the numbers.
        Family(
            name="sd",
            pipelines=("StableDiffusionPipeline",),
            latent_channels=4,
            downscale=8,
            native=512,
            scaling_factor=0.18215,
            max_tokens=77,
            steps=50,
            guidance_scale=7.5,
            capabilities=frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}),
        ),
    )
}


def by_pipeline(class_name: str) -> Family | None:
    """Return the family whose folders name this pipeline; optimum's `ORT` in front of diffusers' name is ignored."""
    plain = class_name.removeprefix("ORT")
    return next((family for family in FAMILIES.values() if plain in family.pipelines), None)


def known_pipelines() -> list[str]:
    """Return the pipeline classes that can be served, sorted."""
    return sorted(name for family in FAMILIES.values() for name in family.pipelines)
