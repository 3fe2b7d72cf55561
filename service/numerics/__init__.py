"""Sampling mathematics: a model's scheduler configuration becomes a table of coefficients, which a trajectory follows.

    diffusion = Diffusion.from_config(json.loads(text))         how the model was trained
    table = make_table(diffusion, 20, sampler="dpmpp_2m")       all coefficients, float64
    row = Trajectory.from_noise(table, (4, 64, 64), TorchNoise(seed))
    while not row.done:
        x, timestep = row.model_input()
        row.advance(network(x, timestep))
    latents = row.x

Rules:
- Only numpy is imported.
- Nothing here knows sessions, requests or model names.
- Randomness is passed in.
- A sampler knows only its path.

`__all__` is the public interface; other packages import nothing else from here.
"""

from .choices import Incompatible, InvalidChoice, InvalidSetting, OutOfRange, UnknownName
from .diffusion import Diffusion
from .noise import TorchNoise
from .path import Levels, Prediction
from .resolve import make_table, max_steps, resolve
from .samplers import SAMPLERS, fixed_samplers, samplers_for
from .schedules import SCHEDULES, Shift
from .table import Table
from .trajectory import PLAIN, GuidanceRule, KeptNorm, KeptPart, Noise, Trajectory, guide, noised

__all__ = [
    "PLAIN",
    "SAMPLERS",
    "SCHEDULES",
    "Diffusion",
    "GuidanceRule",
    "Incompatible",
    "InvalidChoice",
    "InvalidSetting",
    "KeptNorm",
    "KeptPart",
    "Levels",
    "Noise",
    "OutOfRange",
    "Prediction",
    "Shift",
    "Table",
    "TorchNoise",
    "Trajectory",
    "UnknownName",
    "fixed_samplers",
    "guide",
    "make_table",
    "max_steps",
    "noised",
    "resolve",
    "samplers_for",
]
