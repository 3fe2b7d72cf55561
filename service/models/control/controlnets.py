"""The ControlNets of a loaded model, and the residuals that they give for the rows of a denoiser call.

A ControlNet reads what the denoiser reads, and a hint: an image such as edges, depth or a pose (Zhang et al.
2302.05543). Its residuals are added to the denoiser's hidden states. Rows without it get zeros, so all rows of a call
share the denoiser's graph.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InvalidField, ModelBroken
from ..files import ModelFileError
from ..pipeline.graph_inputs import GRAPH_INPUTS, pack
from . import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..folder.manifest import Manifest
    from ..graph_source import GraphSource
    from ..model import Array, ControlInput, Shape
    from ..pipeline.graph_inputs import DenoiserCall
    from ..pipeline.vae import Vae
    from ..runtime.session import Session

RESIDUAL, SINGLE = "control.", "control.single."
HINT, SCALE, MODE, POOLED = "controlnet_cond", "conditioning_scale", "controlnet_mode", "pooled_projections"
GUIDANCE, TIMESTEP = "guidance", "timestep"  # models without guidance, and with one timestep for all rows, have it too
LATENTS = ("sample", "hidden_states")  # inpainting models read further channels
# Names of a ControlNet's outputs, by the denoiser's inputs that they change, if the blocks of both differ.
BLOCKS = {RESIDUAL: "block.", SINGLE: "single."}


class ControlNets:
    """Opens the ControlNets of a model when they are first used, and keeps the last ones.

    `taken` are the names of the optional inputs of the denoiser's graph, `read` its other inputs: ranks, and lengths of
    the last axis where they are fixed.
    """

    def __init__(
        self,
        manifest: Manifest,
        taken: Iterable[str],
        read: Mapping[str, tuple[int, int | None]],
        open_session: Callable[[GraphSource], Session],
        vae: Vae,
    ) -> None:
        self._manifest, self._read, self._open_session, self._vae = manifest, read, open_session, vae
        self._taken = [name for name in taken if name.startswith(RESIDUAL)]
        self._sessions: OrderedDict[str, tuple[files.ControlFile, Session]] = OrderedDict()

    def encode_hint(self, name: str, pixels: Array, draw: Callable[[Shape], Array]) -> Array:
        """Return what a ControlNet reads of pixels [3, H, W] in 0..1: these, or latents [c, h, w] drawn with noise.

        Raises:
            InvalidField: the ControlNet cannot be used with this model.
            ModelBroken: its files are damaged.
        """
        file, _ = self._get(name)
        if not file.kind.latents:
            return pixels
        shape = self._manifest.spec.latent_shape(*pixels.shape[:0:-1])
        noise = draw(shape) if file.kind.drawn else np.zeros(shape, np.float32)
        latents: Array = self._vae.encode(pixels[np.newaxis], noise[np.newaxis])[0]
        if not file.without_text:
            return latents
        shift, scale = (
            np.asarray(factor, np.float32).reshape(-1, 1, 1)
            for factor in (self._manifest.config.shift_factor, self._manifest.config.scaling_factor)
        )
        return np.asarray(latents + shift * scale, np.float32)

    def residuals(self, call: DenoiserCall) -> dict[str, Array]:
        """Return the denoiser's inputs for a call, {} if no row has a ControlNet."""
        total: dict[str, Array] = {}
        for name in dict.fromkeys(control.name for row in call.rows for control in row.controls):
            for place, control in _uses(call, name):
                own = self._run(name, _rows(call, place), control)
                for residual, array in own.items():
                    whole = total.setdefault(residual, np.zeros((len(call.rows), *array.shape[1:]), np.float32))
                    whole[place] += array
        return total

    def _run(self, name: str, call: DenoiserCall, controls: Sequence[ControlInput]) -> dict[str, Array]:
        """Return the residuals of one ControlNet for rows that all have it."""
        file, session = self._get(name)
        hints = call.stack([control.hint for control in controls])
        own = {
            HINT: pack(hints, call.spec.patch) if call.spec.packed else hints,
            SCALE: np.array([control.weight for control in controls], np.float32),
            MODE: np.array([[control.mode] for control in controls], np.int64),
        }
        inputs = {each: own[each] if each in own else GRAPH_INPUTS[each](call) for each in session.inputs}
        if file.without_text and POOLED in inputs:
            inputs[POOLED] = np.zeros_like(inputs[POOLED])
        outputs = dict(zip(session.outputs, session.compute(session.outputs, inputs), strict=True))
        return self._placed(file, outputs)

    def _placed(self, file: files.ControlFile, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of a ControlNet by the denoiser's inputs that they change."""
        if file.kind.block is None:
            return dict(outputs)
        placed: dict[str, Array] = {}
        for prefix, names in (
            (SINGLE, [name for name in self._taken if name.startswith(SINGLE)]),
            (RESIDUAL, [name for name in self._taken if not name.startswith(SINGLE)]),
        ):
            others = sum(name.startswith(BLOCKS[prefix]) for name in outputs)
            blocks = len(names) + (not any(name.startswith(SINGLE) for name in self._taken))  # SD3's last has none
            for name in names if others else ():
                block = file.kind.block(int(name.removeprefix(prefix)), blocks, others)
                placed[name] = outputs[f"{BLOCKS[prefix]}{block}"]
        return placed

    def _get(self, name: str) -> tuple[files.ControlFile, Session]:
        """Return an open ControlNet; the one used longest ago is closed if there are too many."""
        if name in self._sessions:
            self._sessions.move_to_end(name)
            return self._sessions[name]
        if not self._taken:
            advice = "unload the model and load it again, or export it with --with-lora"
            problem = f"{name!r} cannot be used: the denoiser's graph has no inputs for it; {advice}"
            raise InvalidField("controls", problem)
        while len(self._sessions) >= files.KEPT:
            self._sessions.popitem(last=False)
        try:
            file = files.find(self._manifest.folder, name)
            session = self._open_session(file.source(self._manifest.options))
        except ModelFileError as error:
            raise ModelBroken(self._manifest.spec.name, [f"ControlNet {name!r}: {error}"]) from error
        self._check(name, file, session)
        self._sessions[name] = file, session
        return file, session

    def _check(self, name: str, file: files.ControlFile, session: Session) -> None:
        """Raise InvalidField if a ControlNet does not belong to this model."""
        foreign = set(session.outputs) - set(self._taken) if file.kind.block is None else set()
        problem = next(self._differences(session), "")
        if not problem and foreign:
            problem = f"it changes {min(foreign)}, which this model does not have"
        if not problem and HINT not in session.inputs:
            problem = f"its graph has no input {HINT}"
        if problem:
            raise InvalidField("controls", f"{name!r} cannot be used: it was made for another model: {problem}")

    def _differences(self, session: Session) -> Iterator[str]:
        """Yield a message for each input of a ControlNet that the denoiser does not read, or of another width."""
        for name, (_, rank) in session.inputs.items():
            if name in (HINT, SCALE, MODE, GUIDANCE):
                continue
            if name not in self._read:
                yield f"it reads {name}, which this model does not"
                continue
            own, (its_rank, its) = session.widths.get(name), self._read[name]
            if name != TIMESTEP and rank != its_rank:
                yield f"it reads {name} of {rank} axes; this model reads {its_rank}"
            elif name not in LATENTS and None not in (own, its) and own != its:
                yield f"it reads {name} of width {own}; this model reads {its}"


def _uses(call: DenoiserCall, name: str) -> list[tuple[list[int], list[ControlInput]]]:
    """Return the places of the rows that use a ControlNet, with its inputs; a row may use it several times."""
    by_place = [[control for control in row.controls if control.name == name] for row in call.rows]
    most = max(map(len, by_place))
    uses = []
    for turn in range(most):
        places = [place for place, own in enumerate(by_place) if len(own) > turn]
        uses.append((places, [by_place[place][turn] for place in places]))
    return uses


def _rows(call: DenoiserCall, places: Sequence[int]) -> DenoiserCall:
    """Return a call of some rows, without the further channels of an inpainting model."""
    latents = call.latents[:, : call.channels] if call.channels else call.latents
    rows = [call.rows[place] for place in places]
    return replace(call, latents=latents[list(places)], timesteps=call.timesteps[list(places)], rows=rows)
