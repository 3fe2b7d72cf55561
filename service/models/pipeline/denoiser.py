"""The denoiser: one call of its graph for several rows of latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..control.image_adapters import PREFIX
from ..files import ModelFileError
from ..runtime.array_cache import ArrayCache, stack
from .graph_inputs import GRAPH_INPUTS, DenoiserCall, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..adapters.adapters import Adapters
    from ..control.controlnets import ControlNets
    from ..family import DenoiserSpec
    from ..folder.configs import PipelineConfig
    from ..model import Array, Conditioning
    from ..runtime.session import Session
    from ..spec import ModelSpec

TIMESTEP, PROMPT = "timestep", "encoder_hidden_states"
CONDITIONING_INPUTS = {PROMPT: "prompt_embeds", "text_embeds": "pooled", "pooled_projections": "pooled"}
"""Inputs that come from text encoders, and the field of a conditioning for each."""


class Denoiser:
    """The denoiser's graph, called as the family and the model require.

    `taken` are the names of its optional inputs, `read` maps the others to their ranks and the lengths of their last
    axis where these are fixed; `controls` are the model's ControlNets, if they are opened.

    Raises:
        ModelFileError: the graph does not have the family's inputs and output.
    """

    def __init__(
        self, session: Session, spec: DenoiserSpec, config: PipelineConfig, model: ModelSpec, adapters: Adapters
    ) -> None:
        session.require(inputs=(spec.latents, TIMESTEP, PROMPT), output=spec.out, optional=GRAPH_INPUTS)
        self._session, self._spec, self._config, self._adapters = session, spec, config, adapters
        self._stacks = ArrayCache(stack)
        self._channels, self._downscale = model.latent_channels, model.downscale
        self.taken = tuple(session.optional)
        self.read = {name: (rank, session.widths.get(name)) for name, (_, rank) in session.inputs.items()}
        self.attending = tuple(name for name in self.taken if name.startswith(PREFIX))
        self.controls: ControlNets | None = None
        self._graph_inputs = [(name, GRAPH_INPUTS[name]) for name in session.inputs]
        self._timestep_rank = session.inputs[TIMESTEP][1]
        self._batched_timestep = self._timestep_rank > 0 and session.widths.get(TIMESTEP) != 1

    @property
    def batched_timestep(self) -> bool:
        """Return whether the graph takes a timestep for each row.

        UNets exported by optimum take a scalar for all rows, others a list of one.
        """
        return self._batched_timestep

    def check(self, conditioning: Conditioning) -> None:
        """Check that the text encoders give what the graph needs.

        Raises:
            ModelFileError: they belong to different models.
        """
        graph, inputs = self._session.label, self._session.inputs
        for name, field in CONDITIONING_INPUTS.items():
            array = getattr(conditioning, field)
            if name in inputs and array is None:
                raise ModelFileError(f"{graph} requires {name}, which the text encoders of this family do not give")
            if name in self._session.widths and array.shape[-1] != self._session.widths[name]:
                widths = f"of width {self._session.widths[name]}, but the text encoders give {array.shape[-1]}"
                raise ModelFileError(f"{graph} requires {name} {widths}: they belong to different models")

    @property
    def provider(self) -> str:
        """Return the short name of the provider that runs the graph."""
        return self._session.provider

    def __call__(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the graph: latents [n, c or 2 c + 1, h, w], timesteps [n] -> out [n, c, h, w].

        Further channels of the graph's output, a learned variance, are left out.

        Raises:
            ValueError: timesteps differ, but the graph takes one for all rows.
        """
        call = DenoiserCall(
            latents,
            timesteps,
            conditionings,
            self._spec,
            self._config,
            self._downscale,
            self._stacks,
            self._channels,
        )
        inputs = {name: make(call) for name, make in self._graph_inputs}
        inputs |= self._adapters.graph_inputs(self._spec.folder, [row.loras for row in conditionings])
        if self.controls:
            inputs |= self.controls.residuals(call)
        if conditionings[0].attended:
            columns = zip(*(row.attended for row in conditionings), strict=True)
            inputs |= {name: stack(each) for name, each in zip(self.attending, columns, strict=True)}
        if not self.batched_timestep:
            if (timesteps != timesteps[0]).any():
                raise ValueError(f"this model takes one timestep for all rows of a call, not {timesteps}")
            inputs[TIMESTEP] = inputs[TIMESTEP][:1] if self._timestep_rank else inputs[TIMESTEP][0]
        out = self._session.run(self._spec.out, **inputs)
        if self._spec.packed:
            height, width = latents.shape[2:]
            own = height * width // self._spec.patch**2  # tokens; those of the references follow
            out = unpack(out[:, :own], (height, width), self._spec.patch)
        return out[:, : self._channels]
