"""Scheduler settings of published models by family, for models that come without scheduler_config.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..family import Family

_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "clip_sample": False,
}
_EULER = {**_DIFFUSION, "_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
_FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
_SHIFTED_BY_SIZE = {
    **_FLOW,
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
_QWEN = {**_SHIFTED_BY_SIZE, "shift": 1.0, "max_shift": 0.9, "max_image_seq_len": 8192, "shift_terminal": 0.02}
_PIXART = {
    **_DIFFUSION,
    "_class_name": "DPMSolverMultistepScheduler",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "steps_offset": 0,
}
_BY_FAMILY: Mapping[str, dict[str, Any]] = {
    "sd": {**_DIFFUSION, "_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False},
    "lcm": {**_DIFFUSION, "_class_name": "LCMScheduler", "set_alpha_to_one": True, "original_inference_steps": 50},
    "sdxl": _EULER,
    "sdxl_refiner": _EULER,
    "kolors": {**_EULER, "beta_end": 0.014, "num_train_timesteps": 1100},
    "sd3": {**_FLOW, "shift": 3.0},
    "flux": {**_FLOW, "shift": 1.0},
    "flux_kontext": _SHIFTED_BY_SIZE,
    "flux_fill": _SHIFTED_BY_SIZE,
    "chroma": {**_FLOW, "shift": 1.0},
    "flux2_klein": _SHIFTED_BY_SIZE,
    "flux2": _SHIFTED_BY_SIZE,
    "qwen_image": _QWEN,
    "qwen_image_edit": _QWEN,
    "qwen_image_edit_plus": _QWEN,
    "z_image": {**_FLOW, "shift": 6.0},
    "lumina2": {**_FLOW, "shift": 6.0},
    "aura_flow": {**_FLOW, "shift": 1.73},
    "pixart_alpha": _PIXART,
    "pixart_sigma": _PIXART,
    "ovis_image": _SHIFTED_BY_SIZE,
    "ernie_image": {**_FLOW, "shift": 3.0},
    "krea2": {**_SHIFTED_BY_SIZE, "shift": 1.0, "max_image_seq_len": 6400},
    "dreamlite": _SHIFTED_BY_SIZE,
    "dreamlite_mobile": _SHIFTED_BY_SIZE,
    "longcat_image": _SHIFTED_BY_SIZE,
    "sana": {
        "_class_name": "DPMSolverMultistepScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": 3.0,
    },
    "sana_sprint": {
        "_class_name": "SCMScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "trigflow",
        "sigma_data": 0.5,
    },
}
# Families whose models differ in whether guidance is an input: FLUX.1 schnell and dev.
_GUIDED: Mapping[str, dict[str, Any]] = {"flux": _SHIFTED_BY_SIZE}


def usual_scheduler(family: Family, *, guided: bool = False) -> dict[str, Any]:
    """Return the scheduler_config.json of a family's published models; `guided` if guidance is the denoiser's input."""
    return dict((guided and _GUIDED.get(family.name)) or _BY_FAMILY[family.name])
