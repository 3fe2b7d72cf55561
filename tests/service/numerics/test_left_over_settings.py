"""Configurations with settings of other classes: read as diffusers reads them, or refused by name."""

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
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # diffusers beside numpy 2
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # where diffusers takes the logarithm of 0
]

BOUND = 5e-3
"""Greatest difference relative to max(1, |x|): what diffusers' float32 levels make of zero SNR is below."""

NOT_HERE = {"DPMSolverSDEScheduler"}
"""Needs torchsde, and draws its noise from a Brownian tree."""


@cache
def signatures() -> dict[str, dict[str, Any]]:
    """Return the constructor parameters of every scheduler class of the installed diffusers, with their defaults."""
    package = pytest.importorskip("diffusers.schedulers")
    found = {}
    for module in iter_modules(package.__path__):
        try:
            classes = vars(import_module(f"{package.__name__}.{module.name}"))
        except (ImportError, RuntimeError):
            continue  # needs a library that is not installed: flax, torchsde
        for name, kind in classes.items():
            if inspect.isclass(kind) and name.endswith("Scheduler") and hasattr(kind, "config_name"):
                parameters = inspect.signature(kind.__init__).parameters.values()
                found[name] = {p.name: p.default for p in parameters if p.name not in ("self", "args", "kwargs")}
    return found


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - NOT_HERE))
def test_each_row_is_the_class_signature(name: str) -> None:
    """A row of the table has the parameters and defaults of the installed class, no more and no fewer."""
    assert CLASSES[name].defaults == signatures()[name]


def test_every_setting_of_diffusers_is_known() -> None:
    """A setting of any scheduler class may be left over in a file, also of a class that is not served."""
    not_images = {"AmusedScheduler", "BlockRefinementScheduler", "DiscreteDDIMScheduler", "EntropyBoundScheduler"}
    not_images |= {"HeliosScheduler", "HeliosDMDScheduler", "VQDiffusionScheduler", "DDPMWuerstchenScheduler"}
    parameters = {key for name, row in signatures().items() if name not in not_images for key in row}
    assert parameters <= KNOWN_SETTINGS


def test_the_published_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_config` of one class with the configuration of another is read as diffusers reads it."""
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
"""Values for the settings that matter; others stay at the defaults of the class that has them."""


@st.composite
def left_over(draw: st.DrawFn) -> tuple[str, Settings]:
    """Draw a class, and a file with settings of that class and of another one that was there before."""
    name, before = (draw(st.sampled_from(sorted(CLASSES.keys() - NOT_HERE))) for _ in range(2))
    keys = sorted({*CLASSES[name].defaults, *CLASSES[name].extra_defaults, *CLASSES[before].defaults} & VALUES.keys())
    chosen = {key: draw(st.sampled_from(VALUES[key])) for key in keys if draw(st.booleans())}
    if chosen.get("use_flow_sigmas") and draw(st.booleans()):
        chosen["prediction_type"] = "flow_prediction"
    if draw(st.booleans()):
        chosen |= {"clip_sample": False, "thresholding": False, "skip_prk_steps": True}
    return name, {"_class_name": name, **chosen}


def apart(name: str, config: Settings, steps: int) -> bool:
    """Whether this is a difference on purpose: see APART in `test_against_diffusers`, and docs/samplers.md."""
    flow = name.startswith("DEIS") and config.get("use_flow_sigmas")
    repeats = CLASSES[name].sigma_min_source == "schedule" and steps == 1
    cosine = config.get("beta_schedule") == "squaredcos_cap_v2"
    return bool(
        flow
        or repeats
        or (cosine and config.get("use_karras_sigmas") and name.startswith("DPM"))
        or (cosine and name == "KDPM2AncestralDiscreteScheduler")  # its levels half way are float32 differences
        or (name == "HeunDiscreteScheduler" and config.get("prediction_type") == "sample")  # divides by a small level
        or (name == "PNDMScheduler" and config.get("timestep_spacing", "leading") != "leading")
        or (name == "KDPM2AncestralDiscreteScheduler" and steps == 2)
        or ("shift_terminal" in config and steps == 1)
        or (config.get("algorithm_type") == "sde-dpmsolver++" and config.get("solver_order") == 3)
    )


FAILURES = (ValueError, TypeError, IndexError, NotImplementedError, AssertionError, RuntimeError)
"""How diffusers fails at a file that it can't follow itself."""


def compared(name: str, config: Settings, steps: int) -> tuple[Run, Any] | None:
    """Return a run and diffusers' states in it; None where diffusers fails, or draws what is not finite."""
    with pytest.MonkeyPatch.context() as monkeypatch, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = Run(name.removesuffix("Scheduler"), config, steps, from_config=True)
            states = run.theirs(monkeypatch)
        except FAILURES:
            return None
    return (run, states) if np.isfinite(states).all() else None


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=left_over(), steps=st.sampled_from([1, 2, 3, 5, 9, 16]))
def test_left_over_settings_are_read_as_diffusers_reads_them(case: tuple[str, Settings], steps: int) -> None:
    """Whatever is left over in a file, the run is diffusers', or the file is refused by the name of a setting."""
    (name, config), field = case, ""
    try:
        make_table(Diffusion.from_config(config), steps, image_tokens=TOKENS)  # all of it is finite
    except InvalidChoice as refusal:
        field = refusal.field
        event(f"refused: {field}")
    if field:
        assert field in {*CLASSES[name].defaults, *CLASSES[name].extra_defaults, "steps", "sampler", "schedule"}
        return
    pair = None if apart(name, config, steps) else compared(name, config, steps)
    if pair:
        run, states = pair
        event("compared")
        assert run.distance(states, atol=1e-2) < BOUND
