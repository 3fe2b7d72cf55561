"""Configurations with settings left over from other classes: read as in diffusers, or rejected by name."""

import inspect
import json
import warnings
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.support.numerics.reference import TOKENS, Run, Settings
from tintype.service.numerics import Diffusion, InvalidChoice, make_table
from tintype.service.numerics.scheduler_classes import CLASSES, KNOWN_SETTINGS

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # diffusers with numpy 2
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # diffusers takes the logarithm of 0
]

BOUND = 5e-3
"""Largest difference relative to max(1, |x|); diffusers' float32 error at zero SNR is below it."""

NOT_COMPARED = {"DPMSolverSDEScheduler"}
"""It needs torchsde and draws its noise from a Brownian tree."""


@cache
def signatures() -> dict[str, dict[str, Any]]:
    """Return the constructor parameters of every scheduler class of the installed diffusers, with their defaults."""
    package = pytest.importorskip("diffusers.schedulers")
    found = {}
    for module in iter_modules(package.__path__):
        try:
            classes = vars(import_module(f"{package.__name__}.{module.name}"))
        except (ImportError, RuntimeError):
            continue  # needs a missing library: flax, torchsde
        for name, kind in classes.items():
            if inspect.isclass(kind) and name.endswith("Scheduler") and hasattr(kind, "config_name"):
                parameters = inspect.signature(kind.__init__).parameters.values()
                found[name] = {p.name: p.default for p in parameters if p.name not in ("self", "args", "kwargs")}
    return found


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - NOT_COMPARED))
def test_each_row_equals_the_signature_of_its_class(name: str) -> None:
    """Each row of CLASSES has exactly the parameters and defaults of the installed class."""
    assert CLASSES[name].defaults == signatures()[name]


def test_every_setting_of_diffusers_is_known() -> None:
    """KNOWN_SETTINGS holds the settings of every scheduler class: any of them may be left over in a file."""
    not_images = {"AmusedScheduler", "BlockRefinementScheduler", "DiscreteDDIMScheduler", "EntropyBoundScheduler"}
    not_images |= {"HeliosScheduler", "HeliosDMDScheduler", "VQDiffusionScheduler", "DDPMWuerstchenScheduler"}
    not_images |= {"PiflowScheduler", "RFD4ProteinaScheduler"}
    parameters = {key for name, row in signatures().items() if name not in not_images for key in row}
    assert parameters <= KNOWN_SETTINGS


def test_from_config_of_another_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that `from_config` made from another class's configuration is read as in diffusers."""
    diffusers = pytest.importorskip("diffusers")
    diffusers.logging.set_verbosity_error()
    karras = diffusers.DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", use_karras_sigmas=True, final_sigmas_type="sigma_min"
    )
    left = diffusers.EulerAncestralDiscreteScheduler.from_config(karras.config)
    config = json.loads(left.to_json_string())
    assert config["use_karras_sigmas"] is True
    run = Run("EulerAncestralDiscrete", config, 8, from_config=True)
    assert run.difference(monkeypatch) < BOUND


TRAINED = np.linspace(1e-4, 0.02, 1000).tolist()

VALUES: dict[str, list[Any]] = {
    "num_train_timesteps": [1000, 1000, 500],
    "beta_start": [0.00085, 0.0001],
    "beta_end": [0.012, 0.02],
    "beta_schedule": ["scaled_linear", "linear", "squaredcos_cap_v2"],
    "trained_betas": [None, None, None, TRAINED],
    "prediction_type": ["epsilon", "v_prediction", "sample", "flow_prediction"],
    "timestep_spacing": ["linspace", "leading", "trailing"],
    "steps_offset": [0, 1],
    "clip_sample": [False, False, False, None, True],
    "thresholding": [False, False, False, None, True],
    "skip_prk_steps": [True, True, False],
    "predict_x0": [True, True, False],
    "solver_order": [1, 2, 3],
    "solver_type": ["midpoint", "heun", "bh1", "bh2", "logrho"],
    "algorithm_type": ["dpmsolver++", "sde-dpmsolver++", "deis", "dpmsolver"],
    "final_sigmas_type": ["zero", "sigma_min"],
    "lower_order_final": [True, False, None],
    "set_alpha_to_one": [True, False, None],
    "disable_corrector": [[], [0], [1, 2]],
    "sigma_min": [None, None, 0.05, 0.01],
    "sigma_max": [None, None, 10.0],
    "original_inference_steps": [50, 100],
    "timestep_scaling": [10.0, 1.0],
    "shift": [1.0, 3.0],
    "flow_shift": [1.0, 3.0],
    "shift_terminal": [None, None, 0.1],
    "base_shift": [0.5, 0.25],
    "max_shift": [1.15, 0.75],
    "base_image_seq_len": [256],
    "max_image_seq_len": [4096, 8192],
    "time_shift_type": ["exponential", "linear"],
    "interpolation_type": ["linear", "linear", "log_linear"],
    "timestep_type": ["discrete", "discrete", "continuous"],
    "variance_type": [None, "fixed_small", "fixed_large", "learned"],
    "rescale_betas_zero_snr": [False, False, True],
    "stochastic_sampling": [False, True],
    "euler_at_final": [False, True],
    "eta": [1.0, 1.0, 0.5],
    "use_karras_sigmas": [False, False, True, None],
    "use_exponential_sigmas": [False, False, True, None],
    "use_beta_sigmas": [False, False, False, True],
    "use_lu_lambdas": [False, False, False, True],
    "use_flow_sigmas": [False, False, False, True],
    "use_dynamic_shifting": [False, False, True],
}
"""Values of the settings that matter; the other settings stay at their class's defaults."""


