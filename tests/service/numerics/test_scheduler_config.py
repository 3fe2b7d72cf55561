"""Reading scheduler_config.json."""

from typing import Any

import numpy as np
import pytest

from tintype.service.numerics import Diffusion, InvalidSetting, Prediction, Shift, make_table
from tintype.service.numerics.betas import alphas_cumprod

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


def read(config: dict[str, Any], **changes: Any) -> Diffusion:
    return Diffusion.from_config({**config, **changes})


def test_stable_diffusion_1_5() -> None:
    """The published file is read as what it says: PLMS on noise, one timestep of offset."""
    diffusion = read(SD15)
    assert (diffusion.prediction, diffusion.sampler, diffusion.schedule) == (Prediction.EPSILON, "plms", "normal")
    assert diffusion.alphas_cumprod[[0, -1]] == pytest.approx([0.99915, 0.00466], rel=1e-3)
    assert make_table(diffusion, 50).timesteps[:3].tolist() == [981, 961, 961]


def test_other_samplers_have_their_own_custom_where_the_file_is_silent() -> None:
    """Stable Diffusion 1.5's file names no spacing: DPM-Solver++ spreads its steps as its class in diffusers does."""
    assert make_table(read(SD15), 20, sampler="dpmpp_2m").timesteps[0] == 999
    assert make_table(read(SD15, timestep_spacing="leading"), 20, sampler="dpmpp_2m").timesteps[0] == 941
    assert make_table(read(SD15), 20, sampler="ddim").timesteps[0] == 951


def test_sdxl_turbo() -> None:
    """One step from the last timestep."""
    table = make_table(read(SDXL_TURBO), 1)
    assert table.timesteps.tolist() == [999]
    assert not table.d.any()


def test_flows() -> None:
    """Stable Diffusion 3 and Sana are flows by other names: their shift, their own samplers."""
    assert (read(SD3).prediction, read(SD3).sampler, read(SD3).shift) == (Prediction.FLOW, "euler", Shift(3.0))
    assert (read(SANA).prediction, read(SANA).sampler, read(SANA).shift) == (Prediction.FLOW, "dpmpp_2m", Shift(3.0))
    assert read(SD3, stochastic_sampling=True).sampler == "lcm"


