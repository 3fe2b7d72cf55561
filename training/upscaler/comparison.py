"""The upscaler beside Lanczos: halve images with a known original, enlarge them again, and measure the difference.

Rendered images are held out by their seeds. Photographs are not part of this project: name a folder of some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tintype.service.images.upscaler import FACTOR, Filters, double

from ..scenes.render import render
from ..scenes.spec import make_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from .textures import Pixels

    Enlarge = Callable[[Pixels], Pixels]

FIRST_SEED, RENDERED, SIDE = 3_000_000, 24, 512
LARGEST = 1024  # pixels, side of the part of a photograph that is used
BORDER = 8  # pixels that are not measured
SHRINKS = {"area": Image.Resampling.BOX, "bicubic": Image.Resampling.BICUBIC}
# The constants of SSIM, and the side of its window (Wang et al., "Image quality assessment", 2004).
C1, C2, WINDOW = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 7


@dataclass(frozen=True)
class Quality:
    """Means over images: peak signal-to-noise ratio in dB of RGB, and structural similarity of luma."""

    psnr: float
    ssim: float


def compare(filters: Filters, photos: Path | None = None) -> str:
    """Return a table of the upscaler and Lanczos on rendered images, and on the photographs in a folder."""
    sets = {"rendered": [np.asarray(render(make_spec(FIRST_SEED + n), SIDE)) for n in range(RENDERED)]}
    if photos:
        sets["photographs"] = [_read(path) for path in sorted(photos.iterdir())]
    ways: dict[str, Enlarge] = {"Lanczos": _lanczos, "upscaler": lambda small: double(small, lambda: None, filters)}
    lines = ["| images | halved by | | PSNR, dB | SSIM |", "|---|---|---|---|---|"]
    for name, images in sets.items():
        for shrink, resampling in SHRINKS.items():
            for way, enlarge in ways.items():
                found = measure(images, resampling, enlarge)
                lines.append(f"| {len(images)} {name} | {shrink} | {way} | {found.psnr:.2f} | {found.ssim:.4f} |")
    return "\n".join(lines)


def measure(images: Iterable[Pixels], resampling: Image.Resampling, enlarge: Enlarge) -> Quality:
    """Halve images with a filter, enlarge them, and compare them with themselves."""
    found = []
    for image in images:
        small = Image.fromarray(image).resize((image.shape[1] // FACTOR, image.shape[0] // FACTOR), resampling)
        enlarged = enlarge(np.asarray(small))[BORDER:-BORDER, BORDER:-BORDER].astype(np.float64)
        original = image[BORDER:-BORDER, BORDER:-BORDER].astype(np.float64)
        error = max(1e-6, float(np.square(enlarged - original).mean()))
        found.append((10 * np.log10(255**2 / error), _ssim(_luma(enlarged), _luma(original))))
    psnr, ssim = np.mean(found, axis=0)
    return Quality(float(psnr), float(ssim))


def _lanczos(small: Pixels) -> Pixels:
    size = (small.shape[1] * FACTOR, small.shape[0] * FACTOR)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.LANCZOS))


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        width, height = (min(side, LARGEST) // FACTOR * FACTOR for side in image.size)
        return np.asarray(image.convert("RGB").crop((0, 0, width, height)))


def _luma(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(image @ np.array([0.299, 0.587, 0.114]))


def _ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    mean_first, mean_second = _local_mean(first), _local_mean(second)
    variances = _local_mean(first**2) + _local_mean(second**2) - mean_first**2 - mean_second**2
    covariance = _local_mean(first * second) - mean_first * mean_second
    light = (2 * mean_first * mean_second + C1) / (mean_first**2 + mean_second**2 + C1)
    return float((light * (2 * covariance + C2) / (variances + C2)).mean())


def _local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means over windows of 7 by 7."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(
        (sums[WINDOW:, WINDOW:] - sums[:-WINDOW, WINDOW:] - sums[WINDOW:, :-WINDOW] + sums[:-WINDOW, :-WINDOW])
        / WINDOW**2
    )
