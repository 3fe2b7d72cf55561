"""Measure the speed of denoiser calls by batch width (rows per call), and whether the engine finds the best width.

    python bench/batching.py [MODEL_FOLDER ...] [--size 256] [--rounds 9] [--threads 0] [--provider cpu]

The first table has rows per second of denoiser calls with 1, 2, 4 and 8 rows. The second has images per second of the
engine for eight images of eight callers at the same time, by the maximum of rows per call; for "measured" the engine
chooses the width itself. Ratios compare with one row per call. The variants alternate; ratios are medians over the
rounds, with their range. Without a folder the built-in model is measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from ratios import ratio_and_range

from tintype.service.engine import Engine, Limits
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.model import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tintype.service.models import Model

WIDTHS = (1, 2, 4, 8)
IMAGES = 8
STEPS = 4
WARM_UP = 4  # uncounted rounds, in which the engine finds its batch width

K = TypeVar("K")


def denoiser_speed(model: Model, rows: int, size: int) -> Callable[[], float]:
    """Return a function that calls the denoiser once with `rows` rows and returns rows per second."""
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


def engine_speed(repository: Repository, max_batch: int, size: int) -> Callable[[], float]:
    """Return a function that generates eight images in calls of `max_batch` rows and returns images per second."""
    engine = Engine(repository, limits=Limits(max_batch=max_batch))

    def run() -> float:
        for seed in range(IMAGES):
            request: dict[str, Any] = {"caller": str(seed), "width": size, "height": size}
            engine.admit(Job(prompt="a lake", seed=seed, steps=STEPS, guidance_scale=1.0, **request))
        began = time.perf_counter()
        while engine.step():
            pass
        return IMAGES / (time.perf_counter() - began)

    return run


def compare(title: str, variants: Mapping[K, Callable[[], float]], base: K, rounds: int) -> None:
    """Run all variants in turn, and print a table of speeds and of ratios to `base`."""
    speeds: dict[K, list[float]] = {name: [] for name in variants}
    for number in range(rounds + WARM_UP):
        for name, run in variants.items():
            speed = run()
            speeds[name] += [speed] if number >= WARM_UP else []
    print(f"\n| {title} | per second | ratio (range) |\n|---|---|---|")
    for name, found in speeds.items():
        print(f"| {name} | {statistics.median(found):.3g} | {ratio_and_range(found, speeds[base])} |", flush=True)


def main() -> None:
    """Print both tables for each model."""
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
            compare("rows per call", {n: denoiser_speed(model, n, args.size) for n in WIDTHS}, 1, args.rounds)
            engines = {str(n or "measured"): engine_speed(repository, n, args.size) for n in (*WIDTHS, 0)}
            compare("maximum of rows per call", engines, "1", args.rounds)


if __name__ == "__main__":
    main()
