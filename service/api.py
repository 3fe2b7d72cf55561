"""The service without its transport: messages of `tintype.v1` in, messages out; errors are raised.

Any caller of async methods can serve it; `rpc.servicer` serves it over gRPC.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from contextvars import copy_context
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.threads import CallTimeout, Threads

from .engine import events
from .errors import InvalidField
from .images.encode import Output, encode
from .images.mark import Mark
from .images.metadata import Parameters
from .images.upload import Upload
from .job import Previews
from .models import ModelState
from .ordered_pipeline import run_ahead
from .prepare import prepare_job
from .rpc import to_proto
from .rpc.collect import collect
from .rpc.from_proto import job_from_pb, upscale_job_from_pb
from .rpc.model_health import wait_until_loaded
from .stages import as_stage, record_event
from .upscaling import Upscaling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from PIL import Image

    from .engine.plan import Plan
    from .images.encode import EncodedImage
    from .job import Job
    from .models import Repository
    from .models.safety_checker import SafetyCheckers


T = TypeVar("T")

SCAN_TIMEOUT = 3.0  # seconds that a call waits for the disk with the folder of models


class Device(Protocol):
    """The runner of jobs: the engine on its thread."""

    def events(self, job: Job) -> AsyncGenerator[events.Event]:
        """Run `job` and yield its events; closing the generator cancels it."""

    def count_tasks(self) -> tuple[int, int]:
        """Return how many tasks wait for their first unit, and how many have started."""

    def hangs(self, after: float) -> bool:
        """Whether its running unit of work takes longer than `after` seconds, and much longer than earlier ones."""

    async def drain(self, grace: float) -> None:
        """Refuse new jobs; fail those that have not ended after `grace` seconds."""


class ImageApi:
    """The seven calls of ImageService on one device. `close` it after the last call.

    With `marks` each image has a mark that says that it was generated. `safety` checks finished images.
    """

    def __init__(
        self,
        repository: Repository,
        device: Device,
        *,
        marks: bool = False,
        safety: SafetyCheckers | None = None,
    ) -> None:
        self._repository = repository
        self._device = device
        self._marks, self._safety = marks, safety
        self._upscaling = Upscaling()
        self._scans = Threads("tintype-models", 1, SCAN_TIMEOUT)
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="tintype-encode")

    @property
    def default(self) -> str:
        """Name of the model for requests that name none."""
        return self._repository.default

    async def drain(self, grace: float) -> None:
        """Refuse new requests, and wait for the running ones, which fail after `grace` seconds."""
        await self._device.drain(grace)

    def close(self) -> None:
        """Stop the threads that encode and enlarge images."""
        self._upscaling.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def stream(
        self, request: pb.StreamImagesRequest, *, caller: str = "", deadline: float | None = None
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Generate images and yield each event; closing the generator cancels the rest.

        `caller` applies if the request names none; `deadline` is a time of `time.monotonic`, in seconds.
        Raises TintypeError; InvalidRequest lists all wrong fields.
        """
        arrived = time.monotonic()
        progress = not request.omit_progress
        await self._look_for(request.generation.model)
        job = job_from_pb(request.generation, request.previews, progress=progress, caller=caller, deadline=deadline)
        if job.needs_preparation:
            prepare = partial(prepare_job, job, self._repository.spec(job.model))
            job = await self._in_pool(partial(as_stage, "prepare", prepare))
        if self._safety:
            job = replace(job, previews=Previews())  # they would show images that may be refused
        if job.loras:
            await self._in_pool(partial(self._read_adapters, job))
        async with aclosing(self._device.events(job)) as job_events:
            encoded = run_ahead(job_events, partial(self._encode, job))
            async with aclosing(encoded):
                async for event, image in encoded:
                    record_event(event)
                    yield to_proto.response(event, image, time.monotonic() - arrived)

    async def generate(
        self, request: pb.GenerateImagesRequest, *, caller: str = "", deadline: float | None = None
    ) -> pb.GenerateImagesResponse:
        """Generate images and return one response. Arguments and errors as in `stream`."""
        stream_request = pb.StreamImagesRequest(generation=request, omit_progress=True)
        return await collect(self.stream(stream_request, caller=caller, deadline=deadline))

    async def list_models(self, _request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """List the models that this server serves, the default first."""
        await self._scan()
        models = [to_proto.model(self._repository, spec) for spec in self._repository.specs()]
        return pb.ListModelsResponse(models=models)

    async def get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """Describe a model. Raises ModelNotFound, ModelBroken."""
        await self._look_for(request.model)
        return pb.GetModelResponse(model=self._model(request.model))

    async def load_model(self, request: pb.LoadModelRequest) -> pb.LoadModelResponse:
        """Load a model. Raises ModelNotFound, ModelBroken, OutOfMemory."""
        await self._look_for(request.model)
        await asyncio.to_thread(self._repository.load, request.model)  # lists adapters, on a disk that may be slow
        if not request.no_wait:
            status = await wait_until_loaded(self._repository, request.model)
            if status.state is ModelState.FAILED:
                self._repository.get(request.model)  # raises the error
        return pb.LoadModelResponse(model=self._model(request.model))

    async def unload_model(self, request: pb.UnloadModelRequest) -> pb.UnloadModelResponse:
        """Evict a model from memory. Raises ModelNotFound, InvalidField."""
        if not request.model:
            raise InvalidField("model", "must not be empty")
        # Freeing gigabytes takes a while.
        await asyncio.to_thread(self._repository.unload, request.model)
        return pb.UnloadModelResponse(model=self._model(request.model))

    async def upscale(self, request: pb.UpscaleImageRequest) -> pb.UpscaleImageResponse:
        """Enlarge an image. Raises InvalidRequest, QueueFull."""
        mark = Mark(composite=True) if self._marks else None
        image = await self._upscaling.run(await asyncio.to_thread(upscale_job_from_pb, request), mark)
        size = {"width": image.width, "height": image.height}
        return pb.UpscaleImageResponse(data=image.data, mime_type=image.mime_type, **size)

    async def _look_for(self, model: str) -> None:
        """Look for an unknown model in the folder of models."""
        if model and model not in self._repository.names():
            await self._scan()

    async def _scan(self) -> None:
        """Look for changes in the folder of models, unless that was done some seconds ago or takes too long."""
        if self._repository.updates.is_scan_due:
            with suppress(CallTimeout):
                await self._scans.call(self._repository.updates.rescan)

    def _read_adapters(self, job: Job) -> None:
        """Read the job's adapters if its model is in memory: all models would wait while the device thread reads them.

        Adapters that the model does not have are left to the plan, which refuses them. Raises InvalidField.
        """
        if model := self._repository.resident(job.model):
            known = self._repository.spec(job.model).loras
            model.adapter_reader([lora.name for lora in job.loras if lora.name in known])

    def _encode(self, job: Job, event: events.Event) -> asyncio.Future[EncodedImage] | None:
        """Start to encode the image of `event`; return None if it has no image."""
        match event:
            case events.Preview():
                mark = Mark(composite=_is_edit(job)) if self._marks else None
                work = partial(encode, event.pixels, Output(mime_type=job.previews.mime_type), mark=mark)
            case events.Finished():
                options = _encode_options(job, event)
                options |= {"mark": _mark(job, event.plan) if self._marks else None}
                options |= {"check": partial(self._check, event.plan.model) if self._safety else None}
                work = partial(encode, event.pixels, job.output, **options)
            case _:
                return None
        return self._in_pool(partial(as_stage, "encode-image", work))

    def _check(self, model: str, image: Image.Image) -> None:
        """Check a finished image; on a thread of the pool. Raises ImageRefused, or the error of the check."""
        if self._safety:
            self._safety.check(self._repository.spec(model), image)

    def _in_pool(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run work in the pool, with the context of the call, for its lines in the log and its span."""
        return asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, work)

    def _model(self, name: str) -> pb.Model:
        return to_proto.model(self._repository, self._repository.spec(name))


def _encode_options(job: Job, event: events.Finished) -> dict[str, Any]:
    """Return the options of `encode` for an image: size, kept parts of the upload, and metadata.

    They come from the plan, since the model's folder may have changed after it was made.
    """
    parameters = _parameters(event) if job.output.metadata else None
    return {"size": event.plan.output_size, "kept": _kept_upload(job, event.plan), "parameters": parameters}


def _is_edit(job: Job) -> bool:
    """Return whether a job changes an image of the client, and does not only generate one."""
    return bool(job.image or job.references or job.edited)


def _mark(job: Job, plan: Plan) -> Mark | None:
    """Return the mark of an image; None for an upload that is returned unchanged.

    The model and the prompt are part of it if the file has metadata.
    """
    if not plan.calls:
        return None
    own = {"model": plan.model, "prompt": plan.prompt} if job.output.metadata else {}
    return Mark(composite=_is_edit(job), **own)


def _kept_upload(job: Job, plan: Plan) -> Upload | None:
    """Return the upload of which the kept parts, or all of it, go into the result unchanged."""
    if job.image and not plan.calls:
        return Upload(job.image)
    return Upload(job.image, job.mask) if job.mask else None


def _parameters(event: events.Finished) -> Parameters:
    """Return the parameters that generated the image of `event`."""
    names = {part.name for part in fields(Parameters)} - {"seed"}
    return Parameters(seed=event.seed, **{name: getattr(event.plan, name) for name in names})
