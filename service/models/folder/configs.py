"""A model's sizes and factors: from tintype.json, its components' configurations, or its family, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, TypeAlias

from ..files import ModelFileError
from ..spec import Guidance, MaskLayout
from .tintype_json import count, flag, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..family import Distilled, Family, TextEncoderSpec
    from ..spec import Size

Factor: TypeAlias = float | tuple[float, ...]

# transformers writes 10^30 for a tokenizer without a limit.
UNBOUNDED = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """Values that the graphs do not contain and that loading needs in addition to the spec.

    Args:
        scaling_factor: Latents of the denoiser are (latents of the VAE - shift_factor) * scaling_factor; one number, or
            one for each channel.
        shift_factor: See above.
        lengths: For each text encoder, the tokens of a prompt.
        vocabularies: For each text encoder, the rows of its table of embeddings; 0 if no file says.
        fast_tokenizers: For each text encoder, whether its tokenizer is of a fast class.
        absent_dim: Width of the zeros that replace the output of a missing optional encoder.
        zero_negative: Whether an empty negative prompt gives zeros.
        timestep_scale: Factor of the timesteps that the denoiser's graph gets.
        guidance_width: Width of the embedded guidance scale; 0 if the denoiser has none.
        aesthetic_scores: Whether the denoiser gets an aesthetic score in place of the image's size.
    """

    scaling_factor: Factor = 1.0
    shift_factor: Factor = 0.0
    lengths: tuple[int, ...] = (77,)
    vocabularies: tuple[int, ...] = (0,)
    fast_tokenizers: tuple[bool, ...] = (False,)
    absent_dim: int = 0
    zero_negative: bool = False
    timestep_scale: float = 1.0
    guidance_width: int = 0
    aesthetic_scores: bool = False


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """The fields of tintype.json (`own`) and of the configurations, by key; absent if a file does not have them.

    `text_encoders` and `tokenizers` are in the family's order; `index` is `model_index.json`. `distilled` holds the
    defaults of a model that is distilled to few steps.
    """

    own: Mapping[str, Any]
    index: Mapping[str, Any]
    denoiser: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoders: Sequence[Mapping[str, Any]]
    tokenizers: Sequence[Mapping[str, Any]]
    distilled: Distilled | None = None

    def latent_channels(self, family: Family) -> int:
        """Return the number of channels of latents."""
        channels = self.vae.get("latent_channels") or self.vae.get("z_dim") or 0
        return self.own.get("latent_channels") or channels * family.vae.patch**2 or family.latent_channels

    def inpaints(self, family: Family) -> bool:
        """Return whether the denoiser takes a mask and a masked image with the latents.

        Raises:
            ModelFileError: it takes another number of channels.
        """
        channels, mask = self.latent_channels(family), family.mask
        token = family.denoiser.patch**2 if family.denoiser.packed else 1
        plain = channels * token
        masked = plain + mask.channels(channels) * token if mask else None
        taken = self.denoiser.get("in_channels", plain)
        if taken not in (plain, masked):
            alternative = f", or {masked} with a mask" if masked else ""
            raise ModelFileError(f"must be {plain}{alternative}, not {taken}")
        return bool(taken == masked)

    def draws_posterior(self, family: Family) -> bool:
        """Return whether latents are drawn from a distribution; AutoencoderDC and AutoencoderTiny encode to latents."""
        return family.draws_posterior and "encoder_block_out_channels" not in self.vae

    def downscale(self, family: Family) -> int:
        """Return the width of a latent in pixels: the VAE halves the image between its blocks."""
        levels = ("block_out_channels", "encoder_block_out_channels", "dim_mult")
        blocks = next((self.vae[level] for level in levels if level in self.vae), None)
        return self.own.get("downscale") or _halvings(blocks) * family.vae.patch or family.downscale

    def size_multiple(self, family: Family) -> int:
        """Return the number that sizes are multiples of: the denoiser halves the latents between its blocks."""
        inner = _halvings(self.denoiser.get("down_block_types")) or self.patch(family)
        return self.own.get("size_multiple") or inner * self.downscale(family)

    def patch(self, family: Family) -> int:
        """Return the width of a token of the denoiser in latents."""
        return max(int(self.denoiser.get("patch_size", 1)), family.denoiser.patch)

    def native_sizes(self, family: Family) -> tuple[Size, ...]:
        """Return the sizes that the model was trained on; the denoiser's configuration gives a square."""
        own = self.denoiser.get("sample_size") if family.sized_by_config else None
        side = own * self.downscale(family) if own else family.native_side
        return self.own.get("native_sizes") or ((side, side),)

    def max_side(self, family: Family) -> int | None:
        """Return the longest side in pixels for which the denoiser has positions; None if it computes them."""
        places = self.denoiser.get("pos_embed_max_size")
        if not places:
            return None
        tokens = isqrt(places) if family.denoiser.flat_table else int(places)
        return tokens * self.patch(family) * self.downscale(family)

    def lengths(self, family: Family) -> tuple[int, ...]:
        """Return the tokens of a prompt for each encoder; tintype.json gives those of the longest."""
        own, longest = self._longest(), family.max_tokens
        return tuple(
            own if own and encoder.max_tokens == longest else _length(encoder, *configs)
            for encoder, *configs in zip(family.text_encoders, self.text_encoders, self.tokenizers, strict=True)
        )

    def _longest(self) -> int | None:
        """Return the tokens of the longest encoder, if they are not the family's."""
        return self.own.get("max_tokens") or (self.distilled.max_tokens if self.distilled else None)

    def length_faults(self, family: Family) -> list[str]:
        """Return faults in the encoders' lengths: CLIPs that are combined token by token must have one length."""
        pairs = zip(family.text_encoders, self.lengths(family), strict=True)
        lengths = {encoder.tokenizer: length for encoder, length in pairs if encoder.tokenizer_kind.chunked}
        if len(set(lengths.values())) < 2:
            return []
        found = " and ".join(f"{tokenizer} {length}" for tokenizer, length in lengths.items())
        return [f"model_max_length must be equal for both tokenizers, not {found} tokens: embeddings are concatenated"]

    def guidance(self, family: Family) -> Guidance:
        """Return the kind of guidance; the denoiser's configuration says whether the scale is an input."""
        embedded = self.denoiser.get("time_cond_proj_dim") or self.denoiser.get("guidance_embeds")
        distilled = self.distilled.guidance if self.distilled else None
        return self.own.get("guidance") or (Guidance.EMBEDDED if embedded else distilled or family.guidance)

    def spec_fields(self, family: Family) -> dict[str, Any]:
        """Return the fields of a ModelSpec that come from configurations and the family."""
        return {
            "native_sizes": self.native_sizes(family),
            "size_multiple": self.size_multiple(family),
            "max_side": self.max_side(family),
            "latent_channels": self.latent_channels(family),
            "downscale": self.downscale(family),
            "max_tokens": max(self.lengths(family)),
            "guidance": self.guidance(family),
            "guidance_rule": family.guidance_rule,
            "mask_layout": family.mask or MaskLayout(),
            "patch": self.patch(family),
            "even_levels": family.even_levels,
            "respaced": family.respaced,
            "smooth_mask": family.smooth_mask,
            "draws_posterior": self.draws_posterior(family),
        }

    def pipeline_config(self, family: Family, deviation: float = 1.0) -> PipelineConfig:
        """Return the values that loading needs in addition to the spec.

        The samplers divide latents by the `deviation` with which the denoiser was trained.
        """
        scaling_factor, shift_factor = self._latent_factors(family, deviation)
        return PipelineConfig(
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
            lengths=self.lengths(family),
            vocabularies=tuple(int(config.get("vocab_size", 0)) for config in self.text_encoders),
            absent_dim=self.denoiser.get("joint_attention_dim", 0),
            zero_negative=self.index.get("force_zeros_for_empty_prompt", family.zero_negative),
            timestep_scale=self.denoiser.get("timestep_scale", 1.0) * family.denoiser.timestep_scale,
            guidance_width=self.denoiser.get("time_cond_proj_dim", 0),
            aesthetic_scores=self.index.get("requires_aesthetics_score", False),
        )

    def _latent_factors(self, family: Family, deviation: float) -> tuple[Factor, Factor]:
        """Return scale and shift of latents, of each channel if the VAE has means and deviations."""
        if family.vae.normalized:
            return 1.0, 0.0
        scale, shift = (
            float(self.own.get(key, self.vae.get(key, usual)))
            for key, usual in (("scaling_factor", family.scaling_factor), ("shift_factor", family.shift_factor))
        )
        mean, deviations = (self.own.get(key, self.vae.get(key)) for key in ("latents_mean", "latents_std"))
        if not mean or not deviations:
            return scale / deviation, shift
        return tuple(scale / each / deviation for each in deviations), tuple(mean)

    def factor_faults(self, family: Family) -> list[str]:
        """Return faults in the mean and the deviation of latents, one number for each channel of both or of neither."""
        if family.vae.normalized:
            return []
        lengths = [len(self.vae.get(key) or ()) for key in ("latents_mean", "latents_std")]
        if lengths[0] == lengths[1] and lengths[0] in (0, self.latent_channels(family)):
            return []
        wanted = self.latent_channels(family)
        return [f"{family.vae.decoder}/config.json: latents_mean and latents_std must have {wanted} numbers each"]


