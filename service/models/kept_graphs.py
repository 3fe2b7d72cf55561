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
    """The optimized graph of `source`, in `cache` under `key`. `files` are those that it is made from."""

    source: GraphSource
    cache: WeightCache
    key: str
    files: tuple[tuple[Path, FileIdentity], ...]

    def path(self) -> Path | None:
        """Return the file of the graph, None if it is not kept yet."""
        return self.cache.use(self.key) / GRAPH if self.cache.card(self.key) is not None else None

    def keep(self, write: Callable[[Path], None]) -> Path:
        """Keep what `write` writes into a folder, and return the file of the graph.

        Raises what `write` raises, and OSError if the folder can't be made or the disk is too full.
        """
        size = int(self.source.weights_bytes * GROWTH)

        def write_entry(folder: Path) -> dict[str, object]:
            write(folder)
            sources = {str(path): list(identity) for path, identity in self.files}
            written = sum(file.stat().st_size for file in folder.iterdir())
            return {"component": self.source.component, "optimized": True, "bytes": written, "sources": sources}

        log.info("%s: keeping the optimized graph, about %.1f GB", self.source.component, size / 1e9)
        self.cache.make(self.key, size, f"the optimized graph of {self.source.label}", write_entry)
        return self.cache.use(self.key) / GRAPH

    def discard(self) -> None:
        """Remove the entry."""
        self.cache.remove(self.key)


def kept_graph(source: GraphSource, folder: Path | None, *maker: Hashable) -> KeptGraph | None:
    """Return the graph of `source` in `folder`; `maker` is all that it depends on besides the source and the processor.

    None without a folder, for small graphs, unknown processors, and missing files, which the source reports.
    """
    if folder is None or source.weights_bytes < SMALLEST or not (own := processor()):
        return None
    try:
        files = tuple((path, FileIdentity.of(path)) for path in (file.resolve() for file in source.files))
    except OSError:
        return None
    facts = (FORMAT, source.choices, files, maker, own)
    key = f"{source.component}-optimized-{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}"
    return KeptGraph(source, WeightCache(folder.expanduser().resolve()), key, files)


@cache
def processor() -> tuple[str, ...]:
    """Return what distinguishes the processor from others, with its instructions; () where Linux does not say it."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return ()
    found = tuple(PROCESSOR.findall(first))
    return (platform.machine(), *found) if found else ()
