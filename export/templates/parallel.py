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
    from collections.abc import Iterator, Mapping

    from .making import GraphConfig, MadeTemplate


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


def make_all(configs: Mapping[str, GraphConfig], workers: int) -> Iterator[Result]:
    """Make templates in parallel, the largest first; yield each when it is done."""
    names = sorted(configs, key=lambda name: name.startswith(("flux", "sd3")), reverse=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_make, name, configs[name]) for name in names]
        for finished in as_completed(running):
            yield finished.result()


def _make(name: str, config: GraphConfig) -> Result:
    torch.set_num_threads(1)  # each process has one core
    start = perf_counter()
    made = make(config)
    return Result(name, made, perf_counter() - start, _peak_memory())


def _peak_memory() -> int:
    """Return the largest resident memory of this process, in bytes; 0 where it is not known."""
    try:
        from resource import RUSAGE_SELF, getrusage  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
