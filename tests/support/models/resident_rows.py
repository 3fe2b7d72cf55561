"""A denoiser of plain arithmetic whose results stay on the CPU as a device, and rows that it advances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support.numerics.configs import V_PREDICTION
from tintype.service.models.graph_writer import FLOAT, GraphWriter
from tintype.service.models.model import Conditioning
from tintype.service.models.resident.graphs import DenoiserLayout, TimeInput
from tintype.service.models.resident.interface import ResidentCall
from tintype.service.models.resident.values import Device, Function
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.numerics import PLAIN, TorchNoise, Trajectory, guide, make_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tintype.service.models.model import Array
    from tintype.service.models.resident.denoising import ResidentDenoiser
    from tintype.service.models.resident.trajectory import ResidentTrajectory
    from tintype.service.numerics import GuidanceRule, KeptPart

CPU = Device("cpu", "cpu")
SHAPE = (2, 4, 6)


def prompt(number: float, tokens: int = 3) -> Conditioning:
    return Conditioning(np.full((tokens, 1), number, np.float32))


class TinyDenoiser:
    """`out = 0.3 tanh(latents) + prompt + timestep / 1000`, elementwise; the result has `more` further channels.

    As on a device, the next call of a shape overwrites its result. `failures` are errors that the next calls raise.
    """

    device = "cpu"

    def __init__(self, more: int = 0) -> None:
        self.layout = DenoiserLayout(FLOAT, TimeInput(FLOAT, 1, single=False), 0)
        self.failures: list[Exception | None] = []
        self._session = onnxruntime().InferenceSession(write(more), providers=["CPUExecutionProvider"])
        self._function, self._outs, self._more = Function(self._session), dict[int, Any](), more

    def scaled_timesteps(self, timesteps: Array) -> Array:
        return timesteps.astype(np.float32)

    def reference_tokens(self, _: Sequence[Conditioning]) -> None:
        return None

    def constants(self, conditionings: Sequence[Conditioning], _: tuple[int, ...]) -> dict[str, Any]:
        return {"prompt": CPU.send(prompts(conditionings))}

    def on_device(self, constants: Mapping[str, Any], latents: Any, timesteps: Any) -> Any:
        if self.failures and (error := self.failures.pop(0)):
            raise error
        n, channels, *rest = latents.shape()
        out = self._outs.setdefault(n, CPU.allocate((n, channels + self._more, *rest), FLOAT))
        self._function({"sample": latents, "timestep": timesteps, **constants}, {"out": out})
        return out

    def on_host(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        feeds = {"sample": latents, "timestep": timesteps, "prompt": prompts(conditionings)}
        out: Array = self._session.run(["out"], feeds)[0]
        return out[:, : latents.shape[1]]


def prompts(conditionings: Sequence[Conditioning]) -> Array:
    return np.array([each.prompt_embeds[0, 0] for each in conditionings], np.float32)


def write(more: int) -> bytes:
    g = GraphWriter("denoiser")
    sample = g.input("sample", FLOAT, ("n", "c", "h", "w"))
    numbers = [g.input(name, FLOAT, ("n",)) for name in ("timestep", "prompt")]
    time, text = (g.apply("Unsqueeze", each, g.constant([1, 2, 3], "int64")) for each in numbers)
    out = g.apply("Mul", g.apply("Tanh", sample), g.constant(0.3))
    out = g.apply("Add", g.apply("Add", out, text), g.apply("Div", time, g.constant(1000)))
    if more:
        out = g.apply("Concat", out, g.apply("Gather", sample, g.constant([0] * more, "int64"), axis=1), axis=1)
    g.output("out", out, FLOAT, ("n", "d", "h", "w"))
    return g.content()


class Pair:
    """One row twice: on the host and on a device."""

    def __init__(
        self,
        sampler: str,
        seed: int,
        *,
        steps: int = 5,
        scale: float = 1.0,
        rescale: float = 0.0,
        kept: KeptPart | None = None,
        negative_tokens: int = 3,
    ) -> None:
        table = make_table(V_PREDICTION, steps, sampler=sampler)
        self.host = self._row(table, seed, kept)
        self._joining: Trajectory | None = self._row(table, seed, kept)
        self._device: ResidentTrajectory | None = None
        guided = (prompt(-seed / 10, negative_tokens),) if scale > 1 else ()
        self.conditionings = (prompt(seed / 10), *guided)
        self.scale, self.rescale = scale, rescale

    @staticmethod
    def _row(table: Any, seed: int, kept: KeptPart | None) -> Trajectory:
        stream = TorchNoise(seed)
        return Trajectory(table, stream.normal(SHAPE) * np.float32(table.init), stream, kept)

    def device(self, resident: ResidentDenoiser) -> ResidentTrajectory:
        """Return the row on the device, where it joins if it is on the host."""
        if self._joining:
            self._device, self._joining = resident.join(self._joining), None
        assert self._device
        return self._device

    def leave(self, resident: ResidentDenoiser) -> None:
        """Move the row back to the host."""
        self._joining, self._device = self.device(resident).to_host(), None


def advance(
    denoiser: TinyDenoiser,
    resident: ResidentDenoiser,
    pairs: Sequence[Pair],
    *,
    width: int = 99,
    rule: GuidanceRule = PLAIN,
    estimated: Callable[[int], bool] = lambda _: False,
) -> None:
    """Advance rows by one step, on the device and on the host."""
    calls = [
        ResidentCall(
            pair.device(resident),
            pair.conditionings,
            pair.scale + rule.offset,
            pair.rescale,
            estimated(place),
        )
        for place, pair in enumerate(pairs)
    ]
    resident.advance(calls, width, rule)
    for pair in pairs:
        x, timestep = pair.host.model_input()
        outs = [denoiser.on_host(x[None], np.array([timestep], np.float32), [each]) for each in pair.conditionings]
        out = guide(outs[1], outs[0], pair.scale, pair.rescale, rule) if len(outs) > 1 else outs[0]
        pair.host.advance(out[0])
