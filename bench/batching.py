"""What rows gain by sharing a call of the denoiser, by their number, and whether the engine finds it out by itself.

    python bench/batching.py [MODEL_FOLDER ...] [--size 256] [--rounds 9] [--threads 0] [--provider cpu]

First the bare model: rows per second of calls for 1, 2, 4, 8 rows, against one row a call. Then the engine: eight
pictures that eight callers want at the same time, by the most that may share a call, against one a call; "measured" is
what it does by itself. Numbers come in turns; ratios are medians over the rounds, with their range. Without a folder:
the built-in model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tintype.service.engine import Engine, Limits
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.model import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tintype.service.models import Model

NUMBERS = (1, 2, 4, 8)
PICTURES = 8
STEPS = 4

K = TypeVar("K")


def call(model: Model, rows: int, size: int) -> Callable[[], float]:
    """Return what calls the denoiser once for `rows` and returns rows per second."""
    spec, conditioning = model.spec, model.encode([Prompt("a lake")])[0]
    latents = np.random.default_rng(0).standard_normal(
        (rows, spec.latent_channels, size // spec.downscale, size // spec.downscale), np.float32
    )
    timesteps = np.full(rows, 500, np.float32)

    def run() -> float:
        began = time.perf_counter()
        model.denoise(latents, timesteps, [conditioning] * rows)
        return rows / (time.perf_counter() - began)

    return run


def company(repository: Repository, most: int, size: int) -> Callable[[], float]:
    """Return what draws eight pictures at once, at `most` a call, and returns pictures per second."""
    engine = Engine(repository, limits=Limits(max_batch=most))

    def run() -> float:
        for seed in range(PICTURES):
            caller = {"caller": str(seed), "width": size, "height": size}
            engine.admit(Job(prompt="a lake", seed=seed, steps=STEPS, guidance_scale=1.0, **caller))  # type: ignore[arg-type]
        began = time.perf_counter()
        while engine.step():
            pass
        return PICTURES / (time.perf_counter() - began)

    return run


def compare(title: str, sides: Mapping[K, Callable[[], float]], base: K, rounds: int) -> None:
    """Run all in turns, and print a table of speeds and of ratios to `base`."""
    speeds: dict[K, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 4):
        for name, run in sides.items():
            speed = run()
            speeds[name] += [speed] if number >= 4 else []  # until the widths are found
    print(f"\n| {title} | per second | ratio, and its range |\n|---|---|---|")
    for name, found in speeds.items():
        ratios = sorted(a / b for a, b in zip(found, speeds[base], strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {name} | {statistics.median(found):.3g} | {spread} |", flush=True)


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--provider", default="cpu")
    args = parser.parse_args()
    for folder in args.models or [None]:
        folders = [folder] if folder else []
        with Repository(folders, providers=[args.provider], threads=args.threads) as repository:
            model = repository.wait(timeout=600)
            print(f"\n{model.spec.name} on {args.provider}, {args.size}x{args.size}")
            compare("rows a call", {n: call(model, n, args.size) for n in NUMBERS}, 1, args.rounds)
            engines = {str(n or "measured"): company(repository, n, args.size) for n in (*NUMBERS, 0)}
            compare("pictures a call, at most", engines, "1", args.rounds)


if __name__ == "__main__":
    main()
