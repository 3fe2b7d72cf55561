"""diffusers' scheduler classes: the sampler, the settings and the defaults of each.

A scheduler_config.json also holds settings that its class does not read: `from_config` copies the settings of the
previous class. Only the settings in the class's row count. Tests compare the rows with the installed diffusers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .choices import InvalidSetting
from .path import Levels

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SchedulerClass:
    """One scheduler class of diffusers: how it maps to a sampler, and the settings that it reads."""

    sampler: Callable[[Config], str]
    defaults: Config
    """The parameters of its constructor, with their defaults."""
    extra_defaults: Config = field(default_factory=dict)
    """Settings that the class or the pipelines read although its constructor lacks them, with their defaults."""
    flow: bool = False
    """Whether it samples only flows. Other classes sample flows if `use_flow_sigmas` is true."""
    levels: Levels = Levels.TRAINED
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """For some settings, the only values that are supported for this class."""
    unused: tuple[str, ...] = ()
    """Parameters of its constructor that have no effect."""
    range_schedules: tuple[str, ...] = ("karras", "exponential", "beta", "lu")
    """Schedules that range from `sigma_min` to `sigma_max`, if the file has these."""
    sigma_min_source: str = "trained"
    """Where a run with `final_sigmas_type` sigma_min ends: the lowest `trained` level or the `schedule`'s last."""

    def settings(self, config: Config) -> dict[str, Any]:
        """Return each setting that the class reads, from the file or from its default.

        A file may list settings left at their defaults (`_use_default_values`); as in diffusers, its values for them
        are ignored.
        """
        defaults, listed = {**self.defaults, **self.extra_defaults}, config.get("_use_default_values") or ()
        own = {key: value for key, value in config.items() if key in defaults and key not in listed}
        return {key: value for key, value in {**defaults, **own}.items() if key not in self.unused}


def require_one_of(config: Config, key: str, values: tuple[Any, ...]) -> Any:
    """Return a setting; raise InvalidSetting if it is not one of `values`."""
    if config[key] not in values:
        raise InvalidSetting(key, config[key], f"must be one of {', '.join(map(repr, values))}")
    return config[key]


def _always(sampler: str) -> Callable[[Config], str]:
    return lambda _: sampler


def _dpmpp(config: Config) -> str:
    suffixes = {"dpmsolver++": "", "sde-dpmsolver++": "_sde", "deis": ""}
    suffix = suffixes[require_one_of(config, "algorithm_type", tuple(suffixes))]
    order = require_one_of(config, "solver_order", (1, 2, 3) if not suffix else (2, 3))
    return f"dpmpp_{order}m{suffix}" if order > 1 else "dpmpp_1s"


def _dpmpp_single(config: Config) -> str:
    require_one_of(config, "algorithm_type", ("dpmsolver++", "deis"))
    return f"dpmpp_{require_one_of(config, 'solver_order', (1, 2, 3))}s"


