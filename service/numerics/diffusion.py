"""How a model was trained, and its default sampling."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Self

from . import scheduler_config
from .choices import InvalidSetting
from .path import Levels, Prediction
from .schedules import Shift
from .table import Floats


@dataclass(frozen=True, eq=False, slots=True)
class Diffusion:
    """A trained diffusion or flow and its default sampling; immutable."""

    prediction: Prediction
    alphas_cumprod: Floats = field(repr=False)
    """[T] float64, the share of the signal in the variance at each trained timestep; empty for flows."""
    train_steps: int = 1000
    sampler: str = "ddim"
    schedule: str = "normal"
    sampler_settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments from the configuration for the samplers that take them: order, heun, bh1, ..."""
    spacing: str | None = None
    """linspace, leading or trailing; None means the sampler's default."""
    steps_offset: int = 0
    set_alpha_to_one: bool | None = None
    final_sigma: str = "zero"
    """Where the last step ends: zero or sigma_min."""
    sigma_min_source: str = "trained"
    """The meaning of `sigma_min` in `final_sigma`: the lowest `trained` level, or the last level of the `schedule`."""
    sigma_min: float | None = None
    sigma_max: float | None = None
    distilled_steps: int = 50
    levels: Levels = Levels.TRAINED
    data_deviation: float = 1.0
    """EDM: the standard deviation of latents, by which they are divided here; `sigma_min` and `sigma_max` are too."""
    rho: float = 0.0
    """EDM: the exponent of its own schedule; 0 means that the logarithm is evenly spaced."""
    shift: Shift = field(default_factory=Shift)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """For each other sampler, the fields above that the configuration changes for it."""

    def __post_init__(self) -> None:
        has_timesteps = self.levels is Levels.TRAINED and not self.flow
        if self.train_steps < 1 or (has_timesteps and len(self.alphas_cumprod) != self.train_steps):
            raise InvalidSetting(
                "num_train_timesteps", self.train_steps, "must be positive and equal to the number of betas"
            )
        if has_timesteps and self.alphas_cumprod[-1] == 0 and self.prediction is Prediction.EPSILON:
            raise InvalidSetting(
                "prediction_type", "epsilon", "is undefined at zero signal; use v_prediction or sample"
            )
        self.alphas_cumprod.setflags(write=False)
        object.__setattr__(self, "sampler_settings", MappingProxyType(dict(self.sampler_settings)))

    @property
    def flow(self) -> bool:
        """Whether this is a flow (alpha + sigma = 1) rather than a diffusion (alpha^2 + sigma^2 = 1)."""
        return self.prediction is Prediction.FLOW

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the contents of a scheduler_config.json.

        Raises:
            InvalidSetting: a setting is unknown, wrong or not supported; `.field` is its key.
        """
        return cls(**scheduler_config.read(config))

    def for_sampler(self, sampler: str) -> "Diffusion":
        """Return this process with the configuration's choices for another sampler, a name in `SAMPLERS`."""
        return self if sampler == self.sampler or sampler not in self.overrides else _for_sampler(self, sampler)


@lru_cache(maxsize=256)
def _for_sampler(diffusion: Diffusion, sampler: str) -> Diffusion:
    return replace(diffusion, sampler=sampler, overrides={}, **diffusion.overrides[sampler])
