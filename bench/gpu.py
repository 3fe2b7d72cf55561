"""Measure a model on a device: time per denoiser call for each way of calling, and images per second by batch.

    python bench/gpu.py [MODEL_FOLDER ...] [--provider cuda] [--quick] [--size 256] [--steps 16] [--rounds 5]

Without a folder the built-in model is measured. Ways of calling the denoiser, with the same arrays, alternating:

    run       all arrays go to the device and back at each call
    bound     buffers stay on the device; embeddings are sent once (the service's way on CUDA)
    graph     like bound, captured as a CUDA graph           (only with --provider cuda)
    tensorrt  like bound, with an engine for the shape       (only with --provider cuda, if TensorRT is installed)
    fixed     like run, with the graph's dynamic dimensions fixed to the shape

Figures are medians; `of run` is the ratio to the first way. For a way that does not work the output gives the reason,
and the others continue. Then the engine generates whole images, for each batch.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.engine import Engine, Limits
from tintype.service.engine.events import Finished
from tintype.service.job import Job
from tintype.service.models import Prompt, Repository
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.device_buffers import DeviceBuffers
from tintype.service.models.runtime.ort import EXTERNAL_DATA_FOLDER, OrtGraph, session_options
from tintype.service.models.runtime.provider_options import DEVICES, GraphRole, ProviderOptions, fixed_axes
from tintype.service.models.runtime.providers import onnxruntime, with_fallbacks
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.tensorrt import HOT, TensorRtGraph, builder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from tintype.service.models.graph_source import GraphSource

    Feeds = Mapping[str, Any]
    Way = Callable[[list[str], Feeds], list[Any]]


class DenoiserInputs:
    """Records the inputs of a model's denoiser, in the graph's own types."""

    def __init__(self, provider: str, folder: Path) -> None:
        self._repository = Repository([folder], providers=[provider])
        self.model: Any = self._repository.wait(timeout=3600)
        self.spec = self.model.spec

    def of_call(self, rows: int, size: int) -> tuple[GraphSource, list[str], Feeds]:
        """Return the denoiser's graph, its outputs, and the inputs of a call with `rows` rows."""
        stage = getattr(self.model._stages, "_first", self.model._stages)
        session, recorded = stage.denoiser._session, []

        class Recorder:
            def run(self, outputs: Any, feeds: Any) -> Any:
                recorded.append((list(outputs), dict(feeds)))
                return inner.run(outputs, feeds)

        inner, session._session = session._session, Recorder()
        try:
            latents = np.random.default_rng(0).standard_normal((rows, *self.spec.latent_shape(size, size)), np.float32)
            (conditioning,) = self.model.encode([Prompt("a red circle")])
            self.model.denoise(latents, np.full(rows, 500, np.float32), [conditioning] * rows)
        finally:
            session._session = inner
        return (session.source, *recorded[0])

    def close(self) -> None:
        """Release the model."""
        self._repository.close()


