"""State of the web UI's API between requests: running jobs, and the model that each key selected.

- The web UI runs one job at a time, so its API reports "the" progress and interrupts "the" job. Here that is the oldest
  running job of the same key, or of all clients if no keys are required.
- The web UI has one selected checkpoint, for requests that name none. Here each key has its own; without keys all
  clients share one. It is kept in memory: after a restart it is the default model.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.v1.reasons import Reason

from ..access.admission import authenticate
from ..access.model_names import OPENAI_PREFIXES, ModelNames
from ..context import AnyRequest  # noqa: TC001 - Litestar reads it
from ..errors import ServiceError
from ..requests.generation import base_url
from .response_types import JobProgress, JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tintype.v1 import image_service_pb2 as pb

    from ..context import Gateway


# The web UI appends the file's extension to a name, and the beginning of its hash in brackets.
_HASH = re.compile(r"[0-9a-f]{4,64}\]", re.IGNORECASE)
EXTENSIONS = ("safetensors", "ckpt", "onnx")

STARTED_SHARE = 0.01  # the progress that the web UI reports as soon as a job runs


class PartStopped(Exception):
    """A client interrupted or skipped the current part."""


@dataclass(slots=True, eq=False)
class Job:
    """A request for images, made in `parts`, one call to the service each; `size` is the images' size in pixels."""

    owner: str
    parts: int
    size: tuple[int, int]
    began: float = field(default_factory=time.monotonic)
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%d%H%M%S"))
    part: int = 0
    interrupted: bool = False
    skipped: bool = False
    preview: pb.Preview | None = None
    _images: int = 1
    _steps: dict[int, tuple[int, int]] = field(default_factory=dict)
    _end: float | None = None  # estimate of the service, by `time.monotonic`
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, part: int, images: int) -> None:
        """Begin part number `part`, from 0, which makes `images` images."""
        self.part, self._images, self._steps, self._end = part, images, {}, None
        self.skipped = False
        self._stop.clear()

    def update(self, event: pb.StreamImagesResponse) -> None:
        """Update the progress from an event of the service."""
        if event.HasField("progress"):
            self._steps[event.progress.index] = (event.progress.step, event.progress.steps)
        elif event.HasField("preview"):
            self.preview = event.preview
        latest = event.progress if event.HasField("progress") else event.queued
        if latest.HasField("eta"):
            self._end = time.monotonic() + latest.eta.ToMilliseconds() / 1000

    def stop(self, *, everything: bool) -> None:
        """Stop the current part, or all parts."""
        self.interrupted |= everything
        self.skipped = not everything
        self._stop.set()

    async def stopped(self) -> None:
        """Wait until a client stops the current part."""
        await self._stop.wait()

    def progress(self) -> JobProgress:
        """Return the progress without a preview."""
        steps = max((steps for _, steps in self._steps.values()), default=0)
        step = sum(step for step, _ in self._steps.values()) // self._images
        share = min(1.0, STARTED_SHARE + (self.part + (step / steps if steps else 0)) / self.parts)
        state = JobState(
            skipped=self.skipped,
            interrupted=self.interrupted,
            job=f"Batch {self.part + 1} out of {self.parts}",
            job_count=self.parts,
            job_timestamp=self.stamp,
            job_no=self.part,
            sampling_step=step,
            sampling_steps=steps,
        )
        return JobProgress(progress=share, eta_relative=self._remaining_seconds(share), state=state)

    def _remaining_seconds(self, share: float) -> float:
        """Return the seconds to the end: the service's estimate if the job has one part, or a linear extrapolation."""
        now = time.monotonic()
        if self._end is not None and self.parts == 1:
            return max(0.0, self._end - now)
        return (now - self.began) * (1 / share - 1)


class Jobs:
    """The running jobs, the oldest first."""

    def __init__(self) -> None:
        self._running: list[Job] = []

    @contextmanager
    def running(self, job: Job) -> Iterator[Job]:
        """List a job as running while inside the block."""
        self._running.append(job)
        try:
            yield job
        finally:
            self._running.remove(job)

    def current(self, owner: str) -> Job | None:
        """Return the oldest uninterrupted job of `owner`, a key's name; None if there is none."""
        return next((job for job in self._running if job.owner == owner and not job.interrupted), None)


