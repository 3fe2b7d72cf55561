"""Reading and checking diffusers' scheduler_config.json.

Only this module and `scheduler_classes` use diffusers' setting names.

- Only the settings that the file's class reads count; the others are ignored.
- A setting that changes an image and that a table can't express is rejected by its key when the model folder is read.
  Otherwise the image would silently differ from diffusers'.
- If a request names another sampler, the class of that sampler reads the same file, as with `from_config` in diffusers.
  The process itself (betas, prediction, shift) stays that of the file's class.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .choices import InvalidSetting
from .path import Levels, Prediction
from .scheduler_classes import BY_SAMPLER, CLASSES, KNOWN_SETTINGS, Config, SchedulerClass, require_one_of
from .schedules import BETAS, Shift, alphas_cumprod

PREDICTIONS = {
    "epsilon": Prediction.EPSILON,
    "v_prediction": Prediction.V,
    "sample": Prediction.SAMPLE,
}
FLOW = "flow_prediction"
OF_LEVELS = {
    Levels.TRAINED: PREDICTIONS,
    Levels.EDM: {"epsilon": Prediction.EDM, "v_prediction": Prediction.V},
    Levels.TRIGFLOW: {"trigflow": Prediction.V},
}

SCHEDULE_FLAGS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
    "use_lu_lambdas": "lu",
}

ALLOWED: dict[str, tuple[Any, ...]] = {
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
    "sigma_schedule": ("karras", "exponential"),
}
"""For some settings, the only values that are supported."""

FLAGS = {
    *("rescale_betas_zero_snr", "set_alpha_to_one", "lower_order_final", "euler_at_final", "stochastic_sampling"),
    *("use_flow_sigmas", "use_dynamic_shifting", *SCHEDULE_FLAGS),
}

INTEGERS = {
    "num_train_timesteps": 1,
    "steps_offset": 0,
    "original_inference_steps": 1,
    "solver_order": 1,
    "base_image_seq_len": 1,
    "max_image_seq_len": 1,
}
"""Integer settings and the minimum of each."""

NUMBERS = {
    **dict.fromkeys(("beta_start", "beta_end", "shift_terminal"), (0, 1)),
    **dict.fromkeys(("sigma_min", "sigma_max", "timestep_scaling", "shift", "flow_shift"), (0, math.inf)),
    **dict.fromkeys(("sigma_data", "rho"), (0, math.inf)),
    **dict.fromkeys(("base_shift", "max_shift"), (-10, 10)),  # logarithms of a factor
}
"""Number settings and their exclusive bounds."""

LISTS = {"trained_betas": (0, 1), "disable_corrector": (-1, math.inf)}
"""Settings that are lists of numbers, and the exclusive bounds of the numbers."""


def read(config: Config) -> dict[str, Any]:
    """Return the fields of a `Diffusion`.

    Raises:
        InvalidSetting: a setting is unknown, wrong or not supported; `.field` is its key.
    """
    name = str(config.get("_class_name"))
    if name not in CLASSES:
        raise InvalidSetting("_class_name", name, f"is not supported; use one of {', '.join(sorted(CLASSES))}")
    row = CLASSES[name]
    settings = checked_settings(row, config)
    flow = row.flow or bool(settings.get("use_flow_sigmas"))
    if flow:
        settings = _flow_settings(row, settings)
    trained = not flow and row.levels is Levels.TRAINED
    cumprod = _alphas_cumprod(settings) if trained else np.zeros(0)
    if trained:
        _check_range(row, settings, cumprod)
    others = BY_SAMPLER if trained else {}
    return {
        "prediction": Prediction.FLOW if flow else _prediction(row, settings),
        "alphas_cumprod": cumprod,
        "train_steps": settings["num_train_timesteps"],
        "sampler": row.sampler(settings),
        "shift": _shift(settings),
        **_sampling_fields(row, settings, flow=flow),
        **_level_fields(row, settings),
        "overrides": {sampler: _overrides(CLASSES[other], config) for sampler, other in others.items()},
    }


def _prediction(row: SchedulerClass, settings: Config) -> Prediction:
    known = OF_LEVELS[row.levels]
    return known[require_one_of(settings, "prediction_type", tuple(known))]


def _level_fields(row: SchedulerClass, settings: Config) -> dict[str, Any]:
    """Return the fields of a `Diffusion` whose time is a function of the level; sigmas are in units of the data's."""
    if row.levels is not Levels.EDM:
        return {"levels": row.levels}
    data, low, high = (settings[key] for key in ("sigma_data", "sigma_min", "sigma_max"))
    if low >= high:
        raise InvalidSetting("sigma_min", low, f"must be below sigma_max, {high:g}")
    return {
        "levels": row.levels,
        "data_deviation": data,
        "sigma_min": low / data,
        "sigma_max": high / data,
        "rho": settings["rho"] if settings["sigma_schedule"] == "karras" else 0.0,
    }


