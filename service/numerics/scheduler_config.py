"""Reading diffusers' scheduler_config.json.

This and `scheduler_settings` are the one place in the house that knows diffusers' words.
A setting that the file leaves out, or that is null, has the value it has in the class that the file names.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .betas import BETAS, alphas_cumprod
from .choices import InvalidSetting
from .prediction import Prediction
from .scheduler_settings import CLIP, ONLY, SCHEDULE_FLAGS, Config, one_of, refuse
from .shift import Shift


@dataclass(frozen=True, slots=True)
class SchedulerClass:
    """One of diffusers' classes: which sampler it is here, and where its defaults differ from the common ones."""

    sampler: Callable[[Config], str]
    usual: Config = field(default_factory=dict)
    clips: tuple[str, ...] = ()
    """The settings that change x0 by more than a factor, as far as the class reads them."""
    flow: bool = False
    """Whether it samples flows only; others do where `use_flow_sigmas` says so."""


def _always(sampler: str) -> Callable[[Config], str]:
    return lambda _: sampler


def _dpmpp(config: Config) -> str:
    kinds = {"dpmsolver++": "", "sde-dpmsolver++": "_sde", "deis": ""}
    kind = kinds[one_of(config, "algorithm_type", kinds, "dpmsolver++")]
    order = one_of(config, "solver_order", (1, 2, 3) if not kind else (2, 3), 2)
    return f"dpmpp_{order}m{kind}" if order > 1 else "dpmpp_1s"


def _dpmpp_single(config: Config) -> str:
    one_of(config, "algorithm_type", ("dpmsolver++", "deis"), "dpmsolver++")
    return f"dpmpp_{one_of(config, 'solver_order', (1, 2, 3), 2)}s"


def _flow(config: Config) -> str:
    return "lcm" if config.get("stochastic_sampling") else "euler"


def _flow_ancestral(config: Config) -> str:
    one_of(config, "eta", (1, 1.0), 1.0)
    one_of(config, "s_noise", (1, 1.0), 1.0)
    return "euler_ancestral"


LATENT_BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
SCALED = {**LATENT_BETAS, "beta_schedule": "scaled_linear"}
CLIPPED = {"clip_sample": True}
THRESHOLD = ("thresholding",)

CLASSES: dict[str, SchedulerClass] = {
    "DDIMScheduler": SchedulerClass(_always("ddim"), CLIPPED, CLIP),
    "DDIMParallelScheduler": SchedulerClass(_always("ddim"), CLIPPED, CLIP),
    "DDPMScheduler": SchedulerClass(_always("ddpm"), CLIPPED, CLIP),
    "DDPMParallelScheduler": SchedulerClass(_always("ddpm"), CLIPPED, CLIP),
    "PNDMScheduler": SchedulerClass(_always("plms"), {"skip_prk_steps": False}),
    "LCMScheduler": SchedulerClass(_always("lcm"), SCALED, CLIP),
    "TCDScheduler": SchedulerClass(_always("tcd"), SCALED),
    "EulerDiscreteScheduler": SchedulerClass(_always("euler")),
    "EulerAncestralDiscreteScheduler": SchedulerClass(_always("euler_ancestral")),
    "HeunDiscreteScheduler": SchedulerClass(_always("heun"), LATENT_BETAS, ("clip_sample",)),
    "LMSDiscreteScheduler": SchedulerClass(_always("lms")),
    "KDPM2DiscreteScheduler": SchedulerClass(_always("dpm2"), LATENT_BETAS),
    "KDPM2AncestralDiscreteScheduler": SchedulerClass(_always("dpm2_ancestral"), LATENT_BETAS),
    "DPMSolverMultistepScheduler": SchedulerClass(_dpmpp, clips=THRESHOLD),
    "DPMSolverSinglestepScheduler": SchedulerClass(_dpmpp_single, clips=THRESHOLD),
    "DPMSolverSDEScheduler": SchedulerClass(_always("dpmpp_sde"), LATENT_BETAS),
    "DEISMultistepScheduler": SchedulerClass(_always("deis"), clips=THRESHOLD),
    "UniPCMultistepScheduler": SchedulerClass(_always("unipc"), clips=THRESHOLD),
    "FlowMatchEulerDiscreteScheduler": SchedulerClass(_flow, flow=True),
    "FlowMatchHeunDiscreteScheduler": SchedulerClass(_always("heun"), flow=True),
    "FlowMatchLCMScheduler": SchedulerClass(_always("lcm"), flow=True),
    "LTXEulerAncestralRFScheduler": SchedulerClass(_flow_ancestral, flow=True),
}

