"""Images computed without the engine, as a reference."""

from typing import Any

import numpy as np

from tests.support.engine.exact import DIFFUSION, Bench, ExactModel
from tintype.service.engine.events import Finished
from tintype.service.models import Prompt
from tintype.service.numerics import TorchNoise, Trajectory, guide, make_table


def by_hand(prompt: str, seed: int, *, steps: int = 6, scale: float = 3.0, sampler: str = "ddim") -> np.ndarray:
    """Compute one image with numerics and the model only."""
    model = ExactModel()
    cond, uncond = model.encode([Prompt(prompt), Prompt("")])
    row = Trajectory.from_noise(make_table(DIFFUSION, steps, sampler=sampler), (4, 8, 8), TorchNoise(seed))
    while not row.done:
        x, t = row.model_input()
        out = model.denoise(np.stack([x, x]), np.array([t, t], np.float32), [cond, uncond])
        row.advance(guide(out[1:], out[:1], scale)[0])
    return model.decode(row.x[np.newaxis])[0]


def images(bench: Bench, ticket: Any) -> list[np.ndarray]:
    found = sorted(bench.of(ticket, Finished), key=lambda event: event.index)
    return [event.pixels for event in found]