def _flow_settings(row: SchedulerClass, settings: Config) -> dict[str, Any]:
    """Return the settings as a flow reads them.

    Settings that diffusers computes from betas are rejected, because a flow has no betas. On a flow `sigma_min` and
    `sigma_max` are shares of noise; without a schedule that reads them they are leftovers of a diffusion and are
    dropped.
    """
    flags = [key for key in SCHEDULE_FLAGS if settings.get(key)]
    if not row.flow:
        require_one_of(settings, "prediction_type", (FLOW,))
        if row.sigma_min_source == "trained" and settings["final_sigmas_type"] == "sigma_min":
            raise InvalidSetting("final_sigmas_type", "sigma_min", "is not supported on a flow; it must be 'zero'")
        if flags:
            raise InvalidSetting(flags[0], settings[flags[0]], "is not supported on a flow; it must be false")
    for key in ("sigma_min", "sigma_max"):
        if flags and (settings.get(key) or 0) > 1:
            raise InvalidSetting(key, settings[key], "must be at most 1 on a flow")
    return {**settings} if flags else {**settings, "sigma_min": None, "sigma_max": None}


def _check_range(row: SchedulerClass, settings: Config, cumprod: Any) -> None:
    """Raise InvalidSetting if the levels would rise between the ends of the schedule."""
    if _schedule(settings) not in row.range_schedules:
        return
    lowest, highest = (((1 - c) / c) ** 0.5 if c else math.inf for c in (cumprod[0], cumprod[-1]))
    low, high = settings.get("sigma_min") or lowest, settings.get("sigma_max") or highest
    if low >= high:
        raise InvalidSetting("sigma_min", low, f"must be below the highest level, {high:g}")
    if low < lowest and row.sigma_min_source == "trained" and settings.get("final_sigmas_type") == "sigma_min":
        problem = f"must be {lowest:g} or more, because the run ends at the lowest trained level (final_sigmas_type)"
        raise InvalidSetting("sigma_min", low, problem)


def _overrides(row: SchedulerClass, config: Config) -> dict[str, Any]:
    """Return the fields that change if another class reads this file; two schedules at once count as none."""
    settings = supported_settings(row, config)
    if sum(bool(settings.get(flag)) for flag in SCHEDULE_FLAGS) > 1:
        settings |= dict.fromkeys(SCHEDULE_FLAGS, False)
    return _sampling_fields(row, settings, flow=False)


def _sampling_fields(row: SchedulerClass, settings: Config, *, flow: bool) -> dict[str, Any]:
    """Return the fields of a `Diffusion` that describe its sampling."""
    schedule = _schedule(settings)
    consistent = flow or row.levels is Levels.TRIGFLOW  # on a flow, LCM has no skip connection
    no_skip = {"timestep_scaling": math.inf} if consistent else {}
    has_range = schedule == "normal" or schedule in row.range_schedules
    return {
        "schedule": schedule,
        "sampler_settings": _sampler_settings(settings) | no_skip,
        "spacing": settings.get("timestep_spacing"),
        "steps_offset": settings.get("steps_offset", 0),
        "set_alpha_to_one": settings.get("set_alpha_to_one"),
        "final_sigma": settings.get("final_sigmas_type", "zero"),
        "sigma_min_source": row.sigma_min_source,
        "sigma_min": settings.get("sigma_min") if has_range else None,
        "sigma_max": settings.get("sigma_max") if has_range else None,
        "distilled_steps": settings.get("original_inference_steps", 50),
    }


