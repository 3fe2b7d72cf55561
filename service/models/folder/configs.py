"""What a model's shapes are, from its manifest, its components' configurations, or its family, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..files import ModelFileError
from ..spec import Guidance
from .tintype_json import count, flag, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..family import Family, TextPart
    from ..spec import Size

# What transformers writes for a tokenizer without a limit is 10^30.
UNBOUNDED = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a model's graphs do not say of themselves.

    Latents of the denoiser are (latents of the VAE - `shift_factor`) * `scaling_factor`.

    For each text encoder, `lengths` are the tokens of a prompt, `vocabularies` the rows of its table of embeddings (0
    where no file says), and `fast` says whether its tokenizer is of a fast class. `absent_dim` is the width of the
    zeros that stand for one that is not there. `zero_negative`: an empty negative prompt is zeros. `guidance_width` is
    that of the embedded scale of guidance, 0 without. `scored`: sizes come with an aesthetic score.
    """

    scaling_factor: float = 1.0
    shift_factor: float = 0.0
    lengths: tuple[int, ...] = (77,)
    vocabularies: tuple[int, ...] = (0,)
    fast: tuple[bool, ...] = (False,)
    absent_dim: int = 0
    zero_negative: bool = False
    time_scale: float = 1.0
    guidance_width: int = 0
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Configs:
    """What the manifest (`own`) and the configurations say, by key; keys that they leave out are absent.

    `text` and `tokenizers` are in the family's order; `index` is `model_index.json`.
    """

    own: Mapping[str, Any]
    index: Mapping[str, Any]
    denoiser: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: Sequence[Mapping[str, Any]]
    tokenizers: Sequence[Mapping[str, Any]]

    def latent_channels(self, family: Family) -> int:
        """Return the channels of latents."""
        return self.own.get("latent_channels") or self.vae.get("latent_channels") or family.latent_channels

    def inpaints(self, family: Family) -> bool:
        """Return whether the denoiser takes a mask and a masked image with the latents.

        Raises:
            ModelFileError: it takes another number of channels.
        """
        channels = self.latent_channels(family)
        plain = channels * family.denoiser.patch**2 if family.denoiser.packed else channels
        taken = self.denoiser.get("in_channels", plain)
        if taken not in (plain, 2 * channels + 1):
            raise ModelFileError(f"takes {taken} channels; served are {plain}, or {2 * channels + 1} with a mask")
        return bool(taken == 2 * channels + 1)

    def downscale(self, family: Family) -> int:
        """Return how many pixels wide a latent is: the VAE halves the picture between its blocks."""
        blocks = self.vae.get("block_out_channels") or self.vae.get("encoder_block_out_channels")
        return self.own.get("downscale") or _halvings(blocks) or family.downscale

    def size_multiple(self, family: Family) -> int:
        """Return what sizes are multiples of: the denoiser halves the latents between its blocks, without a rest."""
        inner = _halvings(self.denoiser.get("down_block_types")) or self.patch(family)
        return self.own.get("size_multiple") or inner * self.downscale(family)

    def patch(self, family: Family) -> int:
        """Return how many latents wide a token of the denoiser is."""
        return max(int(self.denoiser.get("patch_size", 1)), family.denoiser.patch)

    def native_sizes(self, family: Family) -> tuple[Size, ...]:
        """Return the sizes that the model was trained on: for a denoiser's configuration, a square."""
        side = self.denoiser.get("sample_size", family.native // self.downscale(family)) * self.downscale(family)
        return self.own.get("native_sizes") or ((side, side),)

    def lengths(self, family: Family) -> tuple[int, ...]:
        """Return how many tokens a prompt has for each encoder; the manifest's word is of the longest."""
        asked, longest = self.own.get("max_tokens"), family.max_tokens
        return tuple(
            asked if asked and part.max_tokens == longest else _length(part, *configs)
            for part, *configs in zip(family.text, self.text, self.tokenizers, strict=True)
        )

    def length_faults(self, family: Family) -> list[str]:
        """Return what is wrong with the encoders' lengths.

        Embeddings of several CLIPs lie side by side, token by token.
        """
        pairs = zip(family.text, self.lengths(family), strict=True)
        lengths = {part.tokenizer: length for part, length in pairs if part.kind.chunked}
        if len(set(lengths.values())) < 2:
            return []
        said = " and ".join(f"{tokenizer} {length}" for tokenizer, length in lengths.items())
        return [f"model_max_length: {said} tokens; the embeddings lie side by side, so that both must be equal"]

    def guidance(self, family: Family) -> Guidance:
        """Return how it is guided: a denoiser that takes the scale as an input says so."""
        embedded = self.denoiser.get("time_cond_proj_dim") or self.denoiser.get("guidance_embeds")
        return self.own.get("guidance") or (Guidance.EMBEDDED if embedded else family.guidance)

    def spec(self, family: Family) -> dict[str, Any]:
        """Return the fields of a ModelSpec that configurations and the family tell."""
        return {
            "native_sizes": self.native_sizes(family),
            "size_multiple": self.size_multiple(family),
            "latent_channels": self.latent_channels(family),
            "downscale": self.downscale(family),
            "max_tokens": max(self.lengths(family)),
            "guidance": self.guidance(family),
            "patch": self.patch(family),
            "even_levels": family.even_levels,
            "respaced": family.respaced,
        }

    def traits(self, family: Family) -> Traits:
        """Return what loading needs to know beyond the spec."""
        return Traits(
            scaling_factor=self._factor("scaling_factor", family.scaling_factor),
            shift_factor=self._factor("shift_factor", family.shift_factor),
            lengths=self.lengths(family),
            vocabularies=tuple(int(config.get("vocab_size", 0)) for config in self.text),
            absent_dim=self.denoiser.get("joint_attention_dim", 0),
            zero_negative=self.index.get("force_zeros_for_empty_prompt", family.zero_negative),
            time_scale=self.denoiser.get("timestep_scale", 1.0) * family.denoiser.time_scale,
            guidance_width=self.denoiser.get("time_cond_proj_dim", 0),
            scored=self.index.get("requires_aesthetics_score", False),
        )

    def _factor(self, key: str, usual: float) -> float:
        return float(self.own.get(key, self.vae.get(key, usual)))


def _length(part: TextPart, text: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int:
    """Return how many tokens of a prompt an encoder reads.

    The number is that of diffusers' pipelines. CLIP reads as many as its tokenizer says, others as many as the pipeline
    asks for; none more than it has places.
    """
    places = text.get("max_position_embeddings", UNBOUNDED)
    said = tokenizer.get("model_max_length", UNBOUNDED) if part.kind.chunked else part.max_tokens
    return int(min(places, said)) if min(places, said) < UNBOUNDED else part.max_tokens


def _halvings(blocks: int | None) -> int:
    """Return by how much so many blocks shrink a picture, each but one halving it; 0 where nobody says."""
    return 2 ** (blocks - 1) if blocks else 0


def _blocks(value: Any) -> int:
    if not isinstance(value, list) or not value:
        raise ModelFileError(f"must be a list, at least one long, not {value!r}")
    return len(value)


def _unmasked(value: Any) -> None:
    if value:
        raise ModelFileError(f"must be false, not {value!r}: CLIP's graphs take no mask")


def _null(value: Any) -> None:
    raise ModelFileError(f"must be null, not {value!r}: only SDXL's pipelines follow it, and none here")


# What counts of diffusers' and transformers' configurations; each key means the same wherever it stands.
CONFIGS: dict[str, Callable[[Any], Any]] = {
    "sample_size": count,
    "in_channels": count,
    "down_block_types": _blocks,
    "patch_size": count,
    "time_cond_proj_dim": count,
    "guidance_embeds": flag,
    "timestep_scale": number,
    "joint_attention_dim": count,
    "block_out_channels": _blocks,
    "encoder_block_out_channels": _blocks,
    "latent_channels": count,
    "scaling_factor": number,
    "shift_factor": number,
    "latents_mean": _null,
    "latents_std": _null,
    "max_position_embeddings": count,
    "model_max_length": count,
    "vocab_size": count,
    "use_attention_mask": _unmasked,
    "force_zeros_for_empty_prompt": flag,
    "requires_aesthetics_score": flag,
}
