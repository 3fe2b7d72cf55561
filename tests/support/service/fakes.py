"""A service behind a real gRPC channel, with a fake repository and a fake device that plays a script."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import grpc
import numpy as np

from tintype.service.config import ServiceConfig
from tintype.service.engine.events import Completed, Event, Finished, Preview, Progress, Queued, Timings
from tintype.service.engine.plan import Plan, plan
from tintype.service.errors import ModelBroken, ModelNotFound
from tintype.service.models import Defaults, ModelSpec, ModelState, ModelStatus, Preset
from tintype.service.models.spec import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tintype.service.numerics import Diffusion
from tintype.service.server import start
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from tintype.service.job import Job
    from tintype.service.lifecycle import Server
    from tintype.service.models.model import Model

UNPLANNED: Any = None
"""Stands for the plan of a finished image; `FakeDevice` replaces it."""
SPENT = Timings(queue=0.25, encode=0.5, denoise=1.5, decode=0.125)


def make_spec(name: str) -> ModelSpec:
    """Return a small epsilon model of 64x64 pixels."""
    config = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear", "prediction_type": "epsilon"}
    return ModelSpec(
        name=name,
        family="sd",
        diffusion=Diffusion.from_config(config),
        defaults=Defaults(
            steps=4,
            guidance_scale=3.5,
            width=64,
            height=64,
            sampler="dpmpp_2m",
            schedule="karras",
            guidance_rescale=0.5,
        ),
        native_sizes=((64, 64), (96, 64)),
        size_multiple=8,
        latent_channels=4,
        downscale=8,
        max_tokens=77,
        batched_timestep=True,
        weights_bytes=1234,
        license="Apache-2.0",
        styles={"vivid": Preset(template="{prompt}, vivid", negative_prompt="dull")},
    )


def planned(job: Job) -> Plan:
    """Return the plan of a job, for a model that has the job's adapters, and starts from images."""
    spec = make_spec(job.model or "first")
    capabilities = frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE})
    return plan(job, replace(spec, loras=tuple(lora.name for lora in job.loras), capabilities=capabilities))


class FakeRepository:
    """A repository of two models; a test sets the state of each."""

    def __init__(self) -> None:
        self._specs = {name: make_spec(name) for name in ("first", "second")}
        self.default = "first"
        self.states = {name: ModelStatus(ModelState.UNLOADED) for name in self._specs}
        self.model: Model | None = None
        self.updates = SimpleNamespace(is_scan_due=False)
        self.after_load = ModelStatus(ModelState.RESIDENT, 1.0, provider="cpu", options={"cuda_graphs": "on"})

    def names(self) -> list[str]:
        return list(self._specs)

    def specs(self) -> list[ModelSpec]:
        return list(self._specs.values())

    def spec(self, name: str = "") -> ModelSpec:
        self.status(name)
        return self._specs[name or self.default]

    def forget(self, **changes: Any) -> None:
        """Replace fields of both models; without changes, remove both models."""
        self._specs = {name: replace(spec, **changes) for name, spec in self._specs.items()} if changes else {}

    def status(self, name: str = "") -> ModelStatus:
        if (name or self.default) not in self.states:
            raise ModelNotFound(name, list(self.states))
        return self.states[name or self.default]

    def resident(self, _name: str = "") -> Model | None:
        return self.model

    def load(self, name: str = "") -> None:
        self.status(name)
        self.states[name or self.default] = self.after_load

    def get(self, name: str = "") -> None:
        if self.status(name).state is ModelState.FAILED:
            raise ModelBroken(name or self.default, [self.status(name).error])

    def unload(self, name: str) -> None:
        self.status(name)
        self.states[name] = ModelStatus(ModelState.UNLOADED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing; a real repository frees its models."""


def default_events(job: Job) -> list[Event]:
    """Return the events of a job whose images are grey, 64x64, the last image first."""
    grey = np.full((3, 64, 64), 0.5, np.float32)
    count = job.count
    return [
        Queued(1, 0.5),
        Progress(0, 1, 4, 3.0),
        Preview(0, 1, 0, grey[:, :8, :8]),
        *(Finished(k, (job.seed or 0) + k, grey, SPENT, UNPLANNED) for k in reversed(range(count))),
        Completed(job.model or "first", count, 4 * count, 7, SPENT),
    ]


@dataclass
class FakeDevice:
    """A device that plays the items of `script`: sends events, waits for seconds, raises exceptions.

    Images with the plan UNPLANNED get the plan of the job.
    """

    script: Callable[[Job], Iterable[Event | float | Exception]] = default_events
    jobs: list[Job] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    completed: int = 0
    hung: bool = False

    async def events(self, job: Job) -> AsyncGenerator[Event]:
        self.jobs.append(job)
        self.started.set()
        try:
            for item in self.script(job):
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, float):
                    await asyncio.sleep(item)
                elif isinstance(item, Finished) and item.plan is UNPLANNED:
                    yield replace(item, plan=planned(job))
                else:
                    yield item
            self.completed += 1
        finally:
            self.stopped.set()

    def hangs(self, _: float) -> bool:
        """Return what the test has set."""
        return self.hung

    def count_tasks(self) -> tuple[int, int]:
        """Return no waiting task, and one for each job that has not ended."""
        return 0, len(self.jobs) - self.completed

    async def drain(self, grace: float) -> None:
        """Do nothing; a real device refuses new jobs."""

    def close(self) -> None:
        """Do nothing; a real device ends its thread."""


@dataclass
class Running:
    """A server, a channel to it, its repository and its device."""

    server: Server
    channel: grpc.aio.Channel
    repository: FakeRepository
    device: FakeDevice

    @property
    def stub(self) -> Any:
        return pb_grpc.ImageServiceStub(self.channel)


@asynccontextmanager
async def serve_fakes(
    device: FakeDevice | None = None, repository: FakeRepository | None = None, options: Any = (), **settings: Any
) -> AsyncGenerator[Running]:
    """Serve `repository` and `device` on a free port; `options` are those of the channel."""
    device, repository = device or FakeDevice(), repository or FakeRepository()
    models: Any = repository
    config = replace(ServiceConfig(grpc="127.0.0.1:0"), **settings)
    async with (
        start(config, repository=models, device=device) as server,
        grpc.aio.insecure_channel(server.address, options=options) as channel,
    ):
        yield Running(server, channel, repository, device)
