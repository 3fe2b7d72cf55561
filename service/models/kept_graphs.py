"""Optimized graphs that are kept on the disk, so that large models start faster from the second start on.

When onnxruntime opens a graph on a CPU, it fuses operators and copies the weights into the layouts of its kernels. For
Stable Diffusion 1.5's UNet, 3.4 GB in float32, that takes 6.6 s of CPU time, and as much memory as the weights. It can
write the result: a session of that only maps the weights, which all processes then share.

The result suits one version of onnxruntime and one kind of processor. Both are part of its key, as are the files that
it was made from, so an entry that does not fit is not found.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .templates.weight_cache import WeightCache
from .weights.tensor_files import FileIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .graph_source import GraphSource

log = logging.getLogger(__name__)

FORMAT = 1  # of entries; with another number all of them are made anew
GRAPH, WEIGHTS = "model.onnx", "weights"  # the files of an entry
SMALLEST = 10**8  # bytes of weights: smaller graphs are opened in a fraction of a second
GROWTH = 1.7  # bytes on the disk for each byte of weights: those of linear layers are stored in both layouts
CPUINFO = Path("/proc/cpuinfo")
PROCESSOR = re.compile(r"^(?:vendor_id|model name|flags|Features|CPU (?:implementer|part))\s*:.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KeptGraph:
    """The optimized graph of `source` in `cache`. `maker` is all else that it depends on, onnxruntime first."""

    source: GraphSource
    cache: WeightCache
    maker: tuple[Hashable, ...]

    def path(self) -> Path | None:
        """Return the file of the graph, None if it is not kept yet."""
        key = self._key()
        return self.cache.use(key) / GRAPH if self.cache.card(key) is not None else None

    def keep(self, write: Callable[[Path], None]) -> Path:
        """Keep what `write` writes into a folder, and return the file of the graph.

        Raises what `write` raises, and OSError if the folder can't be made or the disk is too full.
        """
        size, key = int(self.source.weights_bytes * GROWTH), self._key()

        def write_entry(folder: Path) -> dict[str, object]:
            write(folder)
            sources = {str(path): list(identity) for path, identity in self._sources()}
            written = sum(file.stat().st_size for file in folder.iterdir())
            return {"component": self.source.component, "optimized": True, "bytes": written, "sources": sources}

        log.info("%s: keeping the optimized graph, about %.1f GB", self.source.component, size / 1e9)
        self.cache.make(key, size, f"the optimized graph of {self.source.label}", write_entry)
        return self.cache.use(key) / GRAPH

    def discard(self) -> None:
        """Remove the entry."""
        self.cache.remove(self._key())

    def _key(self) -> str:
        facts = (FORMAT, self.source.choices, self._sources(), self.maker)
        return f"{self.source.component}-optimized-{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}"

    def _sources(self) -> list[tuple[Path, FileIdentity]]:
        files = (path.resolve() for path in self.source.files)
        return [(path, FileIdentity.of(path)) for path in files]


def kept_graph(source: GraphSource, folder: Path | None, *maker: Hashable) -> KeptGraph | None:
    """Return the graph of `source` in `folder`; None without one, for small graphs, and for unknown processors."""
    if folder is None or source.weights_bytes < SMALLEST or not (own := processor()):
        return None
    return KeptGraph(source, WeightCache(folder.expanduser().resolve()), (*maker, own))


@cache
def processor() -> tuple[str, ...]:
    """Return what distinguishes the processor from others, with its instructions; () where Linux does not say it."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return ()
    found = tuple(PROCESSOR.findall(first))
    return (platform.machine(), *found) if found else ()
