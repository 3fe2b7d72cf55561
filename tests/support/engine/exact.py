"""A model with a known exact denoiser: its data are N(mu, s^2) in each place, so the posterior mean is a formula.

For x = alpha x0 + sigma n, the mean of x0 given x is mu + k (x - alpha mu), k = alpha s^2 / (alpha^2 s^2 + sigma^2).
mu comes from the prompt. All arithmetic is done row by row, in numpy alone: batching can't change a bit.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.engine import Engine, Limits, Ticket
from tintype.service.engine.events import Failed
from tintype.service.errors import Cancelled, ModelBroken, ModelNotFound, TintypeError
from tintype.service.job import Job
from tintype.service.models import Conditioning, Defaults, ModelSpec, ModelState, ModelStatus, Preset, Prompt
from tintype.service.models.spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE
from tintype.service.numerics import Diffusion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from tintype.service.engine.events import Event
    from tintype.service.engine.task import Task

    Array = NDArray[np.float32]

SPREAD = 0.5
COST = {"encode": 0.5, "encode_pixels": 0.25, "denoise": 1.0, "decode": 2.0}
DIFFUSION = Diffusion.from_config(
    {
        "_class_name": "DDIMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
)
SPEC = ModelSpec(
    name="exact",
    family="test",
    diffusion=DIFFUSION,
    defaults=Defaults(steps=6, guidance_scale=3.0, width=64, height=64, sampler="ddim", schedule="normal"),
    native_sizes=((64, 64),),
    size_multiple=8,
    latent_channels=4,
    downscale=8,
    max_tokens=77,
    batched_timestep=True,
    provider="exact",
    capabilities=frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}),
    qualities={"hd": Preset(steps=9), "draft": Preset(steps=2, guidance_scale=1.0)},
    styles={"vivid": Preset(template="{prompt}, vivid", negative_prompt="grey", guidance_scale=5.0)},
)


def mean_of(prompt: str) -> float:
    """Return the mean of the images of a prompt, -1 to 1."""
    return zlib.crc32(prompt.encode()) / 2**31 - 1


class Clock:
    """A clock that tests advance, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ExactModel:
    """The exact denoiser as a model, which records its calls.

    `calls` has the name and the rows of each call, `cost` the seconds that a call takes on `clock`. `texts` has the
    prompts of each encoding call, `means` and `shapes` the conditionings of each denoiser call. `on_call` runs before
    each call is answered, and may raise or cancel; `stops` counts the calls of `stop`.
    """

    spec: ModelSpec = SPEC
    clock: Clock = field(default_factory=Clock)
    cost: dict[str, float] = field(default_factory=lambda: dict(COST))
    on_call: Callable[[str, int], None] = lambda _name, _rows: None
    calls: list[tuple[str, int]] = field(default_factory=list)
    timesteps: list[list[float]] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    means: list[list[float]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    read: list[tuple[str, ...]] = field(default_factory=list)
    stops: int = 0
    stopped: bool = False

    def _called(self, name: str, rows: int) -> None:
        self.calls.append((name, rows))
        self.clock.now += self.cost[name]
        self.on_call(name, rows)
        if self.stopped:
            raise Cancelled("stopped")

    def adapter_reader(self, names: Iterable[str]) -> None:
        """Record the names."""
        self.read.append(tuple(names))

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return how many chunks of ten words the longest prompt has."""
        return max(1 + len(prompt.text.split()) // 10 for prompt in prompts)

    def encode(self, prompts: Sequence[Prompt], chunks: int = 0) -> list[Conditioning]:
        self._called("encode", len(prompts))
        self.texts.append([prompt.text for prompt in prompts])
        return [
            Conditioning(
                np.full((77 * max(chunks, 1), 1), mean_of(p.text), np.float32),
                tokens=len(p.text.split()),
                negative=p.negative,
            )
            for p in prompts
        ]

    def encode_pixels(self, pixels: Array, noise: Array) -> Array:
        """Invert `decode`, with a standard deviation of 0.1."""
        self._called("encode_pixels", len(noise))
        small = (pixels[:, :, ::8, ::8] - np.float32(0.5)) * 8
        return np.concatenate([small, small[:, :1]], axis=1) + np.float32(0.1) * noise

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        assert len(latents) == len(timesteps) == len(conditionings)
        assert len({c.key for c in conditionings}) == 1
        assert self.spec.batched_timestep or len(set(timesteps.tolist())) == 1
        self.timesteps.append(timesteps.tolist())
        self.means.append([float(c.prompt_embeds[0, 0]) for c in conditionings])
        self.shapes.append(conditionings[0].prompt_embeds.shape)
        self._called("denoise", len(latents))
        return np.stack([self._noise(*row) for row in zip(latents, timesteps, conditionings, strict=True)])

    def _noise(self, x: Array, timestep: np.float32, conditioning: Conditioning) -> Array:
        mu = conditioning.prompt_embeds[0, 0]
        bar = np.interp(float(timestep), np.arange(1000), self.spec.diffusion.alphas_cumprod)
        alpha, sigma = np.float32(np.sqrt(bar)), np.float32(np.sqrt(1 - bar))
        k = alpha * np.float32(SPREAD**2) / (alpha * alpha * np.float32(SPREAD**2) + sigma * sigma)
        return (x - alpha * (mu + k * (x - alpha * mu))) / sigma

    def decode(self, latents: Array) -> Array:
        self._called("decode", len(latents))
        return (latents[:, :3].repeat(8, axis=2).repeat(8, axis=3) / 8 + 0.5).clip(0.001, 1)

    def preview(self, latents: Array) -> Array:
        return (latents[:3] / 8 + 0.5).clip(0, 1)

    def stop(self) -> None:
        self.stops, self.stopped = self.stops + 1, True

    def resume(self) -> None:
        self.stopped = False


class Shelf:
    """The part of the repository that the engine uses. `absent` models are loading, `broken` ones failed."""

    def __init__(self, *models: ExactModel) -> None:
        self.models = {model.spec.name: model for model in models}
        self.absent: set[str] = set()
        self.broken: dict[str, TintypeError] = {}
        self.fraction = 0.0
        self.holds: list[str] = []
        self.loads: list[str] = []
        self.waiting: set[str] = set()
        self.idle = 0  # models that can be evicted

    @property
    def version(self) -> object:
        """A copy of what tests change."""
        return frozenset(self.absent), frozenset(self.broken), frozenset(self.waiting), self.fraction

    def spec(self, name: str = "") -> ModelSpec:
        name = name or next(iter(self.models))
        if name not in self.models:
            raise ModelNotFound(name, list(self.models))
        return self.models[name].spec

    def status(self, name: str = "") -> ModelStatus:
        absent = ModelState.WAITING if name in self.waiting else ModelState.LOADING
        state = absent if name in self.absent else ModelState.RESIDENT
        return ModelStatus(state, self.fraction, provider="exact")

    def load(self, name: str = "", **_: bool) -> None:
        self.loads.append(name)

    def set_demand(self, wanted: Collection[str], urgent: Collection[str]) -> None:
        """Do nothing: this repository keeps all models."""

    def get(self, name: str = "") -> ExactModel | None:
        if name in self.broken:
            raise self.broken[name]
        return None if name in self.absent else self.models[name]

    def evict_idle(self, _name: str = "") -> bool:
        """Evict all idle models; return whether there were any."""
        had, self.idle = self.idle, 0
        return had > 0

    def hold(self, name: str) -> None:
        self.holds.append(name)

    def release(self, name: str) -> None:
        self.holds.remove(name)


class Bench:
    """An engine on exact models that tests step manually, and all its events."""

    def __init__(self, *models: ExactModel, **limits: float) -> None:
        self.model = models[0] if models else ExactModel()
        self.clock = self.model.clock
        self.shelf = Shelf(*(models or [self.model]))
        repository: Any = self.shelf
        settings: dict[str, Any] = {**limits}
        self.engine = Engine(repository, limits=Limits(**settings), clock=self.clock, draw=lambda: 7)
        self.events: dict[Ticket, list[Event]] = {}
        self.log: list[tuple[Ticket, Event]] = []

    def place(self, shelf: Any) -> None:
        """Replace the repository."""
        self.shelf = self.engine._repository = self.engine._live_tasks._leases._repository = shelf

    def admit(self, prompt: str = "a lake", **job: Any) -> Ticket:
        """Admit a job with these fields."""
        ticket = self.engine.admit(Job(prompt=prompt, **job))
        self.events[ticket] = []
        self.collect()
        return ticket

    def step(self, times: int = 1) -> bool:
        worked = False
        for _ in range(times):
            worked = self.engine.step()
            self.collect()
        return worked

    def run(self, limit: int = 10_000) -> None:
        """Step until nothing is left to do."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError(f"still busy after {limit} steps")

    def collect(self) -> None:
        for ticket, event in self.engine.collect():
            self.events[ticket].append(event)
            self.log.append((ticket, event))

    def of(self, ticket: Ticket, *kinds: type) -> list[Any]:
        """Return a ticket's events of some types, in order."""
        return [event for event in self.events[ticket] if isinstance(event, kinds)]

    def error(self, ticket: Ticket) -> TintypeError:
        """Return the error that a ticket's last event carries."""
        last = self.events[ticket][-1]
        assert isinstance(last, Failed)
        return last.error

    def task(self, ticket: Ticket) -> Task:
        """Return the live task of a ticket."""
        task = self.engine._live_tasks.find(ticket)
        assert task is not None
        return task


def broken(name: str = "exact") -> ModelBroken:
    return ModelBroken(name, ["unet/model.onnx is missing"])


def spec(**changes: Any) -> ModelSpec:
    """Return SPEC with other values of some fields."""
    return replace(SPEC, **changes)


def measured(**limits: float) -> Bench:
    """Return a bench after one image, so costs are known: encode 0.5 s, denoiser call 1 s, decode 2 s."""
    bench = Bench(**{"max_batch": 1, **limits})
    bench.admit(steps=3)
    bench.run()
    return bench