def machine(provider: str) -> None:
    """Print machine, device and versions."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        device = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        device = "no NVIDIA GPU"
    print(f"machine    {platform.node()}, {platform.machine()}, {platform.platform()}")
    print(f"device     {device}")
    versions = {"Python": platform.python_version(), "onnxruntime": onnxruntime().__version__, "numpy": np.__version__}
    print(f"versions   {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(f"provider   {provider}; onnxruntime has {', '.join(onnxruntime().get_available_providers())}")


def ways(provider: str, source: GraphSource, feeds: Feeds, cache: Path) -> dict[str, Callable[[], Way]]:
    """Return a function that prepares each way of calling that the provider has, by name."""
    runtime = Runtime.choose((provider,))
    device = DEVICES.get(provider, "cpu")
    made: dict[str, Callable[[], Way]] = {
        "run": lambda: _plain(OrtGraph(source, runtime.provider, runtime.threads)),
        "bound": lambda: DeviceBuffers(OrtGraph(source, runtime.provider, runtime.threads)._session, device).run,
        "fixed": lambda: _fixed(source, runtime, feeds),
    }
    if provider == "cuda":
        made["graph"] = lambda: _captured(source)
        made["tensorrt"] = lambda: _engine(source, feeds, cache)
    return made


def _plain(graph: OrtGraph) -> Way:
    return lambda outputs, feeds: list(graph._session.run(outputs, dict(feeds)))


def _fixed(source: GraphSource, runtime: Runtime, feeds: Feeds) -> Way:
    axes = fixed_axes(
        OrtGraph(source, runtime.provider, runtime.threads).inputs,
        {name: array.shape for name, array in feeds.items()},
    )
    settings, providers = session_options(runtime.threads, axes=axes), with_fallbacks(runtime.provider)
    with source.open(runtime.provider) as content:
        if content.folder:
            settings.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(content.folder))
        session = onnxruntime().InferenceSession(content.model, settings, providers, enable_fallback=0)
    return lambda outputs, feeds: list(session.run(outputs, dict(feeds)))


def _captured(source: GraphSource) -> Way:
    graph = OrtGraph(source, "cuda", 1, options=ProviderOptions(cuda_graphs=True), role=GraphRole.DENOISER)
    if not graph.captures:
        raise RuntimeError("onnxruntime cannot capture this graph: a node is not on CUDA")
    return graph.run


def _engine(source: GraphSource, feeds: Feeds, cache: Path) -> Way:
    graph = TensorRtGraph(source, 1, options=ProviderOptions(engines=cache))
    began = time.perf_counter()
    for _ in range(HOT):
        graph.run([graph.outputs[0]], feeds)
    after: Future[None] = builder().submit(lambda: None)
    after.result()  # the builder's queue is in order: the engine is built, or has failed
    if not all(engine.result() for engine in graph._engines.values()):
        raise RuntimeError("no engine could be built; see the log")
    print(f"           tensorrt: the engine was ready after {time.perf_counter() - began:.1f} s")
    return graph.run


def calls(args: argparse.Namespace, inputs: DenoiserInputs, rows: int, cache: Path) -> None:
    """Print the time of one denoiser call for each way."""
    source, outputs, feeds = inputs.of_call(rows, args.size)
    ready: dict[str, Way] = {}
    for name, make in ways(args.provider, source, feeds, cache).items():
        try:
            ready[name] = make()
            first = ready[name](outputs, feeds)[0]
            again = [ready[name](outputs, feeds)[0] for _ in range(3)]
        except Exception as error:  # noqa: BLE001 - the others continue
            print(f"rows {rows:2}    {name:10} does not work here: {error}")
            ready.pop(name, None)
            continue
        if not all(np.array_equal(first, other) for other in again):
            print(f"rows {rows:2}    {name:10} WARNING: repeated calls give different results")
    spent: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(args.rounds * len(ready)):
        for name in [*ready][turn % len(ready) :] + [*ready][: turn % len(ready)]:
            began = time.perf_counter()
            ready[name](outputs, feeds)
            spent[name].append(time.perf_counter() - began)
    report(rows, ready, spent, outputs, feeds)


def report(
    rows: int, ready: Mapping[str, Way], spent: Mapping[str, list[float]], outputs: list[str], feeds: Feeds
) -> None:
    """Print medians, ratios and the largest difference of each way's result from that of `run`."""
    results = {name: way(outputs, feeds)[0].astype(np.float32) for name, way in ready.items()}
    base, scale = statistics.median(spent["run"]), float(np.abs(results["run"]).max())
    for name, times in spent.items():
        middle, off = statistics.median(times), float(np.abs(results[name] - results["run"]).max()) / scale
        print(
            f"rows {rows:2}    {name:10} {1000 * middle:9.3f} ms per call {middle / base:7.3f} of run"
            f" {rows / middle:9.2f} rows/s   difference {off:.1e}"
        )


def images(args: argparse.Namespace, folder: Path, batch: int) -> None:
    """Print images per second with `batch` rows per call, and the share of the time in denoiser calls."""
    job = Job(prompt="a red circle", seed=1, count=batch, steps=args.steps, width=args.size, height=args.size)
    options = ProviderOptions(cuda_graphs=args.cuda_graphs)
    with Repository([folder], providers=[args.provider], options=options) as repository:
        in_calls = time_denoiser(repository.wait(timeout=3600))
        engine = Engine(repository, limits=Limits(max_batch=batch))
        generate(engine, job)  # not counted
        walls, shares = [], []
        for _ in range(args.rounds):
            in_calls.clear()
            walls.append(generate(engine, job))
            shares.append(sum(in_calls) / walls[-1])
    wall, share = statistics.median(walls), statistics.median(shares)
    print(
        f"batch {batch:2}   {batch / wall:9.3f} images/s {1000 * wall / args.steps:9.3f} ms per step"
        f"   {share:.1%} in denoiser calls; the rest is prompt, decoder and gaps"
    )


def time_denoiser(model: Any) -> list[float]:
    """Return a list that gets the seconds of each later denoiser call of a model."""
    seconds: list[float] = []
    denoise = model.denoise

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = denoise(*arguments)
        seconds.append(time.perf_counter() - began)
        return result

    model.denoise = timed
    return seconds


def generate(engine: Engine, job: Job) -> float:
    """Generate the images of a job and return the seconds."""
    engine.admit(job)
    began, done = time.perf_counter(), 0
    while engine.step():
        done += sum(isinstance(event, Finished) for _, event in engine.collect())
    done += sum(isinstance(event, Finished) for _, event in engine.collect())
    if done != job.count:
        raise SystemExit(f"{done} of {job.count} images were generated")
    return time.perf_counter() - began


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--provider", default="cuda")
    parser.add_argument("--cuda-graphs", action="store_true", help="use CUDA graphs for the whole images")
    parser.add_argument("--quick", action="store_true", help="small and short, to test the script")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    if args.quick:
        args.size, args.steps, args.rounds, batches = 64, 2, 1, (1, 2)
    machine(args.provider)
    with TemporaryDirectory() as cache:
        for folder in args.models or [BUILTIN]:
            print(f"model      {folder.name}, {args.size}x{args.size}, {args.steps} steps")
            inputs = DenoiserInputs(args.provider, folder)
            for rows in batches:
                calls(args, inputs, rows, Path(cache))
            inputs.close()
            for batch in batches:
                images(args, folder, batch)


if __name__ == "__main__":
    main()
