"""Compare tintype with other libraries: the same model, size, steps, guidance, threads and seeds.

    python bench/peers.py [builtin] [sd15] [sdxl] [--rounds 3] [--threads 1] [--sides tintype diffusers ...]

Each measurement is a fresh process, and the sides alternate. A process imports the library, loads the model, makes one
image, and of the built-in model further images one at a time, and at last images for 1, 4 and 8 callers at once.
Libraries without a server get one thread for each caller, which take turns by a lock.

The sides: tintype's engine; optimum's ORTDiffusionPipeline; diffusers on torch, eager and by torch.compile; OpenVINO
GenAI's Text2ImagePipeline; stable-diffusion.cpp's Python binding. All compute in float32 from the same noise. The first
round of the built-in model is not counted: it reads files into the page cache, and fills caches of compiled code.

Environments are installed into `--environments` from exact versions in bench/libraries/requirements, and models with
random weights of published sizes are made in `--work`: Stable Diffusion 1.5 takes 18 GB. The output is one JSON file,
of which bench/plots.py makes the tables and the plots of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from libraries.environments import OF_SIDE, Environments
from libraries.models import Models
from libraries.processes import Failed, run_side
from machine import describe_machine

if TYPE_CHECKING:
    from libraries.task import Task

RESULTS = Path(__file__).with_name("results")
# Model -> pixels of a side, settings of its tasks by name, and the rounds that are not counted.
TASKS: dict[str, tuple[int, dict[str, dict[str, Any]], int]] = {
    "builtin": (
        256,
        {
            "20 steps": {"steps": 20, "guidance": 3.0, "images": 3, "callers": (1, 4, 8), "each": 1},
            "4 steps": {"steps": 4, "guidance": 1.0, "images": 5, "callers": (1, 4, 8), "each": 2},
        },
        1,
    ),
    "sd15": (512, {"1 step": {"steps": 1, "guidance": 7.5, "images": 0}}, 0),
    "sdxl": (512, {"1 step": {"steps": 1, "guidance": 1.0, "images": 0}}, 0),
}
# Model -> sides that can't load it, and why.
IMPOSSIBLE = {
    "builtin": {
        "stable-diffusion.cpp": "it has no such VAE",
        "tintype, mapped": "its weights lie in graphs",
        "tintype, kept graphs": "its graphs are too small to be kept",
    }
}


def compare(task: Task, title: str, args: argparse.Namespace, environments: Environments) -> dict[str, Any]:
    """Run all rounds of a task, and return the figures of each side."""
    skipped = 0 if args.warm else TASKS[task.model][2]
    images: dict[str, Any] = {}
    sides: dict[str, Any] = {}
    for number in range(args.rounds + skipped):
        for side in sides_of(task.model, args):
            if isinstance(sides.get(side), str):  # it has failed
                continue
            try:
                found, image = run_side(side, environments.python(OF_SIDE[side]), task, limit=args.limit)
            except Failed as error:
                print(f"{side} failed: {error}", flush=True)
                sides[side] = "failed"
                continue
            images.setdefault(side, image)
            sides.setdefault(side, [])
            if number >= skipped:
                sides[side].append(found)
            print(f"{task.model}, {title}, round {number}, {side}: {outline(found)}", flush=True)
    settings = {"size": task.size, "steps": task.steps, "guidance": task.guidance, "threads": task.threads}
    return {"model": task.model, "title": title, **settings, "sides": sides, "differences": differences(images)}


def outline(found: dict[str, Any]) -> str:
    """Return one line about a measurement."""
    warm = ", ".join(f"{values['wall']:.2f} ({values['cpu']:.2f})" for values in found["warm"])
    callers = ", ".join(f"{number}: {speed:.2f}/s" for number, speed in found["callers"].items())
    memory = f"{found['memory']['resident']:.0f} MB ({found['memory']['anonymous']:.0f} anonymous)"
    return (
        f"import {found['import']['wall']:.2f} s, load {found['load']['wall']:.2f} s ({found['load']['cpu']:.2f} CPU), "
        f"first image after {found['start to first image']:.2f} s, warm {warm}, {memory}, callers {callers}"
    )


def differences(images: dict[str, Any]) -> dict[str, list[float]]:
    """Return the largest and the mean difference of each side's first image from tintype's, in levels of 255."""
    ours = images.get("tintype")
    if ours is None:
        return {}
    gaps = {side: np.abs(image.astype(int) - ours.astype(int)) for side, image in images.items() if side != "tintype"}
    return {side: [float(gap.max()), round(float(gap.mean()), 4)] for side, gap in gaps.items()}


def sides_of(model: str, args: argparse.Namespace) -> list[str]:
    """Return the sides that can load a model."""
    return [side for side in args.sides if side not in IMPOSSIBLE.get(model, {})]


def main() -> None:
    """Compare on each model, and write the results after each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[*TASKS, []], default=["builtin"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=tuple(OF_SIDE), default=list(OF_SIDE))
    parser.add_argument("--warm", action="store_true", help="count the first round, too: all has been run before")
    parser.add_argument("--only", help="the title of the one task to run")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a process is ended")
    parser.add_argument("--environments", type=Path, default=Path("build/peers"))
    parser.add_argument("--work", type=Path, default=Path("build/peers/models"))
    parser.add_argument("--results", type=Path, default=RESULTS / "peers.json")
    args = parser.parse_args()
    environments = Environments(args.environments.resolve())
    models = Models(args.work.resolve(), environments)
    used = {OF_SIDE[side] for side in args.sides}
    versions = {name or "tintype": environments.versions(name) for name in used}
    results: list[dict[str, Any]] = []
    for name in args.models:
        size, tasks, _ = TASKS[name]
        for title, settings in tasks.items():
            if args.only in (None, title):
                task = models.task(name, size, sides_of(name, args), threads=args.threads, **settings)
                results.append(compare(task, title, args, environments) | {"machine": describe_machine()})
                write(args.results, versions, results)


def write(path: Path, versions: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write the results; those of other tasks that are in the file stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text("utf-8"))["tasks"] if path.exists() else []
    new = {(result["model"], result["title"]) for result in results}
    tasks = [task for task in kept if (task["model"], task["title"]) not in new] + results
    path.write_text(json.dumps({"versions": versions, "tasks": tasks}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
