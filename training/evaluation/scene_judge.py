"""A judge of landscapes: a small network that names the content of an image from `scene_features`.

It is fitted to rendered images, whose content is known, some of them blurred or noisy as generated images can be.
It never sees a generated image or a prompt. `check` measures it on rendered images that it was not fitted to.
"""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..scenes.dataset import render_chunks, render_pixels
from ..scenes.spec import (
    BALLOON,
    CAR,
    HOUSE,
    SAIL,
    SHAPES_SHARE,
    TERRAINS,
    TIMES,
    WATERS,
    WEATHERS,
    SceneSpec,
    make_spec,
)
from .scene_features import measure_features, reduce_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..scenes.dataset import ImageArray
    from .scene_features import Pixels

# What an image shows: for each fact its value. An object's value is its colour, `PRESENT` or `ABSENT`.
Reading = dict[str, str]
PRESENT, ABSENT = "present", ""
# Seeds of the images for fitting, and of those for the check; training starts at seed 0.
FIT_SEED, CHECK_SEED = 10_000_000, 20_000_000
IMAGES, EPOCHS, BATCH = 6000, 14, 128
WIDTH = 256
# Images of the check, and copies of each image for fitting besides the image itself.
CHECKED, COPIES = 800, 3
# The weight of an image that has an object, if an image without it has 1.
PRESENCE = 2.5
# The largest deviations of noise and of a channel, of 255, and the deviation of a channel's gain.
NOISE, GAIN = 6.0, 0.05
_PLAIN = ("lighthouse", "palm tree", "cactus", "moon")
_COLORED = {"balloon": BALLOON, "sailboat": SAIL, "house": HOUSE, "car": CAR}
# The values of each fact, in the order of the network's outputs.
FACTS: dict[str, tuple[str, ...]] = {
    "terrain": tuple(TERRAINS),
    "time": tuple(TIMES),
    "weather": tuple(WEATHERS),
    "water": tuple(dict.fromkeys(itertools.chain(*WATERS.values()))),
    **{name: (ABSENT, *dict.fromkeys(colors)) for name, colors in _COLORED.items()},
    **dict.fromkeys(_PLAIN, (ABSENT, PRESENT)),
}


def describe(scene: SceneSpec) -> Reading:
    """Return the right reading of a rendered scene."""
    reading = {name: getattr(scene, name) for name in ("terrain", "time", "weather", "water")}
    for name, values in FACTS.items():
        if name not in reading:
            color = scene.objects.get(name)
            reading[name] = ABSENT if color is None else color if color in values[1:] else PRESENT
    return reading


class SceneJudge:
    """The network; `checked` is what `check` returned, once it was called."""

    def __init__(self, inputs: int) -> None:
        self.network = _make_network(inputs)
        self.checked: dict[str, float] = {}

    @classmethod
    def fit(cls, reduced: Pixels, readings: Sequence[Reading], epochs: int = EPOCHS) -> SceneJudge:
        """Fit a judge to reduced images, uint8 [n, 64, 64, 3], whose readings are known."""
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        copies = [reduced, *(_degrade_parts(reduced, rng) for _ in range(COPIES))]
        inputs = torch.from_numpy(np.concatenate([measure_features(copy) for copy in copies]))
        targets = torch.tensor([_to_indices(reading) for reading in readings]).repeat(len(copies), 1)
        judge = cls(inputs.shape[1])
        _train(judge.network, inputs, targets, epochs)
        return judge

    @classmethod
    def load_or_fit(cls, folder: Path) -> SceneJudge:
        """Load the judge of the present renderer from `folder`; fit and save it if there is none."""
        path = folder / f"scene-judge-{fingerprint():08x}.pt"
        if not path.exists():
            judge = cls.fit(*render_scenes(FIT_SEED, IMAGES))
            judge.checked = judge.check(*render_scenes(CHECK_SEED, CHECKED))
            judge.save(path)
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> SceneJudge:
        """Load a judge that `save` wrote."""
        stored = torch.load(path, weights_only=True)
        judge = cls(stored["network"]["0.mean"].shape[0])
        judge.network.load_state_dict(stored["network"])
        judge.network.eval()
        judge.checked = stored["checked"]
        return judge

    def save(self, path: Path) -> None:
        """Write the network and the results of its check."""
        torch.save({"network": self.network.state_dict(), "checked": self.checked}, path)

    def read(self, images: ImageArray) -> list[Reading]:
        """Read images, uint8 [n, 256, 256, 3]."""
        return self.read_reduced(reduce_images(images)) if len(images) else []

    def read_reduced(self, reduced: Pixels) -> list[Reading]:
        """Read reduced images, uint8 [n, 64, 64, 3]."""
        with torch.inference_mode():
            outputs = self.network(torch.from_numpy(measure_features(reduced)))
        chosen = torch.stack([part.argmax(1) for part in _split(outputs)], 1)
        return [
            {name: values[place] for (name, values), place in zip(FACTS.items(), row, strict=True)}
            for row in chosen.tolist()
        ]

    def check(self, reduced: Pixels, readings: Sequence[Reading]) -> dict[str, float]:
        """Return for each fact the fraction of other rendered images, degraded, that the judge reads rightly."""
        return measure_agreement(readings, self.read_reduced(_degrade_parts(reduced, np.random.default_rng(1))))


