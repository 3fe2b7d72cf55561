"""Compare cold start, memory and speed of tintype and of optimum's pipeline, with the same graphs and settings.

    python bench/cold_start.py FOLDER [FOLDER ...] [--rounds 5] [--images 8] [--steps 20] [--threads 0]

Each round starts a fresh process for each side, which generates one image, then `--images` more, one at a time. The
parent measures the time from the start of the process to the first image; the child reports its peak resident memory,
and speed and CPU time after the first image. The first round is not counted: it reads the files into the page cache.
The output has medians over the rounds, and the median and range of each round's ratio of tintype to optimum. FOLDER is
a folder written by `tintype export`. On a busy machine use `--threads 1`, so that no side waits for its own threads.
optimum needs the extra `peers`; tintype's process imports neither it nor torch.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ratios import ratio_and_range

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "A serene mountain lake at sunset"
GUIDANCE_SCALE = 5.0
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Run:
    """One process: seconds to the first image, peak memory in bytes, images per second, and CPU seconds per image.

    On a busy machine only the CPU seconds are reliable.
    """

    first: float
    memory: float
    speed: float
    cpu: float


def start_tintype(folder: Path, steps: int, threads: int) -> Callable[[int], Any]:
    """Return a function from a seed to an image of the service's engine: pixels [3, h, w] in 0..1."""
    from tintype.service.engine import Engine  # noqa: PLC0415 - importing is part of the start
    from tintype.service.engine.events import Finished  # noqa: PLC0415
    from tintype.service.job import Job  # noqa: PLC0415
    from tintype.service.models import Repository  # noqa: PLC0415

    repository = Repository([folder], providers=["cpu"], threads=threads)
    engine = Engine(repository)

    def generate(seed: int) -> Any:
        repository.wait()
        engine.admit(Job(prompt=PROMPT, steps=steps, seed=seed, guidance_scale=GUIDANCE_SCALE))
        while engine.busy:
            engine.step()
        return next(event.pixels for _, event in engine.collect() if isinstance(event, Finished))

    return generate


def start_optimum(folder: Path, steps: int, threads: int) -> Callable[[int], Any]:
    """Return a function from a seed to the same image of optimum's pipeline."""
    import torch  # noqa: PLC0415
    from onnxruntime import SessionOptions  # noqa: PLC0415
    from optimum.onnxruntime import ORTStableDiffusionPipeline  # noqa: PLC0415

    session_options = SessionOptions()
    session_options.intra_op_num_threads = threads
    torch.set_num_threads(threads or torch.get_num_threads())
    pipeline = ORTStableDiffusionPipeline.from_pretrained(
        folder, provider="CPUExecutionProvider", session_options=session_options
    )
    pipeline.set_progress_bar_config(disable=True)

    def generate(seed: int) -> Any:
        generator = torch.Generator("cpu").manual_seed(seed)
        options = {"num_inference_steps": steps, "guidance_scale": GUIDANCE_SCALE, "generator": generator}
        return np.moveaxis(pipeline(PROMPT, output_type="np", **options).images[0], -1, 0)

    return generate


# Name -> function that loads the model and returns a function that generates.
SIDES = {"tintype": start_tintype, "optimum": start_optimum}


def child(side: str, image: Path, arguments: argparse.Namespace) -> None:
    """Generate one image, print "first", generate the others, and print the measurements."""
    images = arguments.images
    generate = SIDES[side](arguments.folders[0], arguments.steps, arguments.threads)
    np.save(image, generate(0))
    print("first", flush=True)
    start, cpu = time.perf_counter(), time.process_time()
    for seed in range(1, images + 1):
        generate(seed)
    speed, cpu = images / (time.perf_counter() - start), (time.process_time() - cpu) / images
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"memory": peak, "speed": speed, "cpu": cpu}))


def measure(side: str, folder: Path, arguments: argparse.Namespace, image: Path) -> Run:
    """Run one side in its own process."""
    numbers = (f"--{name}={getattr(arguments, name)}" for name in ("images", "steps", "threads"))
    command = [sys.executable, __file__, "--child", side, str(image), *numbers, str(folder)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        line = process.stdout.readline()
        first = time.perf_counter() - start
        rest, errors = process.communicate()
    if line != "first\n" or process.returncode:
        raise SystemExit(f"{side} failed on {folder}:\n{errors}")
    return Run(first, **json.loads(rest))


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure both sides in turn, and print medians and ratios."""
    runs: dict[str, list[Run]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as work:
        images = {side: Path(work, f"{side}.npy") for side in SIDES}
        for number in range(arguments.rounds + 1):
            for side in SIDES:
                run = measure(side, folder, arguments, images[side])
                runs[side] += [run] if number else []
        difference = np.abs(np.load(images["tintype"]) - np.load(images["optimum"])).max() * 255
    weights = weight_bytes(folder)
    print(f"\n{folder.name}: {arguments.steps} steps, weights {weights / MEGABYTE:.1f} MB as float32")
    print(f"the first images of both differ by {difference:.4f} of 255\n")
    print("| | tintype | optimum | ratio (range) |\n|---|---|---|---|")
    for title, value in measures(weights).items():
        report(title, *([value(run) for run in runs[side]] for side in SIDES))


def measures(weights: float) -> dict[str, Callable[[Run], float]]:
    """Return functions of a run that give the compared quantities, by title; `weights` in bytes."""
    return {
        "process start to first image, s": lambda run: run.first,
        "peak memory, MB": lambda run: run.memory / MEGABYTE,
        "peak memory above the weights, MB": lambda run: (run.memory - weights) / MEGABYTE,
        "images per second, warm": lambda run: run.speed,
        "CPU seconds per image, warm": lambda run: run.cpu,
    }


def report(title: str, ours: list[float], theirs: list[float]) -> None:
    """Print a row of the table."""
    spread = ratio_and_range(ours, theirs, digits=3)
    print(f"| {title} | {statistics.median(ours):.3g} | {statistics.median(theirs):.3g} | {spread} |")


def weight_bytes(folder: Path) -> float:
    """Return the size in bytes of the weights that an image needs, as float32, their type in memory."""
    import onnx  # noqa: PLC0415 - only the parent needs it

    graphs = (folder / part / "model.onnx" for part in ("text_encoder", "unet", "vae_decoder"))
    models = (onnx.load(graph, load_external_data=False) for graph in graphs)
    return float(sum(np.prod(weight.dims) * 4 for model in models for weight in model.graph.initializer))


def main() -> None:
    """Compare on each folder; `--child` starts one side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=8, help="images after the first")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="threads per model call (0: the default of each side)")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "IMAGE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, image = arguments.child
        child(side, Path(image), arguments)
        return
    for folder in arguments.folders:
        compare(folder.resolve(), arguments)


if __name__ == "__main__":
    main()
