"""Measure the memory that one image takes on a device, component by component.

    python bench/device_memory.py MODEL [--provider webgpu] [--precision fp16] [--memory 2GiB] [--size 512] [--steps 1]

Prints, as JSON, the device's memory above that of an idle process: after loading, and the largest one during the calls
of each component. On a software device this is the process's own memory without pages of files, which is sampled ten
times a second; on others it is what Vulkan reports as taken. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tintype.cli.settings.values import parse_size
from tintype.service.engine import Engine, Limits
from tintype.service.engine.events import Failed
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.loading_options import LoadingOptions, Precision
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.plugins import vulkan
from tintype.service.models.runtime.providers import run_probe
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from collections.abc import Callable

MEGABYTE = 2**20


class Peaks:
    """The largest memory by stage; `stage` is the current one."""

    def __init__(self, *, software: bool) -> None:
        self._software = software
        self._idle = self.taken()
        self.stage, self.found = "load", {"load": 0}
        threading.Thread(target=self._sample, daemon=True).start()

    def taken(self) -> int:
        """Return the bytes in use."""
        if self._software:
            lines = Path("/proc/self/status").read_text("ascii").splitlines()
            fields = dict(line.split(":", 1) for line in lines)
            return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
        memory = vulkan.memory()
        return memory.total - memory.free if memory else 0

    def note(self) -> int:
        """Add the present memory to the stage's, and return it."""
        above = self.taken() - self._idle
        self.found[self.stage] = max(above, self.found.get(self.stage, 0))
        return above

    def _sample(self) -> None:
        while True:
            self.note()
            time.sleep(0.1)


def noted(run: Callable[..., Any], peaks: Peaks) -> Callable[..., Any]:
    """Return a graph's method that names the stage, and notes the memory after each call."""

    def call(graph: OrtGraph, *given: Any) -> Any:
        peaks.stage = graph._settings.source.component
        try:
            return run(graph, *given)
        finally:
            peaks.note()

    return call


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the memory of each stage in MB, and what is left after the image."""
    peaks = Peaks(software=args.provider == "cpu" or run_probe(args.provider).software)
    for name in ("run", "run_on_device"):
        setattr(OrtGraph, name, noted(getattr(OrtGraph, name), peaks))
    loading = LoadingOptions(cache=args.cache, precision=Precision(args.precision))
    limit = parse_size(args.memory) if args.memory else 0
    with Repository([args.model], providers=[args.provider], loading=loading, memory=limit) as repository:
        spec = repository.wait(timeout=3600).spec
        loaded = peaks.note()
        engine = Engine(repository, limits=Limits(max_batch=1))
        engine.admit(prepare_job(Job(prompt="a lake", steps=args.steps, width=args.size, height=args.size), spec))
        while engine.step():
            pass
        errors = [event.error for _, event in engine.collect() if isinstance(event, Failed)]
        if errors:
            raise SystemExit(str(errors[0]))
        left = peaks.note()
    found = {stage: round(size / MEGABYTE) for stage, size in peaks.found.items()}
    return {"provider": spec.provider, "loaded": round(loaded / MEGABYTE), **found, "left": round(left / MEGABYTE)}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--provider", default="webgpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--memory", default="")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("build/device-memory"))
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
