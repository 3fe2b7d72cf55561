"""Every sampler against diffusers' own `step()`, whole trajectories with a network that is anything but linear."""

import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from tintype.service.numerics import Diffusion, Table, make_table
from tintype.service.numerics.table import Floats

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # diffusers beside numpy 2
]

Settings = dict[str, Any]

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
V = {"prediction_type": "v_prediction"}
LATENT_DDIM = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
SPACINGS = ("leading", "trailing", "linspace")
BOUND = 2e-6
"""Greatest error relative to max(1, |x|), after any call; diffusers computes in float32."""


def spaced(**settings: Any) -> list[Settings]:
    return [{**settings, **kind, "timestep_spacing": how} for how, kind in product(SPACINGS, ({}, V))]


def both(**settings: Any) -> list[Settings]:
    return [settings, {**settings, **V}]


CASES: dict[str, list[Settings]] = {
    "DDIM": [
        *spaced(**LATENT_DDIM),
        {**V, "clip_sample": False, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"clip_sample": False, "prediction_type": "sample"},
    ],
    "DDPM": spaced(clip_sample=False),
    "PNDM": both(skip_prk_steps=True, steps_offset=1),
    "LCM": both(),
    "EulerDiscrete": [
        *spaced(steps_offset=1),
        *both(use_karras_sigmas=True),
        *both(use_exponential_sigmas=True),
        *both(use_beta_sigmas=True),
        *both(final_sigmas_type="sigma_min"),
        {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    ],
    "EulerAncestralDiscrete": [
        *spaced(steps_offset=1),
        {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    ],
    "HeunDiscrete": [*both(steps_offset=1), *both(use_karras_sigmas=True), *both(use_exponential_sigmas=True)],
    "LMSDiscrete": [*both(), *both(use_karras_sigmas=True)],
    "DPMSolverMultistep": [
        *spaced(steps_offset=1),
        *both(use_karras_sigmas=True),
        *both(use_lu_lambdas=True),
        *both(use_beta_sigmas=True),
        *both(use_exponential_sigmas=True),
        *both(solver_type="heun", final_sigmas_type="sigma_min"),
        *both(euler_at_final=True, final_sigmas_type="sigma_min"),
        *both(solver_order=3),
        *both(solver_order=3, final_sigmas_type="sigma_min"),
        *both(algorithm_type="sde-dpmsolver++"),
        *both(algorithm_type="sde-dpmsolver++", use_karras_sigmas=True, solver_type="heun"),
        {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"},
        {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"},
    ],
    "DPMSolverSinglestep": [
        *both(),
        *both(solver_order=1),
        *both(solver_order=3),
        *both(solver_type="heun"),
        *both(solver_order=3, solver_type="heun"),
        *both(use_karras_sigmas=True),
        *both(final_sigmas_type="sigma_min"),
        *both(solver_order=3, final_sigmas_type="sigma_min", lower_order_final=True),
        {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"},
    ],
    "TCD": both(),
    "KDPM2Discrete": [
        *spaced(steps_offset=1),
        *both(use_karras_sigmas=True),
        *both(use_exponential_sigmas=True),
        *both(use_beta_sigmas=True),
    ],
    "KDPM2AncestralDiscrete": [
        *spaced(steps_offset=1),
        *both(use_karras_sigmas=True),
        *both(use_exponential_sigmas=True),
        *both(use_beta_sigmas=True),
    ],
    "DEISMultistep": [*both(solver_order=1), *both(), *both(solver_order=3), *both(use_karras_sigmas=True)],
    "UniPCMultistep": [
        *both(solver_order=1),
        *spaced(steps_offset=1),
        *both(solver_order=3),
        *both(solver_type="bh1", final_sigmas_type="sigma_min"),
        *both(use_karras_sigmas=True),
        *both(use_exponential_sigmas=True),
        *both(disable_corrector=[0, 1]),
        {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"},
        {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    ],
    "FlowMatchHeunDiscrete": [{}, {"shift": 3.0}],
    "FlowMatchLCM": [{"shift": 3.0}, {"shift": 3.0, "use_karras_sigmas": True}, {"use_dynamic_shifting": True}],
    "LTXEulerAncestralRF": [{}],
    "FlowMatchEulerDiscrete": [
        {"shift": 3.0},
        {"shift": 3.0, "stochastic_sampling": True},
        {"shift": 3.0, "use_karras_sigmas": True},
        {"shift": 3.0, "use_exponential_sigmas": True},
        {"shift": 2.0, "shift_terminal": 0.1},
        {"use_dynamic_shifting": True},
        {"use_dynamic_shifting": True, "time_shift_type": "linear", "shift_terminal": 0.1},
    ],
}
STEPS: dict[str, tuple[int, ...]] = {"DDIM": (7, 8, 20), "LCM": (1, 4, 8), "EulerAncestralDiscrete": (1, 4, 20)}
TOLERANCE = {
    # diffusers' coefficients of order 2 and 3 are float32 differences of nearly equal numbers.
    "DEISMultistep": 2e-5,
    # diffusers steps down from x = 4096 * N(0, 1) in float32, which leaves 4096 * 2**-24 in every x that follows.
    "EulerDiscrete-zero_snr": 1e-5,
    "EulerAncestralDiscrete-zero_snr": 1e-4,
}
K_DIFFUSION = ("Euler", "Heun", "LMS", "KDPM2")


def cases() -> Iterator[Any]:
    for name, settings in CASES.items():
        for setting, steps in product(settings, STEPS.get(name, (8, 20))):
            config = setting if name.startswith(("Flow", "LTX")) or "beta_schedule" in setting else {**SD, **setting}
            label = "-".join(str(v) if not isinstance(v, bool) else k for k, v in setting.items() if v)
            yield pytest.param(name, config, steps, id=f"{name}-{label}-{steps}")


def network(x: Floats, t: float) -> Floats:
    mix = np.random.default_rng(1).standard_normal((6, 6)) * 0.4
    return np.tanh(x @ mix + 0.001 * t) + 0.2 * np.sin(3 * x)


def run_diffusers(
    scheduler: Any, start: Floats, noises: Floats, monkeypatch: pytest.MonkeyPatch, frame: Floats, eta: Settings
) -> Floats:
    """Return our x after every call, as diffusers has it; frame [n + 1] is ours over theirs."""
    torch = pytest.importorskip("torch")
    module, calls, states = sys.modules[type(scheduler).__module__], [0], []
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: torch.from_numpy(noises[calls[0]]))
    x = torch.from_numpy(start / frame[0])
    for i, t in enumerate(scheduler.timesteps):
        calls[0] = i
        out = network(scheduler.scale_model_input(x, t).numpy() if frame[0] != 1 else x.numpy(), float(t))
        x = scheduler.step(torch.from_numpy(out), t, x, return_dict=False, **eta)[0].double()
        states.append(x.numpy() * frame[i + 1])
    return np.array(states)


def run_table(table: Table, start: Floats, noises: Floats) -> Floats:
    """Return x after every call, float64."""
    x = start
    history: list[Floats] = []
    states: list[Floats] = []
    for i in range(len(table)):
        history.insert(0, table.p[i] * x + table.q[i] * network(x, table.timesteps[i]))
        x = table.a[i] * x + sum(w * d for w, d in zip(table.b[i], history, strict=False)) + table.d[i] * noises[i]
        states.append(x)
    return np.array(states)


def compare(
    name: str, config: Settings, steps: int, monkeypatch: pytest.MonkeyPatch, eta: float | None = None
) -> float:
    diffusers = pytest.importorskip("diffusers")
    if name == "LMSDiscrete" or "use_beta_sigmas" in config:
        pytest.importorskip("scipy")
    scheduler = getattr(diffusers, f"{name}Scheduler")(**config)
    tokens = 1024
    mu = {"mu": 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)} if config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(steps, **mu)
    read = {k: v for k, v in scheduler.config.items() if v is not None}
    diffusion = Diffusion.from_config({**read, "_class_name": f"{name}Scheduler"})
    table = make_table(diffusion, steps, image_tokens=tokens, eta=eta)
    assert len(table) == len(scheduler.timesteps)
    np.testing.assert_allclose(table.timesteps, scheduler.timesteps.double().numpy(), atol=1e-4)
    frame = table.alphas if name.startswith(K_DIFFUSION) else np.ones(len(table) + 1)
    init = float(getattr(scheduler, "init_noise_sigma", 1.0)) * frame[0]
    assert table.init == pytest.approx(init, rel=1e-6)
    start = np.random.default_rng(3).standard_normal((5, 6)) * table.init
    noises = np.random.default_rng(2).standard_normal((len(table), 5, 6))
    theirs = run_diffusers(scheduler, start, noises, monkeypatch, frame, {"eta": eta} if eta is not None else {})
    ours = run_table(table, start, noises)
    error = np.abs(ours - theirs).max(axis=(1, 2)) / np.maximum(1, np.abs(theirs).max(axis=(1, 2)))
    return float(error.max())


@pytest.mark.parametrize(("name", "config", "steps"), list(cases()))
def test_equals_diffusers(name: str, config: Settings, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same settings and the same noise give diffusers' trajectory, at every call."""
    error = compare(name, config, steps, monkeypatch)
    print(f"{error:.1e}")  # noqa: T201 - shown by pytest -rP
    key = f"{name}-zero_snr" if config.get("rescale_betas_zero_snr") else name
    assert error < TOLERANCE.get(key, BOUND)


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("config", [LATENT_DDIM, {**LATENT_DDIM, **V}])
def test_stochastic_ddim_equals_diffusers(config: Settings, eta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """DDIM's eta means what it means in diffusers."""
    assert compare("DDIM", {**SD, **config}, 20, monkeypatch, eta=eta) < BOUND
