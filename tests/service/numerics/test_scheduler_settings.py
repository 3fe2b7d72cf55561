"""Which settings of a scheduler_config.json can be followed; the others are refused by their key."""

from typing import Any

import pytest

from tintype.service.numerics import InvalidSetting

from .configs import SANA, SD15, read

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


def test_two_schedules_are_refused() -> None:
    """Two flags contradict each other."""
    with pytest.raises(InvalidSetting, match="contradicts use_karras_sigmas"):
        read({"_class_name": "EulerDiscreteScheduler"}, use_karras_sigmas=True, use_beta_sigmas=True)


def test_unknown_settings_that_are_off_are_ignored() -> None:
    """A newer diffusers writes new keys; switched off, they change nothing."""
    assert read(SD15, use_quantum_sigmas=False, novelty=None, _note="x").sampler == "plms"
