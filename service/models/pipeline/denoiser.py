"""The denoiser: one call of its graph for several rows of latents."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..control.image_adapters import PREFIX
from ..files import ModelFileError
from ..resident.graphs import DenoiserLayout, TimeInput
from ..runtime.array_cache import ArrayCache, freeze, stack
from .graph_inputs import GRAPH_INPUTS, DenoiserCall, pack, scale_timesteps, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        call = self._call(latents, timesteps, conditionings)
        inputs = {name: make(call) for name, make in self._graph_inputs}
        inputs |= self._prompt_inputs(conditionings)
        if self.controls and any(row.controls for row in conditionings):
            inputs |= self.controls.residuals(call)
        if not self.batched_timestep:
            if (timesteps != timesteps[0]).any():
                raise ValueError(f"this model takes one timestep for all rows of a call, not {timesteps}")
            inputs[TIMESTEP] = inputs[TIMESTEP][:1] if self._timestep_rank else inputs[TIMESTEP][0, ...]
        out = self._session.run(self._spec.out, **inputs)
        if self._spec.packed:
            height, width = latents.shape[2:]
            own = height * width // self._spec.patch**2  # tokens; those of the references follow
            out = unpack(out[:, :own], (height, width), self._spec.patch)
        return out if out.shape[1] == self._channels else out[:, : self._channels]

    def _prompt_inputs(self, conditionings: Sequence[Conditioning]) -> dict[str, Any]:
        """Return the inputs of adapters and image prompts."""
        loras = [row.loras for row in conditionings]
        inputs = self._adapters.graph_inputs(self._spec.folder, loras) if any(loras) else {}
        if not conditionings[0].attended:
            return inputs
        columns = zip(*(row.attended for row in conditionings), strict=True)
        return inputs | {name: stack(each) for name, each in zip(self.attending, columns, strict=True)}

    # Calls whose latents are on the device: `resident.denoising`.

    @property
    def device(self) -> str:
        """Onnxruntime's name of the device where results may stay; empty if they are always fetched."""
        return self._session.device

    @cached_property
    def layout(self) -> DenoiserLayout:
        """The types and the layout of latents and timesteps."""
        types, time_rank = self._session.types, self._session.inputs[TIMESTEP][1]
        time = TimeInput(np.dtype(types[TIMESTEP]).name, time_rank, not self.batched_timestep)
        patch = self._spec.patch if self._spec.packed else 0
        return DenoiserLayout(np.dtype(types[self._spec.latents]).name, time, patch)

    def scaled_timesteps(self, timesteps: npt.NDArray[np.float64]) -> Array:
        """Return what the graph reads for timesteps [n] of the sampler, before the cast to its type."""
        scaled = scale_timesteps(timesteps.astype(np.float32), self._config)
        return np.rint(scaled) if issubclass(self._session.types[TIMESTEP], np.integer) else scaled

    def reference_tokens(self, conditionings: Sequence[Conditioning]) -> Array | None:
        """Return the images to edit of each row as tokens [n, tokens, width]; None without them."""
        if not conditionings[0].references:
            return None
        columns = zip(*(row.references for row in conditionings), strict=True)
        return np.concatenate([pack(np.stack(each), self._spec.patch) for each in columns], axis=1)

    def constants(self, conditionings: Sequence[Conditioning], shape: tuple[int, int, int]) -> dict[str, Any]:
        """Return all inputs except latents, of `shape` [c, h, w], and timesteps; read-only, so each is sent once."""
        latents = np.broadcast_to(np.float32(0), (len(conditionings), *shape))  # no input here reads their values
        call = self._call(latents, np.zeros(len(conditionings), np.float32), conditionings)
        names = (name for name in self._session.inputs if name not in (self._spec.latents, TIMESTEP))
        inputs = {name: GRAPH_INPUTS[name](call) for name in names} | self._prompt_inputs(conditionings)
        return {name: freeze(array) for name, array in inputs.items()}

    def on_device(self, constants: Mapping[str, Any], latents: Any, timesteps: Any) -> Any:
        """Call the graph on latents and timesteps on the device; the result stays there until the next call."""
        values = {self._spec.latents: latents, TIMESTEP: timesteps}
        return self._session.compute_on_device(self._spec.out, constants, values)

    def _call(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> DenoiserCall:
        return DenoiserCall(
            latents,
            timesteps,
            conditionings,
            self._spec,
            self._config,
            self._downscale,
            self._stacks,
            self._channels,
        )
