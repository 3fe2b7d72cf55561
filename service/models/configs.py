"""What a model's shapes are, from its manifest, its components' configurations, or its family, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .files import Fault
from .settings import count, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .families import Family
    from .spec import Size


@dataclass(frozen=True, slots=True)
class Configs:
    """What the manifest (`own`) and the components' configurations say, by key; keys that they leave out are absent."""

    own: Mapping[str, Any]
    denoiser: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    tokenizer: Mapping[str, Any]

    def latent_channels(self, family: Family) -> int:
        """Return the channels of latents."""
        return self.own.get("latent_channels") or self.vae.get("latent_channels") or family.latent_channels

    def downscale(self, family: Family) -> int:
        """Return how many pixels wide a latent is: the VAE halves the picture between its blocks."""
        return self.own.get("downscale") or _halvings(self.vae.get("block_out_channels")) or family.downscale

    def size_multiple(self, family: Family) -> int:
        """Return what sizes are multiples of: the denoiser halves the latents between its blocks, without a rest."""
        inner = _halvings(self.denoiser.get("down_block_types")) or 1
        return self.own.get("size_multiple") or inner * self.downscale(family)

    def native_sizes(self, family: Family) -> tuple[Size, ...]:
        """Return the sizes that the model was trained on: for a denoiser's configuration, a square."""
        side = self.denoiser.get("sample_size", family.native // self.downscale(family)) * self.downscale(family)
        return self.own.get("native_sizes") or ((side, side),)

    def max_tokens(self, family: Family) -> int:
        """Return how many tokens a prompt has, control and padding included."""
        limits = (self.text.get("max_position_embeddings"), self.tokenizer.get("model_max_length"))
        return self.own.get("max_tokens") or min((n for n in limits if n), default=family.max_tokens)


def _halvings(blocks: int | None) -> int:
    """Return by how much so many blocks shrink a picture, each but one halving it; 0 where nobody says."""
    return 2 ** (blocks - 1) if blocks else 0


def _blocks(value: Any) -> int:
    if not isinstance(value, list) or not value:
        raise Fault(f"must be a list, at least one long, not {value!r}")
    return len(value)


# What counts of diffusers' and transformers' configurations; each key means the same wherever it stands.
CONFIGS: dict[str, Callable[[Any], Any]] = {
    "sample_size": count,
    "down_block_types": _blocks,
    "block_out_channels": _blocks,
    "latent_channels": count,
    "scaling_factor": number,
    "shift_factor": number,
    "max_position_embeddings": count,
    "model_max_length": count,
}
