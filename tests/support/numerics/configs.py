"""Contents of scheduler_config.json files: published ones, and those of the processes that the tests sample."""

from typing import Any

from tintype.service.numerics import Diffusion

SD15 = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
SDXL_TURBO = {
    "_class_name": "EulerAncestralDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "timestep_spacing": "trailing",
    "use_karras_sigmas": False,
}
SD3 = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
SANA = {
    "_class_name": "DPMSolverMultistepScheduler",
    "algorithm_type": "dpmsolver++",
    "dynamic_thresholding_ratio": 0.995,
    "flow_shift": 3.0,
    "lambda_min_clipped": float("-inf"),
    "prediction_type": "flow_prediction",
    "solver_order": 2,
    "use_flow_sigmas": True,
    "variance_type": None,
}

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
BUILT_IN = {
    **SD,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "set_alpha_to_one": True,
}
DIFFUSION = Diffusion.from_config({"_class_name": "DDIMScheduler", "clip_sample": False, **SD})
V_PREDICTION = Diffusion.from_config(
    {"_class_name": "DDIMScheduler", "clip_sample": False, "prediction_type": "v_prediction", **SD}
)
ZERO_SNR = Diffusion.from_config({"_class_name": "DDIMScheduler", "clip_sample": False, **BUILT_IN})
FLOW = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
KARRAS = Diffusion.from_config({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True, **SD})


def read(config: dict[str, Any], **changes: Any) -> Diffusion:
    """Return the process of a configuration with some settings changed."""
    return Diffusion.from_config({**config, **changes})
