"""Runs of diffusers' schedulers and of tables with the same settings, over whole trajectories."""

import inspect
import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from itertools import product
from typing import Any

import numpy as np
import pytest

from tintype.service.numerics import Diffusion, make_table
from tintype.service.numerics.table import Floats

Settings = dict[str, Any]

STEPS = (1, 7, 20)
TOKENS = 1024
MIX = np.random.default_rng(1).standard_normal((6, 6)) * 0.4

LENGTHS = (2, 3, 14, 15, 30)  # DPM-Solver++ lowers the order at the end of runs of up to 14 steps

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}

AXES: dict[str, list[Settings]] = {
    "timestep_spacing": [{"timestep_spacing": how, "steps_offset": 1} for how in ("leading", "trailing", "linspace")],
    "prediction_type": [{"prediction_type": how} for how in ("epsilon", "v_prediction", "sample")],
    "use_karras_sigmas": [
        {},
        *(
            {flag: True}
            for flag in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
        ),
    ],
    "final_sigmas_type": [{"final_sigmas_type": how} for how in ("zero", "sigma_min")],
}
"""All combinations of these values are tested, as far as the class has the settings."""

ALWAYS: dict[str, Settings] = {
    "DDIM": {"clip_sample": False, "set_alpha_to_one": False},
    "DDPM": {"clip_sample": False},
    "PNDM": {"skip_prk_steps": True},
}

SOLVERS: list[Settings] = [
    {"solver_order": 1},
    {"solver_order": 3},
    {"solver_type": "heun"},
    {"solver_type": "heun", "solver_order": 3, "final_sigmas_type": "sigma_min"},
    {**FLOW},
    {**FLOW, "flow_shift": 3.0},
    {**FLOW, "flow_shift": 3.0, "solver_order": 3},
]