def _length(encoder: TextEncoderSpec, config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int:
    """Return how many tokens of a prompt an encoder reads, as in diffusers' pipelines.

    CLIP reads as many as its tokenizer says, others as many as the pipeline asks for. No encoder reads more than it has
    position embeddings.
    """
    places = config.get("max_position_embeddings", UNBOUNDED)
    wanted = tokenizer.get("model_max_length", UNBOUNDED) if encoder.tokenizer_kind.chunked else encoder.max_tokens
    return int(min(places, wanted)) if min(places, wanted) < UNBOUNDED else encoder.max_tokens


def _halvings(blocks: int | None) -> int:
    """Return the factor by which blocks shrink an image, each except one halving it; 0 if the number is unknown."""
    return 2 ** (blocks - 1) if blocks else 0


def _blocks(value: Any) -> int:
    if not isinstance(value, list) or not value:
        raise ModelFileError(f"must be a list with at least one element, not {value!r}")
    return len(value)


def _patch_side(value: Any) -> int:
    """Return the side of a square patch, which autoencoders give as height and width."""
    height, width = value if isinstance(value, list) and len(value) == 2 else (value, value)
    if height != width:
        raise ModelFileError(f"must have equal sides, not {value!r}")
    return count(height)


def _numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not all(isinstance(each, int | float) for each in value):
        raise ModelFileError(f"must be a list of numbers, not {value!r}")
    return tuple(map(float, value))


def _unmasked(value: Any) -> None:
    if value:
        raise ModelFileError(f"must be false, not {value!r}: CLIP's graphs have no mask input")


# The fields of diffusers' and transformers' configurations that are read; each key has one meaning in all files.
CONFIG_FIELDS: dict[str, Callable[[Any], Any]] = {
    "sample_size": count,
    "in_channels": count,
    "down_block_types": _blocks,
    "patch_size": _patch_side,
    "pos_embed_max_size": count,
    "time_cond_proj_dim": count,
    "guidance_embeds": flag,
    "timestep_scale": number,
    "joint_attention_dim": count,
    "block_out_channels": _blocks,
    "encoder_block_out_channels": _blocks,
    "latent_channels": count,
    "scaling_factor": number,
    "shift_factor": number,
    "z_dim": count,
    "dim_mult": _blocks,
    "latents_mean": _numbers,
    "latents_std": _numbers,
    "max_position_embeddings": count,
    "model_max_length": count,
    "vocab_size": count,
    "use_attention_mask": _unmasked,
    "force_zeros_for_empty_prompt": flag,
    "requires_aesthetics_score": flag,
}
