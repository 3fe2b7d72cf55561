"""Section 6: whole images by the engine: images per second by batch, and what text encoders and the VAE take."""

from __future__ import annotations

import resource
import statistics
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from tintype.service.engine import Engine, Limits
from tintype.service.engine.events import Failed, Finished
from tintype.service.job import Job
from tintype.service.models import Repository

from .context import NVIDIA
from .random_models import PIPELINES, write_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from .context import Context

GIB = 2**30
BATCHES = (1, 2, 4, 8)
NEEDED = {"sdxl": 16 * GIB, "sd15": 6 * GIB}  # free memory for the pipelines of PIPELINES
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0")
SIZES = {"sdxl": 1024, "sd15": 512}


def run(context: Context) -> None:
    """Generate with the given models, then with random pipelines that fit into the free memory."""
    for folder in context.models:
        _measure(context, folder, folder.name, context.size)
    if context.quick or context.provider == "cpu":
        return
    for name in PIPELINES:
        if context.free < NEEDED[name]:
            context.add(name, problem=f"not run: it needs {NEEDED[name] // GIB} GiB of free memory")
        elif context.left() > 0:
            try:
                folder = write_pipeline(context, name)
            except Exception as error:  # noqa: BLE001 - the next may work
                context.add(name, problem=" ".join(f"{error}".split())[:500])
                continue
            _measure(context, folder, f"random {name}", SIZES[name])


def _measure(context: Context, folder: Path, name: str, size: int) -> None:
    subject = f"{name}, {size}x{size}, {context.steps} steps"
    try:
        with Memory(context.provider) as memory, Repository([folder], providers=[context.provider]) as repository:
            watch = Stopwatch(repository.wait(timeout=3600))
            for batch in BATCHES[1:2] if context.quick else BATCHES:
                job = Job(prompt="a red circle", seed=1, count=batch, steps=context.steps, width=size, height=size)
                for way, on_device in watch.ways(batch):
                    if context.left() > 0:
                        watch.use_device(enabled=on_device)
                        engine = Engine(repository, limits=Limits(max_batch=batch))
                        context.add(subject, way, **_generate(context, engine, job, watch))
        context.add(subject, "memory", **memory.peaks())
    except Exception as error:  # noqa: BLE001 - the next model may work
        context.add(subject, problem=" ".join(f"{type(error).__name__}: {error}".split())[:500])


def _generate(context: Context, engine: Engine, job: Job, watch: Stopwatch) -> dict[str, Any]:
    """Generate a job's images once, which is not counted, then until a third of the time left is spent."""
    generate(engine, job)
    rounds: list[tuple[float, dict[str, float]]] = []
    until = time.perf_counter() + context.left() / 3
    while not rounds or (len(rounds) < context.rounds and time.perf_counter() < until):
        watch.clear()
        rounds.append((generate(engine, job), watch.totals()))
    wall = statistics.median(seconds for seconds, _ in rounds)
    inside = {name: statistics.median(totals[name] for _, totals in rounds) for name in ("denoise", "encode", "decode")}
    return {
        "per_second": job.count / wall,
        "step_ms": 1000 * wall / context.steps,
        "in_calls": inside["denoise"] / wall,
        "encoder_ms": 1000 * inside["encode"],
        "decoder_ms": 1000 * inside["decode"],
    }


def generate(engine: Engine, job: Job) -> float:
    """Generate the images of a job and return the seconds.

    Raises:
        RuntimeError: an image could not be generated.
    """
    engine.admit(job)
    began, done = time.perf_counter(), 0
    more = True
    while more:
        more = engine.step()
        for event in _events(engine):
            if isinstance(event, Failed):
                raise event.error
            done += isinstance(event, Finished)
    if done != job.count:
        raise RuntimeError(f"{done} of {job.count} images were generated")
    return time.perf_counter() - began


def _events(engine: Engine) -> Iterator[Any]:
    return (event for _, event in engine.collect())


class Stopwatch:
    """The seconds of a model's calls: text encoders, denoiser steps, VAE. Steps on the device include their update."""

    def __init__(self, model: Any) -> None:
        self._seconds: dict[str, float] = {}
        self._model, self._resident = model, getattr(model, "resident", None)
        if self._resident:
            self._resident.advance = self._timed("denoise", self._resident.advance)
            self._resident.decode = self._timed("decode", self._resident.decode)
        for name in ("encode", "denoise", "decode"):
            setattr(model, name, self._timed(name, getattr(model, name)))
        self.clear()

    def _timed(self, name: str, method: Any) -> Any:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = method(*arguments, **named)
            self._seconds[name] += time.perf_counter() - began
            return result

        return timed

    def ways(self, batch: int) -> list[tuple[str, bool]]:
        """Return the ways to generate a batch, and whether latents stay on the device."""
        return [(f"batch {batch}", True), *([(f"batch {batch} host", False)] if self._resident else [])]

    def use_device(self, *, enabled: bool) -> None:
        """Keep latents on the device between steps, if the model can, or on the host."""
        if self._resident:
            self._model.resident = self._resident if enabled else None

    def clear(self) -> None:
        """Begin anew."""
        self._seconds = dict.fromkeys(("encode", "denoise", "decode"), 0.0)

    def totals(self) -> dict[str, float]:
        """Return the seconds since the last `clear`."""
        return dict(self._seconds)


class Memory:
    """The largest memory of the first NVIDIA GPU, sampled five times a second, and of this process."""

    def __init__(self, provider: str) -> None:
        self._provider, self._largest = provider, 0
        self._sampler: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if self._provider in NVIDIA:
            try:
                self._sampler = subprocess.Popen([*NVIDIA_SMI, "-lms", "200"], stdout=subprocess.PIPE, text=True)  # noqa: S603
            except OSError:
                return self
            threading.Thread(target=self._sample, args=(self._sampler,), daemon=True).start()
        return self

    def _sample(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if line.strip().isdigit():
                self._largest = max(self._largest, int(line))

    def __exit__(self, *_: object) -> None:
        if self._sampler:
            self._sampler.terminate()
            self._sampler.wait()

    def peaks(self) -> dict[str, int]:
        """Return the peaks in MiB; of the process, its resident memory."""
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return {"process_mib": process} | ({"device_mib": self._largest} if self._largest else {})
