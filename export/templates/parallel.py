"""Make many templates, in several processes."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..console import format_bytes
from .making import make

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .making import GraphConfig, MadeTemplate

# Templates that take longest; they are made first, so that no process works alone at the end.
LARGEST = ("qwen-image", "flux", "sd3", "sdxl")


class Result(NamedTuple):
    """A made template, the seconds that it took, and the largest memory of its process in bytes."""

    name: str
    made: MadeTemplate
    seconds: float
    memory: int

    def __str__(self) -> str:
        """The name, sizes, time and memory."""
        numbers = f"{self.made.parameters / 1e6:.1f} M weights in {self.made.tensors} tensors"
        sizes = " + ".join(format_bytes(len(content)) for _, content in self.made.variants)
        return f"{self.name}: {numbers}, {sizes}, {self.seconds:.1f} s, {format_bytes(self.memory)} of memory"


def make_all(configs: Mapping[str, GraphConfig], numbers: Sequence[float], workers: int) -> Iterator[Result]:
    """Make templates, the largest first, and yield each when it is done; see `making.make`.

    One worker is this process. More are processes of their own, each of which needs some seconds to start.
    """
    names = sorted(configs, key=lambda name: name.startswith(LARGEST), reverse=True)
    if workers == 1:
        yield from (_make(name, configs[name], numbers) for name in names)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_make, name, configs[name], numbers) for name in names]
        for finished in as_completed(running):
            yield finished.result()


def _make(name: str, config: GraphConfig, numbers: Sequence[float]) -> Result:
    torch.set_num_threads(1)  # each process has one core
    start = perf_counter()
    made = make(config, numbers)
    return Result(name, made, perf_counter() - start, _peak_memory())


def _peak_memory() -> int:
    """Return the largest resident memory of this process, in bytes; 0 where it is not known."""
    try:
        from resource import RUSAGE_SELF, getrusage  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
