"""Whether the seeds of one prompt give clearly different images, compared with what the renderer draws.

The distance of two images is the root mean square of the difference of their pixels, 0 to 1, at 32 by 32: fine detail,
which always differs, hardly counts.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from ..scenes.dataset import ImageArray, render_pixels
from ..scenes.spec import SceneSpec, make_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .pipeline import OnnxPipeline

SEEDS = (0, 1, 2)
# The prompts, with the terrain, the water and the time of the images that the renderer draws for them.
SCENES = {
    "a mountain lake at sunset": ("mountains", "lake", "sunset"),
    "rolling hills on a sunny day": ("hills", "none", "day"),
    "a desert at sunset": ("desert", "none", "sunset"),
    "a beach on a sunny day": ("beach", "sea", "day"),
    "a pine forest at night": ("forest", "none", "night"),
    "a city skyline at night": ("city", "none", "night"),
}
SMALL = 32


def measure_distance(images: Sequence[ImageArray]) -> float:
    """Return the mean distance of all pairs of images, each uint8 [256, 256, 3]."""
    small = [image.reshape(SMALL, -1, SMALL, image.shape[0] // SMALL, 3).mean((1, 3)) / 255 for image in images]
    return float(np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.combinations(small, 2)]))


def measure_diversity(pipeline: OnnxPipeline) -> list[tuple[str, float, float]]:
    """Return for each prompt the mean distance of its seeds, and that of images that the renderer draws for it."""
    rows = []
    for prompt, scene in SCENES.items():
        made = pipeline.generate([prompt] * len(SEEDS), SEEDS)
        drawn = [render_pixels(seed) for seed in itertools.islice(_find_seeds(scene), len(SEEDS))]
        rows.append((prompt, measure_distance(list(made)), measure_distance(drawn)))
    return rows


def _find_seeds(scene: tuple[str, str, str]) -> Iterator[int]:
    """Yield the seeds of images of a scene in clear weather."""
    for seed in itertools.count():
        content = make_spec(seed)
        if not isinstance(content, SceneSpec) or content.weather != "clear":
            continue
        if (content.terrain, content.water, content.time) == scene:
            yield seed


def report_diversity(rows: list[tuple[str, float, float]]) -> str:
    """Return the distances as text, with the ratio of their means."""
    ratio = np.mean([made for _, made, _ in rows]) / np.mean([drawn for *_, drawn in rows])
    lines = [f"  {prompt}: {made:.3f} and {drawn:.3f}" for prompt, made, drawn in rows]
    return "\n".join([f"distance of {len(SEEDS)} seeds: {ratio:.2f} of the renderer's", *lines])