def _of_order(sampler: str) -> Callable[[Config], str]:
    def of_order(config: Config) -> str:
        require_one_of(config, "solver_order", (1, 2, 3))
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
SCHEDULE_SETTINGS: Config = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
RANGE: Config = {"sigma_min": None, "sigma_max": None}
THRESHOLD: Config = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}
CLIP: Config = {**THRESHOLD, "clip_sample": True, "clip_sample_range": 1.0}
FINAL: Config = {"final_sigmas_type": "zero"}
SOLVER: Config = {
    **THRESHOLD,
    **SCHEDULE_SETTINGS,
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
# Settings that pipelines read if `use_dynamic_shifting` is on, even if the class lacks them.
DYNAMIC_SHIFT: Config = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
FLOW_MATCH: Config = {"num_train_timesteps": 1000, "shift": 1.0}
SHIFTED: Config = {
    **FLOW_MATCH,
    **DYNAMIC_SHIFT,
    **SCHEDULE_SETTINGS,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
    "invert_sigmas": False,
    "shift_terminal": None,
}
EDM: Config = {
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "sigma_schedule": "karras",
    "rho": 7.0,
    **FINAL,
}
EXPONENTIAL = {"time_shift_type": ("exponential",)}

DDIM = SchedulerClass(_always("ddim"), {**NOISE, **CLIP, **LEADING, **ZERO_SNR, "set_alpha_to_one": True})
DDPM = SchedulerClass(
    _always("ddpm"),
    {**NOISE, **CLIP, **LEADING, **ZERO_SNR, "variance_type": "fixed_small"},
)
K_DPM_2: Config = {**LATENT, **SCHEDULE_SETTINGS, **LINSPACE}

OTHER_SETTINGS = {
    *("clip_denoised", "snr_shift_scale", "scaler", "s", "tau_func", "snr", "sampling_eps", "eta", "correct_steps"),
    *("predictor_order", "corrector_order", "s_churn", "s_tmin", "s_tmax", "quantization_config"),
    *("predict_epsilon", "tensor_format", "timestep_values", "denoise_final"),
}
"""Settings that only unsupported classes or older versions of diffusers read."""

CLASSES: dict[str, SchedulerClass] = {
    "DDIMScheduler": DDIM,
    "DDIMParallelScheduler": DDIM,
    "DDPMScheduler": DDPM,
    "DDPMParallelScheduler": DDPM,
    "PNDMScheduler": SchedulerClass(
        _always("plms"), {**NOISE, **LEADING, "skip_prk_steps": False, "set_alpha_to_one": False}
    ),
    "LCMScheduler": SchedulerClass(_always("lcm"), DISTILLED),
    "TCDScheduler": SchedulerClass(_always("tcd"), DISTILLED, unused=("clip_sample", "thresholding")),
    "EulerDiscreteScheduler": SchedulerClass(
        _always("euler"),
        {
            **NOISE,
            **SCHEDULE_SETTINGS,
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
        {**LATENT, **SCHEDULE_SETTINGS, **LINSPACE, "clip_sample": False, "clip_sample_range": 1.0},
        RANGE,
    ),
    "LMSDiscreteScheduler": SchedulerClass(
        _always("lms"), {**NOISE, **SCHEDULE_SETTINGS, **LINSPACE}, RANGE, range_schedules=("exponential", "beta")
    ),
    "KDPM2DiscreteScheduler": SchedulerClass(_always("dpm2"), K_DPM_2, RANGE),
    "KDPM2AncestralDiscreteScheduler": SchedulerClass(_always("dpm2_ancestral"), K_DPM_2, RANGE),
    "DPMSolverMultistepScheduler": SchedulerClass(
        _dpmpp,
        {**NOISE, **DPM, **LINSPACE, **ZERO_SNR, "euler_at_final": False, "use_lu_lambdas": False},
        {**RANGE, **DYNAMIC_SHIFT},
        allowed=EXPONENTIAL,
    ),
    "DPMSolverSinglestepScheduler": SchedulerClass(
        _dpmpp_single, {**NOISE, **DPM, "lower_order_final": False}, {**RANGE, **DYNAMIC_SHIFT}, allowed=EXPONENTIAL
    ),
    "DPMSolverSDEScheduler": SchedulerClass(_always("dpmpp_sde"), {**K_DPM_2, "noise_sampler_seed": None}, RANGE),
    "DEISMultistepScheduler": SchedulerClass(
        _of_order("deis"),
        {**NOISE, **SOLVER, **LINSPACE, "algorithm_type": "deis", "solver_type": "logrho"},
        {**RANGE, **DYNAMIC_SHIFT},
        allowed={**EXPONENTIAL, "algorithm_type": ("deis", "dpmsolver", "dpmsolver++")},
        sigma_min_source="schedule",
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
        DYNAMIC_SHIFT,
        sigma_min_source="schedule",
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
        {**SHIFTED, **RANGE},  # its file is also read by FlowMatchEulerDiscreteScheduler
        flow=True,
        allowed={"eta": (1,), "s_noise": (1,)},
    ),
    "EDMEulerScheduler": SchedulerClass(_always("euler"), EDM, levels=Levels.EDM),
    "EDMDPMSolverMultistepScheduler": SchedulerClass(
        _dpmpp,
        {
            **EDM,
            **THRESHOLD,
            "solver_order": 2,
            "algorithm_type": "dpmsolver++",
            "solver_type": "midpoint",
            "lower_order_final": True,
            "euler_at_final": False,
        },
        levels=Levels.EDM,
    ),
    "SCMScheduler": SchedulerClass(
        _always("lcm"),
        {"num_train_timesteps": 1000, "prediction_type": "trigflow", "sigma_data": 0.5},
        levels=Levels.TRIGFLOW,
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
"""The class that reads the file if a request names a sampler other than the model's default."""

KNOWN_SETTINGS = {*OTHER_SETTINGS, *(key for row in CLASSES.values() for key in (*row.defaults, *row.extra_defaults))}
"""Every setting that some class reads. A setting outside this set is rejected: a newer diffusers may use it."""
