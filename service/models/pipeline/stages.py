"""A stage: text encoders and a denoiser; and two stages as an ensemble of experts, as SDXL's base and refiner.

The first stage is called for high noise levels, the second for the last ones. Each encodes the prompts with its own
encoders. Rows of one call may be in different stages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..adapters.adapters import Adapters
    from ..control.image_adapters import ImageAdapters
    from ..model import Array, Conditioning, Prompt
    from ..text.encoders import TextEncoders
    from .denoiser import Denoiser


class Stage:
    """The text encoders, the `denoiser` and the `image_adapters` of one model, if these are opened."""

    def __init__(self, text: TextEncoders, denoiser: Denoiser, adapters: Adapters) -> None:
        self._text, self.denoiser, self._adapters = text, denoiser, adapters
        self.adapter_reader = adapters.read
        self.image_adapters: ImageAdapters | None = None
        self.batched_timestep, self.provider = denoiser.batched_timestep, denoiser.provider

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return the number of chunks of the longest prompt."""
        return self._text.chunks(prompts)

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Return the conditionings of one image's prompts, in order.

        Raises:
            InvalidField: an adapter or an embedding cannot be used.
        """
        held = [self._adapters.check(prompt.loras) for prompt in prompts]
        conditionings = self._text.encode(prompts, chunks)
        if self.image_adapters:
            conditionings = [self._with_images(*each) for each in zip(conditionings, prompts, strict=True)]
        return [replace(one, held=own) if own else one for one, own in zip(conditionings, held, strict=True)]

    def _with_images(self, conditioning: Conditioning, prompt: Prompt) -> Conditioning:
        """Return a conditioning with the keys and values of the prompt's images."""
        if not prompt.image_prompts or not self.image_adapters:
            return conditioning
        attended = self.image_adapters.attended(prompt.image_prompts, negative=prompt.negative)
        return replace(conditioning, attended=attended)

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the denoiser: latents [n, c, h, w], timesteps [n] -> out [n, c, h, w]."""
        return self.denoiser(latents, timesteps, conditionings)


class TwoStages:
    """A first stage, and a second one for timesteps below `below`."""

    def __init__(self, first: Stage, second: Stage, below: float) -> None:
        self._first, self._second, self._below = first, second, below
        self.denoiser = first.denoiser
        self.batched_timestep = first.batched_timestep and second.batched_timestep
        self.provider, self.adapter_reader = first.provider, first.adapter_reader

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return the number of chunks of the longest prompt in either stage."""
        return max(self._first.chunks(prompts), self._second.chunks(_without_additions(prompts)))

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Return the conditionings of the first stage; `later` of each is that of the second stage."""
        first, second = self._first.encode(prompts, chunks), self._second.encode(_without_additions(prompts), chunks)
        return [replace(one, later=other) for one, other in zip(first, second, strict=True)]

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call each stage for its rows: latents [n, c, h, w], timesteps [n] -> out [n, c, h, w]."""
        out = np.empty_like(latents)
        late = timesteps < self._below
        for stage, places in ((self._first, np.flatnonzero(~late)), (self._second, np.flatnonzero(late))):
            rows = [conditionings[place] for place in places.tolist()]
            if stage is self._second:
                rows = [replace(row.later, guidance_scale=row.guidance_scale) for row in rows if row.later]
            if rows:
                out[places] = stage.denoise(latents[places], timesteps[places], rows)
        return out


def _without_additions(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return prompts without adapters and embeddings, which only the first stage uses."""
    return [replace(prompt, loras=(), embeddings=()) for prompt in prompts]