@pytest.mark.parametrize(
    ("settings", "sampler"),
    [
        ({}, "dpmpp_2m"),
        ({"solver_order": 3}, "dpmpp_3m"),
        ({"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde"),
        ({"algorithm_type": "sde-dpmsolver++", "solver_order": 3}, "dpmpp_3m_sde"),
    ],
)
def test_dpm_solver_by_settings(settings: dict[str, Any], sampler: str) -> None:
    """One of diffusers' classes is several samplers."""
    assert read({"_class_name": "DPMSolverMultistepScheduler"}, **settings).sampler == sampler


@pytest.mark.parametrize(
    ("flag", "schedule"),
    [
        ("use_karras_sigmas", "karras"),
        ("use_exponential_sigmas", "exponential"),
        ("use_beta_sigmas", "beta"),
        ("use_lu_lambdas", "lu"),
    ],
)
def test_schedule_flags(flag: str, schedule: str) -> None:
    """Each flag names a schedule."""
    assert read({"_class_name": "DPMSolverMultistepScheduler"}, **{flag: True}).schedule == schedule


REFUSED = [
    ("_class_name", "RePaintScheduler", "supported are DDIMParallelScheduler, "),
    ("_class_name", None, "supported are"),
    ("skip_prk_steps", False, "must be True"),
    ("prediction_type", "velocity", "must be one of 'epsilon', 'v_prediction', 'sample'"),
    ("beta_schedule", "sigmoid", "'linear' or 'scaled_linear' or 'squaredcos_cap_v2'"),
    ("timestep_spacing", "random", "'linspace' or 'leading' or 'trailing'"),
    ("num_train_timesteps", "1000", "whole number"),
    ("num_train_timesteps", 0, "whole number, 1 or more"),
    ("steps_offset", -1, "whole number, 0 or more"),
    ("solver_order", 2.0, "whole number"),
    ("max_image_seq_len", "4096", "whole number"),
    ("beta_start", "0.00085", "number between 0 and 1"),
    ("beta_end", 12, "number between 0 and 1"),
    ("sigma_min", float("nan"), "number above 0"),
    ("sigma_max", [1.0], "number above 0"),
    ("timestep_scaling", True, "number above 0"),
    ("shift", 0, "number above 0"),
    ("max_shift", "1.15", "number between -10 and 10"),
    ("shift_terminal", 1, "number between 0 and 1"),
    ("trained_betas", {"0": 0.1}, "list of numbers"),
    ("disable_corrector", 3, "list of numbers above -1"),
    ("use_karras_sigmas", "false", "true or false"),
    ("lower_order_final", 1, "true or false"),
    ("prediction_type", ["epsilon"], "must be one of"),
    ("trained_betas", [0.1, 0.2], "number of betas"),
    ("rescale_betas_zero_snr", True, "v_prediction"),
    ("use_quantum_sigmas", True, "not a setting known here"),
]


@pytest.mark.parametrize(("key", "value", "message"), REFUSED)
def test_refuses_by_key(key: str, value: Any, message: str) -> None:
    """What can't be followed is refused by its key, with what would be right, and never sampled differently."""
    with pytest.raises(InvalidSetting, match=message) as caught:
        read(SD15, **{key: value})
    other = {"rescale_betas_zero_snr": "prediction_type", "number of betas": "num_train_timesteps"}
    assert caught.value.field == other.get(key, other.get(message, key))


def test_an_offset_beyond_the_trained_steps_is_told_by_its_key() -> None:
    """How many steps there is room for shows with the number of steps alone."""
    diffusion = read(SD15, timestep_spacing="leading", steps_offset=30)
    assert make_table(diffusion, 20).timesteps[0] == 980
    with pytest.raises(InvalidSetting, match="leads beyond 999 in 50 steps") as caught:
        make_table(diffusion, 50)
    assert caught.value.field == "steps_offset"


def test_null_is_as_good_as_left_out() -> None:
    """Older files name what newer ones leave to the class, and write null for it."""
    silent = {"beta_start", "beta_end", "beta_schedule", "clip_sample"}
    config = dict.fromkeys(("timestep_scaling", "original_inference_steps", "set_alpha_to_one", "tensor_format"))
    config |= {key: value for key, value in SD15.items() if key in silent} | {"_class_name": "LCMScheduler"}
    assert read(config).distilled_steps == read(config, original_inference_steps=50).distilled_steps
    assert read(config, tensor_format="pt").sampler == "lcm"


def test_clipping_by_default_is_refused_too() -> None:
    """DDIM's class clips unless told not to: a file that leaves it out means it."""
    with pytest.raises(InvalidSetting, match="clip_sample True can't be followed"):
        read({"_class_name": "DDIMScheduler"})


@pytest.mark.parametrize(
    ("name", "key"),
    [("DDIMScheduler", "clip_sample"), ("LCMScheduler", "clip_sample"), ("UniPCMultistepScheduler", "thresholding")],
)
def test_clipping_is_refused_where_it_is_read(name: str, key: str) -> None:
    """What is not linear is refused by the class that does it; left over from another class, it means nothing."""
    with pytest.raises(InvalidSetting, match="must be False"):
        read({"_class_name": name, key: True})
    assert read({"_class_name": "EulerDiscreteScheduler", key: True}).sampler == "euler"


def test_a_flow_does_not_end_on_a_diffusions_level() -> None:
    """Diffusers ends such a run on the lowest level of betas that the model was not trained with: refused."""
    with pytest.raises(InvalidSetting, match="must be 'zero'"):
        read(SANA, final_sigmas_type="sigma_min")


@pytest.mark.parametrize(
    ("name", "settings", "sampler"),
    [
        ("DPMSolverSinglestepScheduler", {"solver_order": 3}, "dpmpp_3s"),
        ("DPMSolverMultistepScheduler", {"solver_order": 1}, "dpmpp_1s"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "deis"}, "dpmpp_2m"),
        ("DPMSolverSDEScheduler", {}, "dpmpp_sde"),
        ("TCDScheduler", {}, "tcd"),
        ("FlowMatchLCMScheduler", {"upscale_mode": "bicubic"}, "lcm"),
    ],
)
def test_class_names(name: str, settings: dict[str, Any], sampler: str) -> None:
    """Each of diffusers' classes is a sampler here."""
    assert read({"_class_name": name, **settings}).sampler == sampler