PREDICTIONS = {
    "epsilon": Prediction.EPSILON,
    "v_prediction": Prediction.V,
    "sample": Prediction.SAMPLE,
}


def read(config: Config) -> dict[str, Any]:
    """Return the fields of a `Diffusion`.

    Raises:
        InvalidSetting: a setting is unknown, wrong or can't be followed; `.field` is its key.
    """
    name = str(config.get("_class_name"))
    if name not in CLASSES:
        raise InvalidSetting("_class_name", name, f"is not supported; supported are {', '.join(sorted(CLASSES))}")
    config = {**CLASSES[name].usual, **{k: v for k, v in config.items() if v is not None or k in ONLY}}
    refuse(config, CLASSES[name].clips)
    flow = CLASSES[name].flow or bool(config.get("use_flow_sigmas"))
    if flow and name.startswith("DPM") and config.get("final_sigmas_type") == "sigma_min":
        raise InvalidSetting("final_sigmas_type", "sigma_min", "can't be followed on a flow; here it must be 'zero'")
    prediction = Prediction.FLOW if flow else PREDICTIONS[one_of(config, "prediction_type", PREDICTIONS, "epsilon")]
    return {
        "prediction": prediction,
        "alphas_cumprod": np.zeros(0) if flow else _alphas_cumprod(config),
        "train_steps": config.get("num_train_timesteps", 1000),
        "sampler": CLASSES[name].sampler(config),
        "schedule": _schedule(config),
        "settings": _settings(config) | ({"timestep_scaling": math.inf} if flow else {}),  # no skip connection
        "spacing": config.get("timestep_spacing"),
        "steps_offset": config.get("steps_offset", 0),
        "set_alpha_to_one": config.get("set_alpha_to_one"),
        "final_sigma": config.get("final_sigmas_type", "zero"),
        "sigma_min": config.get("sigma_min"),
        "sigma_max": config.get("sigma_max"),
        "distilled_steps": config.get("original_inference_steps", 50),
        "shift": _shift(config),
    }


def _alphas_cumprod(config: Config) -> Any:
    betas = config.get("trained_betas")
    if betas is None:
        make = BETAS[config.get("beta_schedule", "linear")]
        n = config.get("num_train_timesteps", 1000)
        betas = make(n, config.get("beta_start", 0.0001), config.get("beta_end", 0.02))
    elif not betas:
        raise InvalidSetting("trained_betas", betas, "must have a number for each step of the training")
    return alphas_cumprod(betas, zero_snr=bool(config.get("rescale_betas_zero_snr")))


def _schedule(config: Config) -> str:
    chosen = [flag for flag in SCHEDULE_FLAGS if config.get(flag)]
    if len(chosen) > 1:
        raise InvalidSetting(chosen[1], config[chosen[1]], f"contradicts {chosen[0]}: one schedule only")
    return SCHEDULE_FLAGS[chosen[0]] if chosen else "normal"


def _settings(config: Config) -> dict[str, Any]:
    """Return what samplers may be told, in their words; a setting that the file leaves out stays out."""
    words = {"solver_order": "order", "disable_corrector": "disable_corrector"}
    words |= {key: key for key in ("lower_order_final", "euler_at_final", "timestep_scaling")}
    settings = {word: config[key] for key, word in words.items() if config.get(key) is not None}
    solver = config.get("solver_type")
    return settings | {kind: True for kind in ("heun", "bh1") if solver == kind}


def _shift(config: Config) -> Shift:
    return Shift(
        amount=config.get("shift", config.get("flow_shift", 1.0)),
        dynamic=bool(config.get("use_dynamic_shifting")),
        tokens=(config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)),
        mu=(config.get("base_shift", 0.5), config.get("max_shift", 1.15)),
        exponential=config.get("time_shift_type", "exponential") == "exponential",
        terminal=config.get("shift_terminal"),
    )
