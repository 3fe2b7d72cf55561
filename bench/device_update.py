"""Measure what a device waits for between two denoiser calls: the sampler's update on the host, or the way around it.

    python bench/device_update.py [--rounds 60]

"host" is the time for stacking latents, guidance, update and the check of the result in numpy, without any copy to or
from the device. "device" is the time that a step with latents on the device takes outside its small graphs, with the
CPU provider as the device. Both in turns; the median and the least of all rounds, in microseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.models.graph_writer import FLOAT
from tintype.service.models.model import Conditioning
from tintype.service.models.resident.denoising import ResidentDenoiser
from tintype.service.models.resident.graphs import DenoiserLayout, TimeInput
from tintype.service.models.resident.interface import ResidentCall
from tintype.service.models.resident.values import Device, Function
from tintype.service.numerics import PLAIN, Diffusion, TorchNoise, Trajectory, guide, make_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tintype.service.models.model import Array

CPU = Device("cpu", "cpu")
SCALE = 3.0
SHAPES = (((4, 64, 64), 1), ((4, 128, 128), 1), ((4, 128, 128), 4), ((16, 128, 128), 4))  # latents, images


class Denoiser:
    """A denoiser that returns noise, without a call."""

    layout = DenoiserLayout(FLOAT, TimeInput(FLOAT, 1, single=False), 0)

    def __init__(self, out: Array) -> None:
        self._out = CPU.send(out)

    def scaled_timesteps(self, timesteps: Array) -> Array:
        """Return the timesteps as they are."""
        return timesteps.astype(np.float32)

    def reference_tokens(self, _: Sequence[Conditioning]) -> None:
        """There are no images to edit."""

    def constants(self, *_: object) -> dict[str, Any]:
        """Return no further inputs."""
        return {}

    def on_device(self, *_: object) -> Any:
        """Return the noise."""
        return self._out


class Clock:
    """Adds up the time that small graphs take."""

    def __init__(self) -> None:
        self.inside = 0.0
        call = Function.__call__

        def timed(function: Function, *args: Any) -> None:
            began = time.perf_counter()
            call(function, *args)
            self.inside += time.perf_counter() - began

        Function.__call__ = timed  # type: ignore[method-assign, assignment]

    def outside(self, began: float) -> float:
        """Return the seconds since `began` without those of small graphs."""
        seconds, self.inside = time.perf_counter() - began - self.inside, 0.0
        return seconds


def on_host(rows: Sequence[Trajectory], out: Array) -> None:
    """Do what the engine does between two calls, with guidance in one call."""
    inputs = [row.model_input() for row in rows]
    np.array([x for x, _ in inputs * 2])
    guided = guide(out[len(rows) :], out[: len(rows)], SCALE)
    for row, own in zip(rows, guided, strict=True):
        row.advance(own)
    if not all(row.finite for row in rows):
        raise RuntimeError("the latents are not finite")


def measure(shape: tuple[int, int, int], count: int, rounds: int, clock: Clock) -> None:
    """Print one line."""
    diffusion = Diffusion.from_config({"_class_name": "EulerDiscreteScheduler"})
    table = make_table(diffusion, rounds, sampler="dpmpp_2m")
    out = np.random.default_rng(0).standard_normal((2 * count, *shape), np.float32)
    resident: Any = ResidentDenoiser(Denoiser(out), CPU)  # type: ignore[arg-type]
    host = [Trajectory.from_noise(table, shape, TorchNoise(seed)) for seed in range(count)]
    device = [resident.join(Trajectory.from_noise(table, shape, TorchNoise(seed))) for seed in range(count)]
    prompts = tuple(Conditioning(np.zeros((1, 1), np.float32)) for _ in range(2))
    seconds: dict[str, list[float]] = {"host": [], "device": []}
    for _ in range(rounds):
        began = time.perf_counter()
        on_host(host, out)
        seconds["host"].append(time.perf_counter() - began)
        clock.inside, began = 0.0, time.perf_counter()
        resident.advance([ResidentCall(row, prompts, SCALE) for row in device], 2 * count, PLAIN)
        seconds["device"].append(clock.outside(began))
    figures = (
        f"{way} {1e6 * statistics.median(own):7.0f} (least {1e6 * min(own):6.0f})" for way, own in seconds.items()
    )
    print(f"latents {'x'.join(map(str, shape)):10} {count} images  {'   '.join(figures)}", flush=True)


def main() -> None:
    """Measure several shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    clock = Clock()
    for shape, count in SHAPES:
        measure(shape, count, args.rounds, clock)


if __name__ == "__main__":
    main()
