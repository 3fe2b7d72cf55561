"""The real model: text encoder, denoiser and VAE, put together as the family says."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import GenerationFailed, ModelBroken
from .denoiser import Denoiser
from .files import Fault
from .model import Prompt
from .preview import fit, show
from .session import Runtime, Session
from .text import TextEncoders
from .text_encoder import AbsentEncoder, TextEncoder
from .vae import Vae

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .manifest import Manifest
    from .model import Array, Conditioning
    from .parts import TextPart
    from .spec import LatentToRgb, ModelSpec
    from .text_encoder import Encoder


class DiffusionModel:
    """A `Model` on onnxruntime. `spec` is the folder's, completed by what its graphs say."""

    def __init__(self, spec: ModelSpec, text: TextEncoders, denoiser: Denoiser, vae: Vae) -> None:
        if spec.batched_timestep and not denoiser.batched_timestep:
            raise Fault("batched_timestep is true, but the denoiser's graph takes one timestep for all rows")
        self.spec = replace(spec, provider=denoiser.provider, batched_timestep=denoiser.batched_timestep)
        self._text, self._denoiser, self._vae = text, denoiser, vae

    def encode(self, prompts: Sequence[Prompt]) -> list[Conditioning]:
        """Turn the prompts of one picture into conditionings, one each and in order; what was seen lately is free."""
        return self._text.encode(prompts)

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the denoiser once: latents [n, c, h, w], timesteps [n], n conditionings of one key -> out [n, c, h, w].

        Where `spec.inpaints`, latents have c + 1 + c channels: a mask, and the latents of the masked picture.

        Raises:
            ValueError: timesteps differ, where `spec.batched_timestep` is False.
            GenerationFailed: the call failed.
            OutOfMemory: there was not enough memory for it.
        """
        return self._denoiser(latents, timesteps, conditionings)

    def decode(self, latents: Array) -> Array:
        """Decode latents [n, c, h, w] to pixels [n, 3, h * downscale, w * downscale] in 0..1.

        Raises:
            GenerationFailed: latents or pixels are not finite.
            OutOfMemory: there was not enough memory for it.
        """
        return self._vae.decode(latents)

    def encode_pixels(self, pixels: Array, noise: Array) -> Array:
        """Draw latents [n, c, h, w] of pixels [n or 1, 3, H, W] in 0..1; noise [n, c, h, w] is standard normal.

        Raises:
            Unsupported: the folder has no image encoder.
            ModelBroken: the encoder, which is loaded when it is first needed, is damaged.
            GenerationFailed: the latents are not finite.
            OutOfMemory: there was not enough memory for it.
        """
        try:
            return self._vae.encode(pixels, noise)
        except Fault as fault:
            raise ModelBroken(self.spec.name, [str(fault)]) from fault

    def preview(self, latents: Array) -> Array:
        """Show latents [c, h, w] as pixels [3, h, w] in 0..1: cheap, rough, at latent resolution."""
        return show(latents, self._projection)

    @cached_property
    def _projection(self) -> LatentToRgb:
        """The manifest's map, or one fitted at the first preview."""
        return self.spec.latent_to_rgb or fit(self._vae.decode, self.spec.latent_channels)


def load(manifest: Manifest, runtime: Runtime, progress: Callable[[float], None]) -> DiffusionModel:
    """Bring a model into memory; `progress` hears the loaded share of its bytes, 0 to 1.

    Raises:
        ModelBroken: a file is damaged, or is not what the manifest says.
        OutOfMemory: it does not fit.
    """
    try:
        return _assemble(manifest, runtime, _open_all(manifest, runtime, progress))
    except (Fault, GenerationFailed) as fault:
        raise ModelBroken(manifest.spec.name, [str(fault)]) from fault


def _open_all(manifest: Manifest, runtime: Runtime, progress: Callable[[float], None]) -> dict[str, Session]:
    """Open the graphs one after the other: two at a time would need the memory of both."""
    parts = manifest.components
    whole, done = sum(map(manifest.weight, parts)) or 1, 0
    sessions = {}
    for part in parts:
        sessions[part] = Session(manifest.graph(part), runtime)
        done += manifest.weight(part)
        progress(done / whole)
    return sessions


def _assemble(manifest: Manifest, runtime: Runtime, sessions: dict[str, Session]) -> DiffusionModel:
    family, spec, traits = manifest.family, manifest.spec, manifest.traits
    encoders = [
        _text_encoder(manifest, part, length, sessions)
        for part, length in zip(family.text, traits.lengths, strict=True)
    ]
    text = TextEncoders(encoders, family.join, zero_negative=traits.zero_negative)
    text.encode([Prompt("")])  # most requests' negative prompt; and a tokenizer of another model shows now, not later
    encoder = manifest.graph(family.vae.encoder)
    vae = Vae(
        sessions[family.vae.decoder],
        (lambda: Session(encoder, runtime)) if encoder.exists() else None,
        family.vae,
        scaling_factor=traits.scaling_factor,
        shift_factor=traits.shift_factor,
    )
    denoiser = Denoiser(sessions[family.denoiser.folder], family.denoiser, traits, spec)
    return DiffusionModel(spec, text, denoiser, vae)


def _text_encoder(manifest: Manifest, part: TextPart, length: int, sessions: dict[str, Session]) -> Encoder:
    if part.encoder not in sessions:
        return AbsentEncoder(length, manifest.traits.absent_dim)
    return TextEncoder(part.kind.read(manifest.folder / part.tokenizer, length), sessions[part.encoder], part)
