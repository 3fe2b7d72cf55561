"""diffusers' scheduler classes: their samplers, settings and defaults.

A scheduler_config.json also holds settings that its class does not read: `from_config` copies those of the class that
was there before. Only the settings of the class's row count; tests compare the rows with the installed diffusers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .choices import InvalidSetting

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SchedulerClass:
    """One scheduler class of diffusers."""

    sampler: Callable[[Config], str]
    usual: Config
    """The parameters of its constructor, with their defaults."""
    hidden: Config = field(default_factory=dict)
    """Settings outside its constructor that the class or the pipelines read all the same, with their defaults."""
    flow: bool = False
    """Whether it samples flows only; others do where `use_flow_sigmas` is true."""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings of which only these values can be followed for this class."""
    idle: tuple[str, ...] = ()
    """Parameters of its constructor that change nothing."""
    ranged: tuple[str, ...] = ("karras", "exponential", "beta", "lu")
    """Schedules whose ends are `sigma_min` and `sigma_max`, where the file has them."""
    lowest: str = "trained"
    """Where `final_sigmas_type` sigma_min ends: at the lowest `trained` level, or at the `schedule`'s last."""

    def settings(self, config: Config) -> dict[str, Any]:
        """Return each setting that the class reads, from file or default.

        A file may list settings that it left at their defaults (`_use_default_values`): diffusers skips them.
        """
        usual, absent = {**self.usual, **self.hidden}, config.get("_use_default_values") or ()
        given = {key: value for key, value in config.items() if key in usual and key not in absent}
        return {key: value for key, value in {**usual, **given}.items() if key not in self.idle}


def one_of(config: Config, key: str, values: tuple[Any, ...]) -> Any:
    """Return a setting that must be one of `values`. Raises InvalidSetting."""
    if config[key] not in values:
        raise InvalidSetting(key, config[key], f"must be one of {', '.join(map(repr, values))}")
    return config[key]


def _always(sampler: str) -> Callable[[Config], str]:
    return lambda _: sampler


def _dpmpp(config: Config) -> str:
    kinds = {"dpmsolver++": "", "sde-dpmsolver++": "_sde", "deis": ""}
    kind = kinds[one_of(config, "algorithm_type", tuple(kinds))]
    order = one_of(config, "solver_order", (1, 2, 3) if not kind else (2, 3))
    return f"dpmpp_{order}m{kind}" if order > 1 else "dpmpp_1s"


def _dpmpp_single(config: Config) -> str:
    one_of(config, "algorithm_type", ("dpmsolver++", "deis"))
    return f"dpmpp_{one_of(config, 'solver_order', (1, 2, 3))}s"


def _of_order(sampler: str) -> Callable[[Config], str]:
    def of_order(config: Config) -> str:
        one_of(config, "solver_order", (1, 2, 3))
        return sampler

    return of_order


def _flow(config: Config) -> str:
    return "lcm" if config["stochastic_sampling"] else "euler"


NOISE: Config = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
}
LATENT: Config = {**NOISE, "beta_start": 0.00085, "beta_end": 0.012}
LINSPACE: Config = {"timestep_spacing": "linspace", "steps_offset": 0}
LEADING: Config = {"timestep_spacing": "leading", "steps_offset": 0}
ZERO_SNR: Config = {"rescale_betas_zero_snr": False}
SCHEDULES: Config = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
RANGE: Config = {"sigma_min": None, "sigma_max": None}
THRESHOLD: Config = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}
CLIP: Config = {**THRESHOLD, "clip_sample": True, "clip_sample_range": 1.0}
FINAL: Config = {"final_sigmas_type": "zero"}
SOLVER: Config = {
    **THRESHOLD,
    **SCHEDULES,
    "solver_order": 2,
    "lower_order_final": True,
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
}
DPM: Config = {
    **SOLVER,
    **FINAL,
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "lambda_min_clipped": float("-inf"),
    "variance_type": None,
}
DISTILLED: Config = {
    **NOISE,
    **CLIP,
    **LEADING,
    **ZERO_SNR,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "original_inference_steps": 50,
    "clip_sample": False,
    "set_alpha_to_one": True,
    "timestep_scaling": 10.0,
}
# What pipelines read where `use_dynamic_shifting` is on, whether or not the class knows it.
SIZES: Config = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
FLOW_MATCH: Config = {"num_train_timesteps": 1000, "shift": 1.0}
SHIFTED: Config = {
    **FLOW_MATCH,
    **SIZES,
    **SCHEDULES,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
    "invert_sigmas": False,
    "shift_terminal": None,
}
EXPONENTIAL = {"time_shift_type": ("exponential",)}

DDIM = SchedulerClass(_always("ddim"), {**NOISE, **CLIP, **LEADING, **ZERO_SNR, "set_alpha_to_one": True})
DDPM = SchedulerClass(
    _always("ddpm"),
    {**NOISE, **CLIP, **LEADING, **ZERO_SNR, "variance_type": "fixed_small"},
)
K_DPM_2: Config = {**LATENT, **SCHEDULES, **LINSPACE}

UNSERVED = {
    *("sigma_data", "rho", "clip_denoised", "sigma_schedule", "snr_shift_scale", "scaler", "s", "tau_func"),
    *(
        "predictor_order",
        "corrector_order",
        "correct_steps",
        "snr",
        "sampling_eps",
        "eta",
        "s_churn",
        "s_tmin",
        "s_tmax",
    ),
    *("predict_epsilon", "tensor_format", "timestep_values", "denoise_final", "quantization_config"),
}
"""Settings that only other classes of diffusers read, and those of older versions."""