class Checkpoints:
    """The model that each key selected, and the names by which clients select one."""

    def __init__(self, names: ModelNames) -> None:
        self._names = names
        self._selected: dict[str, str] = {}

    def select(self, owner: str, model: pb.Model) -> None:
        """Use a model for the following requests of `owner`, a key's name."""
        self._selected[owner] = model.name

    def current(self, owner: str, models: Sequence[pb.Model]) -> pb.Model:
        """Return the selected model, or the default model. Raises ServiceError if there are no models."""
        selected = self._selected.get(owner)
        return next((model for model in models if model.name == selected), None) or self._default(models)

    def find(self, name: str, models: Sequence[pb.Model]) -> pb.Model | None:
        """Return the model that a client means by a name; None if there is none."""
        name = _without_suffixes(name)
        wanted = self._names.resolve(name)
        by_name = {model.name.lower(): model for model in models}
        found = by_name.get(wanted.lower()) if wanted else self._default(models)
        return self._default(models) if found is None and wanted.startswith(OPENAI_PREFIXES) else found

    def _default(self, models: Sequence[pb.Model]) -> pb.Model:
        if not models:
            raise ServiceError("The image service has no model.", status=503, reason=Reason.NO_MODEL)
        return next((model for model in models if model.name == self._names.default), models[0])


def _without_suffixes(name: str) -> str:
    """Return a name without file extension and hash."""
    head, bracket, rest = name.strip().rpartition("[")
    name = head.rstrip() if bracket and _HASH.fullmatch(rest) else name.strip()
    stem, dot, extension = name.rpartition(".")
    return stem if dot and extension.lower() in EXTENSIONS else name


def list_models(models: Sequence[pb.Model]) -> list[dict[str, Any]]:
    """Return models as `GET /sd-models` lists them: the same name in every field that clients may send back."""
    named = ({"title": model.name, "model_name": model.name, "filename": model.name} for model in models)
    return [one | {"hash": None, "sha256": None, "config": None} for one in named]


def list_options(model: pb.Model) -> dict[str, Any]:
    """Return the settings as `GET /options` lists them; only the model can be changed."""
    return {
        "sd_model_checkpoint": model.name,
        "sd_checkpoint_hash": "",
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "samples_format": "png",
        "samples_save": False,
        "grid_save": False,
        "return_grid": False,
        "enable_pnginfo": True,
        "jpeg_quality": 95,
        "inpainting_mask_weight": 1.0,
        "initial_noise_multiplier": 1.0,
        "img2img_fix_steps": False,
        "eta_ddim": 0.0,
        "eta_ancestral": 1.0,
        "eta_noise_seed_delta": 0,
        "live_previews_enable": True,
        "live_previews_image_format": "png",
    }


@dataclass(frozen=True, slots=True)
class WebUi:
    """The gateway, and the state that requests to `/sdapi/v1` share."""

    gateway: Gateway
    checkpoints: Checkpoints
    jobs: Jobs = field(default_factory=Jobs)

    def owner(self, request: AnyRequest) -> str:
        """Return the name of a request's key; empty if no keys are required. Raises NoKey."""
        authenticate(self.gateway, request)
        return str(request.state.record.key)

    async def models(self, request: AnyRequest) -> list[pb.Model]:
        """Return the models that the caller may use. Raises NoKey, ServiceError."""
        return await authenticate(self.gateway, request).client.models()

    async def model(self, request: AnyRequest) -> pb.Model:
        """Return the selected model. Raises NoKey, ServiceError."""
        models = await self.models(request)
        return self.checkpoints.current(request.state.record.key, models)

    async def upload(self, request: AnyRequest, value: str, param: str) -> bytes:
        """Return the image file that a client sent as a URL or base64. Raises InvalidImage."""
        return await self.gateway.images.read(value, param, base_url(self.gateway, request))

    async def read_all(self, request: AnyRequest, sources: Mapping[str, tuple[str, str]]) -> dict[str, bytes]:
        """Return the files of several images, as `ImageReader.read_all`. Raises InvalidImage."""
        return await self.gateway.images.read_all(sources, base_url(self.gateway, request))