def _alphas_cumprod(settings: Config) -> Any:
    betas = settings["trained_betas"]
    if betas is None:
        betas = BETAS[settings["beta_schedule"]](
            settings["num_train_timesteps"], settings["beta_start"], settings["beta_end"]
        )
    elif not betas:
        raise InvalidSetting("trained_betas", betas, "must have one number per training step")
    return alphas_cumprod(betas, zero_snr=bool(settings.get("rescale_betas_zero_snr")))


def _schedule(settings: Config) -> str:
    chosen = [flag for flag in SCHEDULE_FLAGS if settings.get(flag)]
    if len(chosen) > 1:
        raise InvalidSetting(chosen[1], settings[chosen[1]], f"contradicts {chosen[0]}: set only one schedule")
    return SCHEDULE_FLAGS[chosen[0]] if chosen else "normal"


def _sampler_settings(settings: Config) -> dict[str, Any]:
    """Return the arguments for samplers, by their names here."""
    names = {"solver_order": "order", "disable_corrector": "disable_corrector"}
    names |= {key: key for key in ("lower_order_final", "euler_at_final", "timestep_scaling")}
    arguments = {name: settings[key] for key, name in names.items() if key in settings}
    return arguments | {kind: True for kind in ("heun", "bh1") if settings.get("solver_type") == kind}


def _shift(settings: Config) -> Shift:
    return Shift(
        factor=settings.get("shift", settings.get("flow_shift", 1.0)),
        dynamic=bool(settings.get("use_dynamic_shifting")),
        tokens=(settings.get("base_image_seq_len", 256), settings.get("max_image_seq_len", 4096)),
        mu=(settings.get("base_shift", 0.5), settings.get("max_shift", 1.15)),
        exponential=settings.get("time_shift_type", "exponential") == "exponential",
        terminal=settings.get("shift_terminal"),
    )


def checked_settings(row: SchedulerClass, config: Config) -> dict[str, Any]:
    """Return the settings of a file that its class reads, checked and without nulls.

    A null flag is false, as in diffusers. Any other null is the class's default, as in files of older versions.

    Raises:
        InvalidSetting: a setting is not supported, or no class of diffusers reads it.
    """
    values = row.settings(config)
    for key in [key for key, value in values.items() if value is None and key not in ALLOWED]:
        values[key] = False if key in FLAGS else {**row.defaults, **row.extra_defaults}[key]
    for key, value in values.items():
        for problem in _problems(key, value, row):
            raise InvalidSetting(key, value, problem)
    for key, value in config.items():
        if key not in KNOWN_SETTINGS and value and not key.startswith("_"):
            raise InvalidSetting(key, value, "is not a known setting; remove it if the model does not need it")
    return values


def supported_settings(row: SchedulerClass, config: Config) -> dict[str, Any]:
    """Return the settings that a class reads from another class's file; unsupported values become defaults."""
    values, defaults = row.settings(config), {**row.defaults, **row.extra_defaults}
    supported = {key: value for key, value in values.items() if not any(_problems(key, value, row))}
    return {key: supported.get(key, defaults[key]) for key in values}


def _problems(key: str, value: Any, row: SchedulerClass) -> Iterator[str]:
    """Yield each problem of a setting."""
    for allowed in (ALLOWED, row.allowed):
        if key in allowed and value not in allowed[key]:
            yield f"is not supported; it must be {' or '.join(map(repr, allowed[key]))}"
    if key in FLAGS and not isinstance(value, bool):
        yield "must be true or false"
    if value is None:
        return
    if key in INTEGERS and not (_is_integer(value) and value >= INTEGERS[key]):
        yield f"must be an integer of at least {INTEGERS[key]}"
    if key in NUMBERS and not _is_between(value, *NUMBERS[key]):
        yield f"must be a number {_between(*NUMBERS[key])}"
    if key in LISTS and not (isinstance(value, list) and all(_is_between(v, *LISTS[key]) for v in value)):
        yield f"must be a list of numbers {_between(*LISTS[key])}"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_between(value: Any, low: float, high: float) -> bool:
    return (_is_integer(value) or isinstance(value, float)) and low < value < high


def _between(low: float, high: float) -> str:
    return f"above {low}" if high == math.inf else f"between {low} and {high}"
