"""The settings of diffusers' scheduler_config.json: what each must be to be followed.

A setting that changes an image and that a table can't follow is refused by its key, when the model's folder is read:
an image that silently differs from diffusers' would be worse. A setting that the class does not read is not looked at.
"""

import math
from collections.abc import Iterator
from typing import Any

from .betas import BETAS
from .choices import InvalidSetting
from .scheduler_classes import KNOWN, Config, SchedulerClass

SCHEDULE_FLAGS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
    "use_lu_lambdas": "lu",
}

ONLY: dict[str, tuple[Any, ...]] = {
    "thresholding": (False, None),
    "clip_sample": (False, None),
    "skip_prk_steps": (True,),
    "predict_x0": (True,),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "invert_sigmas": (False, None),
    "variance_type": (None, "fixed_small"),
    "solver_type": ("midpoint", "heun", "bh1", "bh2", "logrho"),
    "solver_p": (None,),
    "scale_factors": (None, []),
    "lambda_min_clipped": (None, float("-inf"), "-inf", "-Infinity"),
    "beta_schedule": tuple(BETAS),
    "timestep_spacing": ("linspace", "leading", "trailing"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "time_shift_type": ("exponential", "linear"),
}
"""Settings of which only these values can be followed."""

FLAGS = {
    *("rescale_betas_zero_snr", "set_alpha_to_one", "lower_order_final", "euler_at_final", "stochastic_sampling"),
    *("use_flow_sigmas", "use_dynamic_shifting", *SCHEDULE_FLAGS),
}

COUNTS = {
    "num_train_timesteps": 1,
    "steps_offset": 0,
    "original_inference_steps": 1,
    "solver_order": 1,
    "base_image_seq_len": 1,
    "max_image_seq_len": 1,
}
"""Whole numbers, and the least that each may be."""

NUMBERS = {
    **dict.fromkeys(("beta_start", "beta_end", "shift_terminal"), (0, 1)),
    **dict.fromkeys(("sigma_min", "sigma_max", "timestep_scaling", "shift", "flow_shift"), (0, math.inf)),
    **dict.fromkeys(("base_shift", "max_shift"), (-10, 10)),  # logarithms of a factor
}
"""Numbers, and what each must lie between."""

LISTS = {"trained_betas": (0, 1), "disable_corrector": (-1, math.inf)}
"""Lists of numbers, and what these must lie between."""


def settings(row: SchedulerClass, config: Config) -> dict[str, Any]:
    """Return a file's settings that its class reads.

    Null is replaced, and each is checked. diffusers takes a null flag as false. Elsewhere null is the class's default,
    as in files of older versions.

    Raises:
        InvalidSetting: a setting can't be followed, or no class of diffusers reads it.
    """
    values = row.settings(config)
    for key in [key for key, value in values.items() if value is None and key not in ONLY]:
        values[key] = False if key in FLAGS else {**row.usual, **row.hidden}[key]
    for key, value in values.items():
        for problem in _problems(key, value, row):
            raise InvalidSetting(key, value, problem)
    for key, value in config.items():
        if key not in KNOWN and value and not key.startswith("_"):
            raise InvalidSetting(key, value, "is not a setting known here; remove it if the model does not need it")
    return values


def followed(row: SchedulerClass, config: Config) -> dict[str, Any]:
    """Return the settings that a class reads from another class's file.

    Those that can't be followed are left out.
    """
    values, usual = row.settings(config), {**row.usual, **row.hidden}
    sound = {key: value for key, value in values.items() if not any(_problems(key, value, row))}
    return {key: sound.get(key, usual[key]) for key in values}


def _problems(key: str, value: Any, row: SchedulerClass) -> Iterator[str]:
    """Yield what is wrong with a setting."""
    for only in (ONLY, row.only):
        if key in only and value not in only[key]:
            yield f"can't be followed; here it must be {' or '.join(map(repr, only[key]))}"
    if key in FLAGS and not isinstance(value, bool):
        yield "must be true or false"
    if value is None:
        return
    if key in COUNTS and not (_is_whole(value) and value >= COUNTS[key]):
        yield f"must be a whole number, {COUNTS[key]} or more"
    if key in NUMBERS and not _is_between(value, *NUMBERS[key]):
        yield f"must be a number {_between(*NUMBERS[key])}"
    if key in LISTS and not (isinstance(value, list) and all(_is_between(v, *LISTS[key]) for v in value)):
        yield f"must be a list of numbers {_between(*LISTS[key])}"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_between(value: Any, low: float, high: float) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and low < value < high


def _between(low: float, high: float) -> str:
    return f"above {low}" if high == math.inf else f"between {low} and {high}"
