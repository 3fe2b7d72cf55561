"""The settings of diffusers' scheduler_config.json: which are known here, and what each must be to be followed.

A setting that a table can't follow, or that nobody here has heard of, is refused by its key: a picture that is silently
another one would be worse. It is refused when a model's folder is read, and not by the first request that needs it.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .betas import BETAS
from .choices import InvalidSetting

Config = Mapping[str, Any]

CLIP = ("clip_sample", "thresholding")

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
    "invert_sigmas": (False,),
    "variance_type": (None, "fixed_small", "learned", "learned_range"),
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "deis"),
    "solver_type": ("midpoint", "heun", "bh1", "bh2", "logrho"),
    "solver_p": (None,),
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

IDLE = {
    "dynamic_thresholding_ratio",
    "clip_sample_range",
    "sample_max_value",
    "s_churn",
    "s_noise",
    "s_tmin",
    "s_tmax",
    "eta",
    "upscale_mode",
    "tensor_format",  # of the first versions, which knew numpy as well
}
"""Settings without effect as long as those above have the values that can be followed."""

KNOWN = {"prediction_type", *ONLY, *FLAGS, *COUNTS, *NUMBERS, *LISTS, *IDLE}


def refuse(config: Config, clips: Collection[str]) -> None:
    """Raise InvalidSetting for the first setting that can't be followed; `clips` are those of `CLIP` that count."""
    for key, value in config.items():
        if key in CLIP and key not in clips:
            continue  # left over from another class: this one does not read it
        for problem in _problems(key, value):
            raise InvalidSetting(key, value, problem)


def one_of(config: Config, key: str, values: Collection[Any], usual: Any) -> Any:
    """Return a setting that must be one of `values`. Raises InvalidSetting."""
    value = config.get(key, usual)
    if value not in tuple(values):
        raise InvalidSetting(key, value, f"must be one of {', '.join(map(repr, values))}")
    return value


def _problems(key: str, value: Any) -> Iterator[str]:
    """Yield what is wrong with a setting."""
    if key in ONLY and value not in ONLY[key]:
        yield f"can't be followed; here it must be {' or '.join(map(repr, ONLY[key]))}"
    if key in FLAGS and not isinstance(value, bool):
        yield "must be true or false"
    if key in COUNTS and not (_is_whole(value) and value >= COUNTS[key]):
        yield f"must be a whole number, {COUNTS[key]} or more"
    if key in NUMBERS and not _is_between(value, *NUMBERS[key]):
        yield f"must be a number {_between(*NUMBERS[key])}"
    if key in LISTS and not (isinstance(value, list) and all(_is_between(v, *LISTS[key]) for v in value)):
        yield f"must be a list of numbers {_between(*LISTS[key])}"
    if key not in KNOWN and value and not key.startswith("_"):
        yield "is not a setting known here; remove it if the model does not need it"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_between(value: Any, low: float, high: float) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and low < value < high


def _between(low: float, high: float) -> str:
    return f"above {low}" if high == math.inf else f"between {low} and {high}"
