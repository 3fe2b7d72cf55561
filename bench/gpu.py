"""Measure a device offline, in under ten minutes: whether it computes correctly, and how fast each way of calling is.

    python bench/gpu.py [MODEL_FOLDER ...] [--provider cuda] [--budget 540] [--json results.jsonl] [--quick]

Without a folder the built-in model is measured. Nothing is downloaded: models of published size are templates, filled
with random weights. The sections, the most telling first:

    machine     machine, GPU, versions; each provider computes a small graph, on which adapters
    agreement   one call of each graph on the device against the CPU, in float32 and float16
    calls       a denoiser call in each way, in turns, by rows
    shapes      the price of a call with another number of rows than the one before
    denoisers   SDXL's and SD 1.5's UNet with random float16 weights, also in torch, over the same arrays in turns
    images      whole images: images per second by batch, share in denoiser steps, text encoders, VAE, memory
    tensorrt    engines of TensorRT

The ways of calling a denoiser:

    run            all arrays go to the device and back at each call
    bound          buffers stay on the device; embeddings are sent once (the service's way)
    graph          like bound, with captured calls
    fixed          like run, with the graph's free axes fixed to the shapes
    tensorrt       like bound, with an engine for the shapes
    host           in `images`: the sampler's update on the host, where latents otherwise stay on the device
    torch          diffusers' UNet, on a GPU in float16 and channels_last; on a CPU in float32
    compile        the same with torch.compile
    compile graph  the same with torch.compile in the mode "reduce-overhead", which captures CUDA graphs

Times are medians, `of the first` is the ratio to the first way, differences are relative to the first way's largest
value. A way that fails gives the reason, and the others go on. Each section is a process, so that a crash or a hang
ends that section only, and results are written at once, as JSON lines. `--quick` has tiny sizes, to test the program.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_sections import records
from gpu_sections.context import Context
from gpu_sections.sections import ARCHITECTURES, QUICK_ARCHITECTURES, SECTIONS, run

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE = 5.0  # seconds after its time in which a section may end by itself


def main(arguments: list[str] | None = None) -> int:
    """Run all sections and print a table. Return 1 if the provider does not compute correctly, or a section failed."""
    given = sys.argv[1:] if arguments is None else arguments
    args = _parser().parse_args(given)
    if args.child:
        run(args.child, _context(args))
        return 0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        args.work, args.json = args.work or Path(folder), args.json or Path(folder, "results.jsonl")
        args.work.mkdir(parents=True, exist_ok=True)
        args.json.write_text("", "utf-8")
        extra = ["--work", str(args.work), "--json", str(args.json)]
        failed = _run_all(args, [*given, *extra], began)
        found = records.read(args.json)
    print(f"\n{records.table(found)}\n\n{time.perf_counter() - began:.0f} s in all")
    return int(failed or any(record.get("agrees") is False for record in found))


def _run_all(args: argparse.Namespace, given: list[str], began: float) -> bool:
    """Run each section in a process, as long as time is left; return whether one failed."""
    results, failed, stopped = records.Records(args.json), False, ""
    for name, architecture in _steps(args):
        left = args.budget - (time.perf_counter() - began)
        if not stopped and left < SECTIONS[name].least:
            stopped = f"the budget of {args.budget:g} s is spent"
        if stopped:
            results.add(name, architecture, problem=f"not run: {stopped}")
            continue
        seconds = min(left, SECTIONS[name].most)
        child = ["--child", name, "--of", architecture, "--seconds", f"{seconds:.1f}"]
        problem = run_child([sys.executable, str(Path(__file__).resolve()), *given, *child], seconds)
        if problem:
            results.add(name, architecture, problem=problem)
            failed = True
        if not _provider_works(args):
            stopped, failed = f"provider {args.provider} does not work here", True
    return failed


def _steps(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield each section and, for `denoisers`, each architecture."""
    architectures = args.architecture or (QUICK_ARCHITECTURES if args.quick else ARCHITECTURES)
    for name in args.sections:
        yield from ((name, each) for each in (architectures if name == "denoisers" else ("",)))


def run_child(command: list[str], seconds: float) -> str:
    """Run a section's command for at most `seconds` and GRACE; return the problem, empty if it ended well."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(command, stderr=errors, start_new_session=True)  # noqa: S603
        problem = ""
        try:
            code = process.wait(seconds + GRACE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            problem = f"stopped after {seconds:.0f} s; what is missing was not measured"
            _kill(process)
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            problem = f"its process ended with {how}" if code else ""
        errors.seek(0)
        lines = [line for line in errors.read().splitlines() if line.strip()]
    if lines:
        print("\n".join(lines[-20:]), file=sys.stderr, flush=True)
    return ": ".join([problem, *(lines[-1:] if problem else ())])


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a section and the processes that it started, such as torch's compilers."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # a process that hangs in a driver can't be killed
        process.wait(5)


def _provider_works(args: argparse.Namespace) -> bool:
    """Return whether the section `machine` found that the provider computes correctly; True before it ran."""
    tests = [each for each in records.read(args.json) if each["subject"] == "provider" and each["way"] == args.provider]
    return all(each["works"] for each in tests)


def _context(args: argparse.Namespace) -> Context:
    from tintype.service.models.residency.catalogue import BUILTIN  # noqa: PLC0415 - only sections need tintype

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    quick = args.quick
    return Context(
        section=args.child,
        records=records.Records(args.json),
        provider=args.provider,
        models=tuple(args.models) or (BUILTIN,),
        work=args.work,
        deadline=time.perf_counter() + args.seconds,
        memory=int(args.memory * 2**30),
        quick=quick,
        rounds=1 if quick else args.rounds,
        size=64 if quick else args.size,
        steps=2 if quick else args.steps,
        templates=args.templates,
        architecture=args.of,
        torch=not args.no_torch,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL_FOLDER")
    parser.add_argument("--provider", default="cuda", help="cuda, webgpu, cpu or another one that is installed")
    parser.add_argument("--budget", type=float, default=540, help="seconds for all sections (default: 540)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--json", type=Path, help="file for the results, one JSON object a line")
    parser.add_argument("--memory", type=float, default=0, help="free memory of the device in GiB, if not NVIDIA's")
    parser.add_argument("--work", type=Path, help="folder for random models, which is kept (default: a temporary one)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test the program")
    parser.add_argument("--no-torch", action="store_true", help="do not measure torch")
    parser.add_argument("--size", type=int, default=256, help="side of the images of MODEL_FOLDER in pixels")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--architecture", action="append", default=[], help="template to measure in `denoisers`")
    parser.add_argument("--templates", type=Path, help="folder with further templates")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--of", default="", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