def test_two_schedules_are_refused() -> None:
    """Two flags contradict each other."""
    with pytest.raises(InvalidSetting, match="contradicts use_karras_sigmas"):
        read({"_class_name": "EulerDiscreteScheduler"}, use_karras_sigmas=True, use_beta_sigmas=True)


def test_unknown_settings_that_are_off_are_ignored() -> None:
    """A newer diffusers writes new keys; switched off, they change nothing."""
    assert read(SD15, use_quantum_sigmas=False, novelty=None, _note="x").sampler == "plms"


def test_zero_terminal_snr() -> None:
    """Rescaled betas keep the first level and end in no signal at all: Lin et al. 2305.08891, alg. 1."""
    betas = np.linspace(0.001, 0.02, 1000, dtype=np.float32)
    before, after = alphas_cumprod(betas), alphas_cumprod(betas, zero_snr=True)
    assert after[-1] == 0
    assert after[0] == pytest.approx(before[0], rel=1e-6)
    assert (np.diff(after) < 0).all()


def test_a_diffusion_can_not_be_changed() -> None:
    """Rows share it."""
    diffusion = read(SD15, solver_order=2)
    with pytest.raises(ValueError, match="read-only"):
        diffusion.alphas_cumprod[0] = 0
    with pytest.raises(TypeError):
        diffusion.settings["order"] = 3  # type: ignore[index]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("n", [1000, 999, 50])
def test_betas_are_diffusers_bit_for_bit(schedule: str, n: int) -> None:
    """The trained levels are torch's float32 numbers, not nearly so."""
    diffusers = pytest.importorskip("diffusers")
    settings = {"beta_schedule": schedule, "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": n}
    theirs = diffusers.DDIMScheduler(**settings).alphas_cumprod.double().numpy()
    ours = read({"_class_name": "DDIMScheduler", "clip_sample": False}, **settings).alphas_cumprod
    np.testing.assert_array_equal(ours, theirs)


DPM = {"_class_name": "DPMSolverMultistepScheduler"}


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (DPM, {"solver_type": "heun"}),
        (DPM, {"final_sigmas_type": "sigma_min"}),
        (DPM | {"final_sigmas_type": "sigma_min", "lower_order_final": False}, {"euler_at_final": True}),
        (DPM | {"final_sigmas_type": "sigma_min"}, {"lower_order_final": False}),
        ({"_class_name": "UniPCMultistepScheduler"}, {"solver_order": 3}),
        ({"_class_name": "UniPCMultistepScheduler"}, {"solver_type": "bh1"}),
        ({"_class_name": "UniPCMultistepScheduler"}, {"disable_corrector": [0]}),
        ({"_class_name": "DEISMultistepScheduler"}, {"solver_order": 3}),
        ({"_class_name": "LCMScheduler"}, {"timestep_scaling": 1.0}),
    ],
)
def test_settings_reach_their_sampler(config: dict[str, Any], setting: dict[str, Any]) -> None:
    """A setting of the file changes the weights of the run, and is not read in vain."""
    plain, told = (make_table(read(c), 10) for c in (config, config | setting))
    assert plain.b.shape != told.b.shape or np.abs(plain.b - told.b).max() > 1e-6


def test_start_of_eulers_run() -> None:
    """Noise starts at the spread of the highest level, or of unit variance where the spacing leaves that level out."""
    euler = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear"}
    table = make_table(read(euler), 10)
    assert table.init == table.sigmas[0] < 1
    assert make_table(read(euler, timestep_spacing="leading"), 10).init == 1


def test_end_of_eulers_run() -> None:
    """With a last level above zero the result is k-diffusion's: x0 plus that level's noise, x0 not scaled."""
    table = make_table(read({"_class_name": "EulerDiscreteScheduler", "final_sigmas_type": "sigma_min"}), 10)
    assert table.alphas[-1] == 1
    assert 0 < table.sigmas[-1] < 0.02
