"""One call of a denoiser's graph on rows of latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .families import DenoiserPart
    from .model import Array, Conditioning
    from .session import Session


class Denoiser:
    """The graph and what it calls its inputs. Raises Fault where they don't fit together."""

    def __init__(self, session: Session, part: DenoiserPart) -> None:
        session.require(inputs=(part.latents, part.timestep, part.prompt_embeds), output=part.out)
        self._session, self._part = session, part

    @property
    def batched_timestep(self) -> bool:
        """Whether the graph takes a timestep for each row; as optimum exports it, a UNet takes one for all."""
        return self._session.inputs[self._part.timestep][1] > 0

    @property
    def provider(self) -> str:
        """The short name of the provider that runs it."""
        return self._session.provider

    def __call__(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the graph: latents [n, c, h, w], timesteps [n] -> out [n, c, h, w].

        Raises:
            ValueError: timesteps differ, and the graph takes one for all rows.
        """
        if not self.batched_timestep:
            if (timesteps != timesteps[0]).any():
                raise ValueError(f"this model takes one timestep for all rows of a call, not {timesteps}")
            timesteps = timesteps[0]
        feeds = {
            self._part.latents: latents,
            self._part.timestep: np.asarray(timesteps),
            self._part.prompt_embeds: np.stack([conditioning.prompt_embeds for conditioning in conditionings]),
        }
        return self._session.run(self._part.out, **feeds)