def measure_agreement(wanted: Sequence[Reading], read: Sequence[Reading]) -> dict[str, float]:
    """Return for each fact how often two readings agree.

    An object counts half where it is and half where it is not: an object that is rare must be found, too.
    """
    rates = {}
    for name, values in FACTS.items():
        pairs = [(first[name], second[name]) for first, second in zip(wanted, read, strict=True)]
        groups = [[a == b for a, b in pairs if (a == ABSENT) is absent] for absent in (True, False)]
        shares = [float(np.mean(group)) for group in groups if group]
        rates[name] = float(np.mean(shares)) if ABSENT in values else float(np.mean([a == b for a, b in pairs]))
    return rates


def render_scenes(first: int, count: int) -> tuple[Pixels, list[Reading]]:
    """Render about `count` landscapes from seed `first` on: reduced images, and their readings."""
    seeds, parts, readings = round(count / (1 - SHAPES_SHARE)), [], []
    for images, _ in render_chunks(first, seeds):
        specs = [make_spec(seed) for seed in range(first, first + len(images))]
        parts.append(reduce_images(images[[isinstance(spec, SceneSpec) for spec in specs]]))
        readings += [describe(spec) for spec in specs if isinstance(spec, SceneSpec)]
        first += len(images)
    return np.concatenate(parts), readings


def fingerprint() -> int:
    """Return a number that changes with the renderer."""
    return zlib.crc32(b"".join(render_pixels(seed).tobytes() for seed in range(FIT_SEED, FIT_SEED + 24)))


def _to_indices(reading: Mapping[str, str]) -> list[int]:
    return [values.index(reading[name]) for name, values in FACTS.items()]


def _split(outputs: Tensor) -> tuple[Tensor, ...]:
    """Split the outputs of the network into those of each fact."""
    return outputs.split([len(values) for values in FACTS.values()], dim=1)


class _Standardize(nn.Module):
    """Subtract the mean of every feature, and divide by its deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))

    def fit(self, inputs: Tensor) -> None:
        self.mean, self.deviation = inputs.mean(0), inputs.std(0) + 0.02

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.deviation


def _make_network(inputs: int) -> nn.Sequential:
    outputs = sum(len(values) for values in FACTS.values())
    layers = (nn.Dropout(0.1), nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Dropout(0.2), nn.Linear(WIDTH, outputs))
    return nn.Sequential(_Standardize(inputs), *layers)


def _train(network: nn.Sequential, inputs: Tensor, targets: Tensor, epochs: int) -> None:
    """Train with the cross entropy of all facts."""
    first = network[0]
    first.fit(inputs)
    # Objects are rare, and to miss one is no better than to invent one.
    weights = [torch.tensor([1.0 if value == ABSENT else PRESENCE for value in values]) for values in FACTS.values()]
    steps = len(inputs) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(BATCH)[:steps]:
            parts = zip(_split(network(inputs[rows])), targets[rows].T, weights, strict=True)
            loss = torch.stack([functional.cross_entropy(part, right, weight) for part, right, weight in parts]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
    network.eval()


def _degrade_parts(reduced: Pixels, rng: np.random.Generator) -> Pixels:
    return np.concatenate([degrade(reduced[low : low + BATCH], rng) for low in range(0, len(reduced), BATCH)])


def degrade(reduced: Pixels, rng: np.random.Generator) -> Pixels:
    """Return copies as a model may generate them: blurred, shifted, mirrored, in other colours, and with noise."""
    count = len(reduced)
    pixels = np.roll(reduced, (int(rng.integers(-3, 4)), int(rng.integers(-4, 5))), (1, 2)).astype(np.float32)
    for _ in range(2):
        soft = sum(np.roll(pixels, step, axis) for step in (-1, 1) for axis in (1, 2)) / 4
        share = rng.random((count, 1, 1, 1), np.float32) * (rng.random((count, 1, 1, 1)) < 0.6)
        pixels += share * (soft - pixels)
    pixels *= rng.normal(1, GAIN, (count, 1, 1, 3))
    pixels += rng.normal(0, NOISE, (count, 1, 1, 3))
    pixels += rng.normal(0, 1, pixels.shape) * rng.random((count, 1, 1, 1)) * NOISE
    mirrored = rng.random(count) < 0.5
    pixels[mirrored] = pixels[mirrored, :, ::-1]
    return pixels.clip(0, 255).astype(np.uint8)
