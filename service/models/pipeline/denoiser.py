"""One call of a denoiser's graph on rows of latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files import ModelFileError, label
from ..runtime.array_cache import ArrayCache, stack
from .graph_inputs import FEEDS, Call, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..family import DenoiserPart
    from ..folder.configs import Traits
    from ..model import Array, Conditioning
    from ..runtime.session import Session
    from ..spec import ModelSpec
    from .lora import Adapters

TIMESTEP, PROMPT = "timestep", "encoder_hidden_states"
TEXT = {PROMPT: "prompt_embeds", "text_embeds": "pooled", "pooled_projections": "pooled"}
"""Inputs that text encoders are there for, and what these are of a conditioning."""


class Denoiser:
    """The graph, and what the family and the model say of it. Raises ModelFileError where they don't fit together."""

    def __init__(
        self, session: Session, part: DenoiserPart, traits: Traits, spec: ModelSpec, adapters: Adapters
    ) -> None:
        session.require(inputs=(part.latents, TIMESTEP, PROMPT), output=part.out, optional=FEEDS)
        self._session, self._part, self._traits, self._adapters = session, part, traits, adapters
        self._stacks = ArrayCache(stack)
        self._channels, self._downscale = spec.latent_channels, spec.downscale

    @property
    def batched_timestep(self) -> bool:
        """Whether the graph takes a timestep for each row; as optimum exports it, a UNet takes one for all."""
        return self._session.inputs[TIMESTEP][1] > 0

    def check(self, conditioning: Conditioning) -> None:
        """Check that the text encoders give what the graph needs.

        Raises:
            ModelFileError: they are of different models.
        """
        graph, wants = label(self._session.path), self._session.inputs
        for name, array in TEXT.items():
            given = getattr(conditioning, array)
            if name in wants and given is None:
                raise ModelFileError(f"{graph} wants {name}, which the text encoders of this family do not give")
            if name in self._session.widths and given.shape[-1] != self._session.widths[name]:
                widths = f"{self._session.widths[name]} numbers wide, and the text encoders give {given.shape[-1]}"
                raise ModelFileError(f"{graph} wants {name} {widths}: they are of different models")

    @property
    def provider(self) -> str:
        """The short name of the provider that runs it."""
        return self._session.provider

    def __call__(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the graph: latents [n, c or 2 c + 1, h, w], timesteps [n] -> out [n, c, h, w].

        What a graph answers beyond c channels, a learned variance, is left out.

        Raises:
            ValueError: timesteps differ, and the graph takes one for all rows.
        """
        call = Call(latents, timesteps, conditionings, self._part, self._traits, self._downscale, self._stacks)
        feeds = {name: FEEDS[name](call) for name in self._session.inputs}
        feeds |= self._adapters.feeds(self._part.folder, [row.loras for row in conditionings])
        if not self.batched_timestep:
            if (timesteps != timesteps[0]).any():
                raise ValueError(f"this model takes one timestep for all rows of a call, not {timesteps}")
            feeds[TIMESTEP] = feeds[TIMESTEP][0]
        out = self._session.run(self._part.out, **feeds)
        out = unpack(out, latents.shape[2:], self._part.patch) if self._part.packed else out
        return out[:, : self._channels]