MORE: dict[str, list[Settings]] = {
    "DDIM": [ZERO_SNR, {"set_alpha_to_one": True}, {"beta_schedule": "squaredcos_cap_v2"}],
    "DDPM": [ZERO_SNR],
    "PNDM": [{"set_alpha_to_one": True}],
    "LCM": [{"original_inference_steps": 100}, {"timestep_scaling": 1.0}],
    "TCD": [{"original_inference_steps": 100}],
    "EulerDiscrete": [ZERO_SNR, {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0}],
    "EulerAncestralDiscrete": [ZERO_SNR],
    "HeunDiscrete": [],
    "LMSDiscrete": [],
    "KDPM2Discrete": [],
    "KDPM2AncestralDiscrete": [],
    "DPMSolverMultistep": [
        ZERO_SNR,
        *SOLVERS,
        {"euler_at_final": True, "final_sigmas_type": "sigma_min"},
        {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
        {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"},
        *({"algorithm_type": "sde-dpmsolver++", **more} for more in (SOLVERS[2], {"use_karras_sigmas": True}, FLOW)),
    ],
    "DPMSolverSinglestep": [
        *SOLVERS,
        {"lower_order_final": True},
        {"lower_order_final": True, "final_sigmas_type": "sigma_min", "solver_order": 3},
    ],
    "DEISMultistep": [{"solver_order": 1}, {"solver_order": 3}],
    "UniPCMultistep": [
        ZERO_SNR,
        *SOLVERS[:2],
        *SOLVERS[4:],
        {"solver_type": "bh1"},
        {"solver_type": "bh1", "solver_order": 3, "final_sigmas_type": "sigma_min"},
        {"disable_corrector": [0, 1]},
        {**FLOW, "flow_shift": 3.0, "final_sigmas_type": "sigma_min"},
        {**FLOW, "use_dynamic_shifting": True},
        {**FLOW, "flow_shift": 3.0, "shift_terminal": 0.1},
    ],
    "FlowMatchEulerDiscrete": [
        {},
        {"shift": 3.0},
        {"shift": 3.0, "stochastic_sampling": True},
        *({"shift": 3.0, f"use_{schedule}_sigmas": True} for schedule in ("karras", "exponential", "beta")),
        {"shift": 2.0, "shift_terminal": 0.1},
        {"use_dynamic_shifting": True},
        {"use_dynamic_shifting": True, "time_shift_type": "linear", "shift_terminal": 0.1},
        {"use_dynamic_shifting": True, "base_shift": 0.25, "max_shift": 0.75, "max_image_seq_len": 8192},
    ],
    "FlowMatchHeunDiscrete": [{}, {"shift": 3.0}],
    "FlowMatchLCM": [{"shift": 3.0}, {"shift": 3.0, "use_karras_sigmas": True}, {"use_dynamic_shifting": True}],
    "LTXEulerAncestralRF": [{}],
    "EDMEuler": [
        {"sigma_data": 1.0, "sigma_schedule": "exponential"},
        {"sigma_min": 0.01, "sigma_max": 20.0, "rho": 5.0},
    ],
    "EDMDPMSolverMultistep": [
        {"solver_order": 3},
        {"solver_type": "heun"},
        {"algorithm_type": "sde-dpmsolver++"},
        {"sigma_data": 1.0, "sigma_schedule": "exponential", "prediction_type": "v_prediction"},
    ],
}
"""Further settings to test."""

K_DIFFUSION = ("Euler", "Heun", "LMS", "KDPM2")
ONLY_NOISE_AND_V = (
    "EDMEuler",
    "EDMDPMSolverMultistep",
    "PNDM",
    "KDPM2Discrete",
    "KDPM2AncestralDiscrete",
    "EulerAncestralDiscrete",
)


def settings_of(name: str) -> Iterator[Settings]:
    """Yield the settings with which a class of diffusers is tested."""
    flow = name.startswith(("Flow", "LTX"))
    base = {**({} if flow or name.startswith("EDM") else SD), **ALWAYS.get(name, {})}
    if not flow:
        known = inspect.signature(_class(name).__init__).parameters
        axes = [AXES[axis] for axis in AXES if axis in known]
        for point in product(*axes):
            setting = {key: value for part in point for key, value in part.items()}
            if setting.keys() <= known.keys() and not (
                name in ONLY_NOISE_AND_V and setting.get("prediction_type") == "sample"
            ):
                yield {**base, **setting}
    yield from ({**base, **more} for more in MORE[name])


def label(name: str, settings: Settings) -> str:
    """Return a test's name: the class and the settings that differ from the usual ones."""
    unusual = {key: value for key, value in settings.items() if key not in SD and value and key != "steps_offset"}
    return "-".join([name, *(key if value is True else str(value) for key, value in unusual.items())])


def _class(name: str) -> Any:
    return getattr(pytest.importorskip("diffusers"), f"{name}Scheduler")


def new_scheduler(name: str, settings: Settings) -> Any:
    """Return a scheduler of diffusers. It is constructed once for each settings: KDPM2's constructor takes seconds."""
    key = name, json.dumps(settings, sort_keys=True)
    if key not in _CONSTRUCTED:
        _CONSTRUCTED[key] = _class(name)(**settings)
    return deepcopy(_CONSTRUCTED[key])


_CONSTRUCTED: dict[tuple[str, str], Any] = {}


def _mu(scheduler_class: Any, config: Any) -> Settings:
    """Return mu of a dynamic shift, as pipelines compute it from the image size."""
    if (
        not config.get("use_dynamic_shifting")
        or "mu" not in inspect.signature(scheduler_class.set_timesteps).parameters
    ):
        return {}
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return {"mu": low + (high - low) * (TOKENS - 256) / (config.get("max_image_seq_len", 4096) - 256)}


def network(x: Floats, t: float) -> Floats:
    """Return the output of a strongly nonlinear stand-in for a network."""
    return np.tanh(x @ MIX + 0.001 * t) + 0.2 * np.sin(3 * x)


class Run:
    """One run in both, from the same noise, without the first `start` of `steps` steps; x in the table's frame."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        steps: int,
        *,
        eta: float | None = None,
        start: int = 0,
        from_config: bool = False,
    ) -> None:
        """Prepare both, from the class's own settings or, with `from_config`, from a file with left-over settings."""
        scheduler_class = _class(name)
        self.scheduler = scheduler_class.from_config(settings) if from_config else new_scheduler(name, settings)
        read = settings if from_config else {k: v for k, v in self.scheduler.config.items() if v is not None}
        diffusion = Diffusion.from_config({**read, "_class_name": f"{name}Scheduler"})
        self.table = make_table(diffusion, steps, image_tokens=TOKENS, eta=eta, start=start)
        self.scheduler.set_timesteps(steps, **_mu(scheduler_class, self.scheduler.config))
        takes_eta = "eta" in inspect.signature(scheduler_class.step).parameters
        self.eta = {"eta": eta or 0.0} if takes_eta else {}  # diffusers' pipelines pass 0 by default
        self.skip = start * getattr(self.scheduler, "order", 1)
        self.timesteps = self.scheduler.timesteps[self.skip :]
        self.frame = self.table.alphas if name.startswith(K_DIFFUSION) else np.ones(len(self.table) + 1)
        if name.startswith("EDM"):
            self.frame = np.append(self.table.alphas[:-1], 1.0) / diffusion.data_deviation
        random = np.random.default_rng(3)
        self.noises = random.standard_normal((len(self.table), 5, 6))
        clean, noise = random.standard_normal((2, 5, 6))
        self.x = self.table.alphas[0] * clean + self.table.sigmas[0] * noise if start else self.table.init * noise

    def diffusers_states(self, monkeypatch: pytest.MonkeyPatch) -> Floats:
        """Return x after every call of diffusers."""
        torch = pytest.importorskip("torch")
        module, calls, states = sys.modules[type(self.scheduler).__module__], [0], []
        if hasattr(module, "randn_tensor"):
            monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: torch.from_numpy(self.noises[calls[0]]))
        if self.skip and hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(self.skip)
        x = torch.from_numpy(self.x / self.frame[0])
        for i, t in enumerate(self.timesteps):
            calls[0] = i
            scaled = self.scheduler.scale_model_input(x, t) if hasattr(self.scheduler, "scale_model_input") else x
            out = torch.from_numpy(network(scaled.numpy(), float(t)))
            x = self.scheduler.step(out, t, x, return_dict=False, **self.eta)[0].double()
            states.append(x.numpy() * self.frame[i + 1])
        return np.array(states)

    def states(self) -> Floats:
        """Return x after every call along the table, float64."""
        x, t = self.x, self.table
        history: list[Floats] = []
        states = []
        for i in range(len(t)):
            history.insert(0, t.p[i] * x + t.q[i] * network(x, t.timesteps[i]))
            x = t.a[i] * x + sum(w * d for w, d in zip(t.b[i], history, strict=False)) + t.d[i] * self.noises[i]
            states.append(x)
        return np.array(states)

    def difference(self, monkeypatch: pytest.MonkeyPatch) -> float:
        """Return the largest difference after any call, relative to max(1, |x|)."""
        return self.distance(self.diffusers_states(monkeypatch))

    def distance(self, expected: Floats, *, atol: float = 1e-4) -> float:
        """Return the largest difference from diffusers' states, relative to max(1, |x|)."""
        assert len(self.table) == len(self.timesteps)
        np.testing.assert_allclose(self.table.timesteps, self.timesteps.double().numpy(), atol=atol)
        init = float(getattr(self.scheduler, "init_noise_sigma", 1.0))
        assert self.skip or self.table.init == pytest.approx(init * self.frame[0], rel=1e-6)
        error = np.abs(self.states() - expected).max(axis=(1, 2)) / np.maximum(1, np.abs(expected).max(axis=(1, 2)))
        return float(error.max())
