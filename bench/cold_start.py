"""Cold start, memory and speed of tintype against optimum's pipeline: same graphs, same job, in turns.

    python bench/cold_start.py FOLDER [FOLDER ...] [--rounds 5] [--images 8] [--steps 20] [--threads 0]

Each round starts a fresh process for either side, which draws one picture, then `--images` more, one at a time. The
parent takes the time from starting the process to the first picture; the child tells its peak of resident memory and
the pictures per second that followed. Files are in the page cache: a round that is not counted goes first.
Medians over the rounds are printed, and the ratios of tintype to optimum, round by round. FOLDER is what
`tintype export` wrote. Where the machine does other work, `--threads 1` keeps either side from waiting for its own
threads. Needs the extra `export`, for optimum; tintype's own process imports none of it.
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

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "A serene mountain lake at sunset"
GUIDANCE_SCALE = 5.0
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Run:
    """One process: seconds to its first picture, peak memory in bytes; then pictures per second, and CPU seconds each.

    On a machine that does other work the last is the one to trust.
    """

    first: float
    memory: float
    speed: float
    cpu: float


def start_tintype(folder: Path, steps: int, threads: int) -> Callable[[int], Any]:
    """Return what draws the picture of a seed with the service's engine; pixels [3, h, w] in 0..1."""
    from tintype.service.engine import Engine  # noqa: PLC0415 - importing is part of the start
    from tintype.service.engine.events import Finished  # noqa: PLC0415
    from tintype.service.job import Job  # noqa: PLC0415
    from tintype.service.models import Repository  # noqa: PLC0415

    repository = Repository([folder], providers=["cpu"], threads=threads)
    engine = Engine(repository)

    def draw(seed: int) -> Any:
        repository.wait()
        engine.admit(Job(prompt=PROMPT, steps=steps, seed=seed, guidance_scale=GUIDANCE_SCALE))
        while engine.busy:
            engine.step()
        return next(event.pixels for _, event in engine.collect() if isinstance(event, Finished))

    return draw


def start_optimum(folder: Path, steps: int, threads: int) -> Callable[[int], Any]:
    """Return what draws the same picture with optimum's pipeline."""
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

    def draw(seed: int) -> Any:
        generator = torch.Generator("cpu").manual_seed(seed)
        options = {"num_inference_steps": steps, "guidance_scale": GUIDANCE_SCALE, "generator": generator}
        return np.moveaxis(pipeline(PROMPT, output_type="np", **options).images[0], -1, 0)

    return draw


SIDES = {"tintype": start_tintype, "optimum": start_optimum}


def child(side: str, picture: Path, arguments: argparse.Namespace) -> None:
    """Draw one picture, say so, draw the others, and tell what it took."""
    images = arguments.images
    draw = SIDES[side](arguments.folders[0], arguments.steps, arguments.threads)
    np.save(picture, draw(0))
    print("first", flush=True)
    start, cpu = time.perf_counter(), time.process_time()
    for seed in range(1, images + 1):
        draw(seed)
    speed, cpu = images / (time.perf_counter() - start), (time.process_time() - cpu) / images
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"memory": peak, "speed": speed, "cpu": cpu}))


def measure(side: str, folder: Path, arguments: argparse.Namespace, picture: Path) -> Run:
    """Run one side in a process of its own."""
    numbers = (f"--{name}={getattr(arguments, name)}" for name in ("images", "steps", "threads"))
    command = [sys.executable, __file__, "--child", side, str(picture), *numbers, str(folder)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        told = process.stdout.readline()
        first = time.perf_counter() - start
        rest, errors = process.communicate()
    if told != "first\n" or process.returncode:
        raise SystemExit(f"{side} failed on {folder}:\n{errors}")
    return Run(first, **json.loads(rest))


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure both sides in turns, and print medians and ratios."""
    runs: dict[str, list[Run]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as work:
        pictures = {side: Path(work, f"{side}.npy") for side in SIDES}
        for number in range(arguments.rounds + 1):
            for side in SIDES:
                run = measure(side, folder, arguments, pictures[side])
                runs[side] += [run] if number else []
        apart = np.abs(np.load(pictures["tintype"]) - np.load(pictures["optimum"])).max() * 255
    weights = weight_bytes(folder)
    print(f"\n{folder.name}: {arguments.steps} steps, weights {weights / MEGABYTE:.1f} MB as float32")
    print(f"first pictures of both are {apart:.4f} of 255 apart\n")
    print("| | tintype | optimum | ratio, and its range |\n|---|---|---|---|")
    for title, value in measures(weights).items():
        report(title, *([value(run) for run in runs[side]] for side in SIDES))


def measures(weights: float) -> dict[str, Callable[[Run], float]]:
    """Return what is compared, by title; `weights` in bytes."""
    return {
        "process start to first picture, s": lambda run: run.first,
        "peak memory, MB": lambda run: run.memory / MEGABYTE,
        "peak memory above the weights, MB": lambda run: (run.memory - weights) / MEGABYTE,
        "pictures per second, warm": lambda run: run.speed,
        "CPU seconds per picture, warm": lambda run: run.cpu,
    }


def report(title: str, ours: list[float], theirs: list[float]) -> None:
    """Print a row of the table."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    print(f"| {title} | {statistics.median(ours):.3g} | {statistics.median(theirs):.3g} | {spread} |")


def weight_bytes(folder: Path) -> float:
    """Return the size of the weights that drawing needs, as float32, which is what they are in memory."""
    import onnx  # noqa: PLC0415 - only the parent needs it

    graphs = (folder / part / "model.onnx" for part in ("text_encoder", "unet", "vae_decoder"))
    models = (onnx.load(graph, load_external_data=False) for graph in graphs)
    return float(sum(np.prod(weight.dims) * 4 for model in models for weight in model.graph.initializer))


def main() -> None:
    """Compare on each folder; `--child` is how it starts itself."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=8, help="pictures after the first")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="of one model call; 0: as each side suggests")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "PICTURE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, picture = arguments.child
        child(side, Path(picture), arguments)
        return
    for folder in arguments.folders:
        compare(folder.resolve(), arguments)


if __name__ == "__main__":
    main()
