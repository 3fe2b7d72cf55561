"""Reading diffusers' scheduler_config.json.

This and `scheduler_classes` are the only modules that know diffusers' words.
Only the settings that the file's class reads count. Where a request names another sampler, its class reads the same
file, as `from_config` does in diffusers; the process itself (betas, prediction, shift) stays that of the file's class.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .choices import InvalidSetting
from .path import Prediction
from .scheduler_classes import BY_SAMPLER, CLASSES, KNOWN, Config, SchedulerClass, one_of
from .schedules import BETAS, Shift, alphas_cumprod

PREDICTIONS = {
    "epsilon": Prediction.EPSILON,
    "v_prediction": Prediction.V,
    "sample": Prediction.SAMPLE,
}
FLOW = "flow_prediction"


def read(config: Config) -> dict[str, Any]:
    """Return the fields of a `Diffusion`.

    Raises:
        InvalidSetting: a setting is unknown, wrong or can't be followed; `.field` is its key.
    """
    name = str(config.get("_class_name"))
    if name not in CLASSES:
        raise InvalidSetting("_class_name", name, f"is not supported; supported are {', '.join(sorted(CLASSES))}")
    row = CLASSES[name]
    own = settings(row, config)
    flow = row.flow or bool(own.get("use_flow_sigmas"))
    if flow:
        own = _on_flow(row, own)
    cumprod = np.zeros(0) if flow else _alphas_cumprod(own)
    if not flow:
        _check_range(row, own, cumprod)
    return {
        "prediction": Prediction.FLOW if flow else PREDICTIONS[one_of(own, "prediction_type", tuple(PREDICTIONS))],
        "alphas_cumprod": cumprod,
        "train_steps": own["num_train_timesteps"],
        "sampler": row.sampler(own),
        "shift": _shift(own),
        **_choices(row, own, flow=flow),
        "others": {} if flow else {sampler: _other(CLASSES[name], config) for sampler, name in BY_SAMPLER.items()},
    }


def _on_flow(row: SchedulerClass, own: Config) -> dict[str, Any]:
    """Return the settings as a flow reads them.

    Settings that diffusers computes from betas are refused, since a flow has no betas. The ends of a schedule are noise
    shares there: what a diffusion left behind, without a schedule that reads it, is dropped.
    """
    flags = [key for key in SCHEDULE_FLAGS if own.get(key)]
    if not row.flow:
        one_of(own, "prediction_type", (FLOW,))
        if row.lowest == "trained" and own["final_sigmas_type"] == "sigma_min":
            raise InvalidSetting("final_sigmas_type", "sigma_min", "can't be followed on a flow; it must be 'zero'")
        if flags:
            raise InvalidSetting(flags[0], own[flags[0]], "can't be followed on a flow; it must be false")
    for key in ("sigma_min", "sigma_max"):
        if flags and (own.get(key) or 0) > 1:
            raise InvalidSetting(key, own[key], "must be at most 1 on a flow")
    return {**own} if flags else {**own, "sigma_min": None, "sigma_max": None}


def _check_range(row: SchedulerClass, own: Config, cumprod: Any) -> None:
    """Refuse ends of a schedule between which the levels would rise."""
    if _schedule(own) not in row.ranged:
        return
    lowest, highest = (((1 - c) / c) ** 0.5 if c else math.inf for c in (cumprod[0], cumprod[-1]))
    low, high = own.get("sigma_min") or lowest, own.get("sigma_max") or highest
    if low >= high:
        raise InvalidSetting("sigma_min", low, f"must be below the highest level, {high:g}")
    if low < lowest and row.lowest == "trained" and own.get("final_sigmas_type") == "sigma_min":
        problem = f"must be {lowest:g} or more, where the run ends at the lowest trained level (final_sigmas_type)"
        raise InvalidSetting("sigma_min", low, problem)


def _other(row: SchedulerClass, config: Config) -> dict[str, Any]:
    """Return the choices of another class that reads this file.

    Two schedules together count as none.
    """
    own = followed(row, config)
    if sum(bool(own.get(flag)) for flag in SCHEDULE_FLAGS) > 1:
        own |= dict.fromkeys(SCHEDULE_FLAGS, False)
    return _choices(row, own, flow=False)


def _choices(row: SchedulerClass, own: Config, *, flow: bool) -> dict[str, Any]:
    """Return the fields of a `Diffusion` that say how it is sampled."""
    schedule = _schedule(own)
    ranged = schedule == "normal" or schedule in row.ranged
    return {
        "schedule": schedule,
        "settings": _settings(own) | ({"timestep_scaling": math.inf} if flow else {}),  # no skip connection
        "spacing": own.get("timestep_spacing"),
        "steps_offset": own.get("steps_offset", 0),
        "set_alpha_to_one": own.get("set_alpha_to_one"),
        "final_sigma": own.get("final_sigmas_type", "zero"),
        "lowest": row.lowest,
        "sigma_min": own.get("sigma_min") if ranged else None,
        "sigma_max": own.get("sigma_max") if ranged else None,
        "distilled_steps": own.get("original_inference_steps", 50),
    }


def _alphas_cumprod(own: Config) -> Any:
    betas = own["trained_betas"]
    if betas is None:
        betas = BETAS[own["beta_schedule"]](own["num_train_timesteps"], own["beta_start"], own["beta_end"])
    elif not betas:
        raise InvalidSetting("trained_betas", betas, "must have a number for each step of the training")
    return alphas_cumprod(betas, zero_snr=bool(own.get("rescale_betas_zero_snr")))


def _schedule(own: Config) -> str:
    chosen = [flag for flag in SCHEDULE_FLAGS if own.get(flag)]
    if len(chosen) > 1:
        raise InvalidSetting(chosen[1], own[chosen[1]], f"contradicts {chosen[0]}: one schedule only")
    return SCHEDULE_FLAGS[chosen[0]] if chosen else "normal"


def _settings(own: Config) -> dict[str, Any]:
    """Return what samplers may be told, in their words."""
    words = {"solver_order": "order", "disable_corrector": "disable_corrector"}
    words |= {key: key for key in ("lower_order_final", "euler_at_final", "timestep_scaling")}
    told = {word: own[key] for key, word in words.items() if key in own}
    return told | {kind: True for kind in ("heun", "bh1") if own.get("solver_type") == kind}


def _shift(own: Config) -> Shift:
    return Shift(
        amount=own.get("shift", own.get("flow_shift", 1.0)),
        dynamic=bool(own.get("use_dynamic_shifting")),
        tokens=(own.get("base_image_seq_len", 256), own.get("max_image_seq_len", 4096)),
        mu=(own.get("base_shift", 0.5), own.get("max_shift", 1.15)),
        exponential=own.get("time_shift_type", "exponential") == "exponential",
        terminal=own.get("shift_terminal"),
    )


# The settings of diffusers' scheduler_config.json: what each must be to be followed.


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