@st.composite
def left_over(draw: st.DrawFn) -> tuple[str, Settings]:
    """Draw a class and a file with settings of that class and of a previous one."""
    name, previous = (draw(st.sampled_from(sorted(CLASSES.keys() - NOT_COMPARED))) for _ in range(2))
    keys = sorted({*CLASSES[name].defaults, *CLASSES[name].extra_defaults, *CLASSES[previous].defaults} & VALUES.keys())
    chosen = {key: draw(st.sampled_from(VALUES[key])) for key in keys if draw(st.booleans())}
    if chosen.get("use_flow_sigmas") and draw(st.booleans()):
        chosen["prediction_type"] = "flow_prediction"
    if draw(st.booleans()):
        chosen |= {"clip_sample": False, "thresholding": False, "skip_prk_steps": True}
    return name, {"_class_name": name, **chosen}


def is_intended(name: str, config: Settings, steps: int) -> bool:
    """Return whether a difference is intended: see INTENDED_DIFFERENCES in `test_against_diffusers`."""
    flow = name.startswith("DEIS") and config.get("use_flow_sigmas")
    repeats = CLASSES[name].sigma_min_source == "schedule" and steps == 1
    cosine = config.get("beta_schedule") == "squaredcos_cap_v2"
    return bool(
        flow
        or repeats
        or (cosine and config.get("use_karras_sigmas") and name.startswith("DPM"))
        or (cosine and name == "KDPM2AncestralDiscreteScheduler")  # its midpoint levels are float32 differences
        or (
            name == "HeunDiscreteScheduler" and config.get("prediction_type") == "sample"
        )  # it divides by a small level
        or (name == "PNDMScheduler" and config.get("timestep_spacing", "leading") != "leading")
        or (name == "KDPM2AncestralDiscreteScheduler" and steps == 2)
        or ("shift_terminal" in config and steps == 1)
        or (config.get("algorithm_type") == "sde-dpmsolver++" and config.get("solver_order") == 3)
    )


FAILURES = (ValueError, TypeError, IndexError, NotImplementedError, AssertionError, RuntimeError)
"""The exceptions that diffusers raises for a file that it does not support."""


def diffusers_run(name: str, config: Settings, steps: int) -> tuple[Run, Any] | None:
    """Return a run and diffusers' states in it; None if diffusers fails or its states are not finite."""
    with pytest.MonkeyPatch.context() as monkeypatch, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = Run(name.removesuffix("Scheduler"), config, steps, from_config=True)
            states = run.diffusers_states(monkeypatch)
        except FAILURES:
            return None
    return (run, states) if np.isfinite(states).all() else None


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=left_over(), steps=st.sampled_from([1, 2, 3, 5, 9, 16]))
def test_left_over_settings_are_read_as_diffusers_reads_them(case: tuple[str, Settings], steps: int) -> None:
    """For any left-over settings, the run equals diffusers' or a setting is rejected by name."""
    (name, config), field = case, ""
    try:
        make_table(Diffusion.from_config(config), steps, image_tokens=TOKENS)  # a table holds only finite numbers
    except InvalidChoice as error:
        field = error.field
        event(f"rejected: {field}")
    if field:
        assert field in {*CLASSES[name].defaults, *CLASSES[name].extra_defaults, "steps", "sampler", "schedule"}
        return
    pair = None if is_intended(name, config, steps) else diffusers_run(name, config, steps)
    if pair:
        run, states = pair
        event("compared")
        assert run.distance(states, atol=1e-2) < BOUND