CLASSES: dict[str, SchedulerClass] = {
    "DDIMScheduler": DDIM,
    "DDIMParallelScheduler": DDIM,
    "DDPMScheduler": DDPM,
    "DDPMParallelScheduler": DDPM,
    "PNDMScheduler": SchedulerClass(
        _always("plms"), {**NOISE, **LEADING, "skip_prk_steps": False, "set_alpha_to_one": False}
    ),
    "LCMScheduler": SchedulerClass(_always("lcm"), DISTILLED),
    "TCDScheduler": SchedulerClass(_always("tcd"), DISTILLED, idle=("clip_sample", "thresholding")),
    "EulerDiscreteScheduler": SchedulerClass(
        _always("euler"),
        {
            **NOISE,
            **SCHEDULES,
            **RANGE,
            **LINSPACE,
            **ZERO_SNR,
            **FINAL,
            "interpolation_type": "linear",
            "timestep_type": "discrete",
        },
    ),
    "EulerAncestralDiscreteScheduler": SchedulerClass(_always("euler_ancestral"), {**NOISE, **LINSPACE, **ZERO_SNR}),
    "HeunDiscreteScheduler": SchedulerClass(
        _always("heun"),
        {**LATENT, **SCHEDULES, **LINSPACE, "clip_sample": False, "clip_sample_range": 1.0},
        RANGE,
    ),
    "LMSDiscreteScheduler": SchedulerClass(
        _always("lms"), {**NOISE, **SCHEDULES, **LINSPACE}, RANGE, ranged=("exponential", "beta")
    ),
    "KDPM2DiscreteScheduler": SchedulerClass(_always("dpm2"), K_DPM_2, RANGE),
    "KDPM2AncestralDiscreteScheduler": SchedulerClass(_always("dpm2_ancestral"), K_DPM_2, RANGE),
    "DPMSolverMultistepScheduler": SchedulerClass(
        _dpmpp,
        {**NOISE, **DPM, **LINSPACE, **ZERO_SNR, "euler_at_final": False, "use_lu_lambdas": False},
        {**RANGE, **SIZES},
        only=EXPONENTIAL,
    ),
    "DPMSolverSinglestepScheduler": SchedulerClass(
        _dpmpp_single, {**NOISE, **DPM, "lower_order_final": False}, {**RANGE, **SIZES}, only=EXPONENTIAL
    ),
    "DPMSolverSDEScheduler": SchedulerClass(_always("dpmpp_sde"), {**K_DPM_2, "noise_sampler_seed": None}, RANGE),
    "DEISMultistepScheduler": SchedulerClass(
        _of_order("deis"),
        {**NOISE, **SOLVER, **LINSPACE, "algorithm_type": "deis", "solver_type": "logrho"},
        {**RANGE, **SIZES},
        only={**EXPONENTIAL, "algorithm_type": ("deis", "dpmsolver", "dpmsolver++")},
        lowest="schedule",
    ),
    "UniPCMultistepScheduler": SchedulerClass(
        _of_order("unipc"),
        {
            **NOISE,
            **SOLVER,
            **FINAL,
            **LINSPACE,
            **ZERO_SNR,
            **RANGE,
            "predict_x0": True,
            "solver_type": "bh2",
            "disable_corrector": [],
            "solver_p": None,
            "shift_terminal": None,
        },
        SIZES,
        lowest="schedule",
    ),
    "FlowMatchEulerDiscreteScheduler": SchedulerClass(
        _flow, {**SHIFTED, "stochastic_sampling": False}, RANGE, flow=True
    ),
    "FlowMatchHeunDiscreteScheduler": SchedulerClass(_always("heun"), FLOW_MATCH, flow=True),
    "FlowMatchLCMScheduler": SchedulerClass(
        _always("lcm"), {**SHIFTED, "scale_factors": None, "upscale_mode": "bicubic"}, RANGE, flow=True
    ),
    "LTXEulerAncestralRFScheduler": SchedulerClass(
        _always("euler_ancestral"),
        {"num_train_timesteps": 1000, "eta": 1.0, "s_noise": 1.0},
        {**SHIFTED, **RANGE},  # it lets FlowMatchEulerDiscreteScheduler read its file
        flow=True,
        only={"eta": (1,), "s_noise": (1,)},
    ),
}

BY_SAMPLER: dict[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "plms": "PNDMScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "dpm2": "KDPM2DiscreteScheduler",
    "dpm2_ancestral": "KDPM2AncestralDiscreteScheduler",
    **dict.fromkeys(("dpmpp_1s", "dpmpp_2m", "dpmpp_3m"), "DPMSolverMultistepScheduler"),
    **dict.fromkeys(("dpmpp_2m_sde", "dpmpp_3m_sde"), "DPMSolverMultistepScheduler"),
    **dict.fromkeys(("dpmpp_2s", "dpmpp_3s"), "DPMSolverSinglestepScheduler"),
    **dict.fromkeys(("dpmpp_sde", "dpmpp_2s_ancestral"), "DPMSolverSDEScheduler"),
    "deis": "DEISMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""The class whose settings count where a request names a sampler other than the model's own."""

KNOWN = {*UNSERVED, *(key for row in CLASSES.values() for key in (*row.usual, *row.hidden))}
"""Every setting that some class reads; one that no class reads is refused, as a newer diffusers may follow it."""
