"""A template with published weights as the graph of one component.

How the graph gets its weights depends on the provider and on what is stored:

| provider | stored | weights |
|---|---|---|
| cpu | float32 | pointed at in the published files |
| cpu | float16, bfloat16, float8 | written as float32 |
| cuda | float16, float32 | pointed at |
| other GPUs | float16, float32 | pointed at, but for matrices, which are written transposed |
| any GPU | bfloat16, float8 | written as float16 |
| openvino | any | written as float32, with the graph, and kept |

With int8 and int4 the matrices of linear layers are written in blocks and kept. What is written is deleted as soon as a
session has mapped it; with `mapped` it is kept.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import Cancelled
from ..files import label
from ..graph_source import GraphContent
from ..loading_options import Precision
from ..weights.number_formats import itemsize
from ..weights.quantizing import EXACT, FAST, Quantizer, quantized_bytes
from .archive import Variant
from .filled_graph import FillSettings, GraphFilling, WeightWriter, common_folder
from .layout import Layout, layout_for
from .weight_cache import WeightCache

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from pathlib import Path

    from ..graph_source import GraphSource
    from ..loading_options import LoadingOptions
    from ..weights.linking import Link
    from ..weights.tensor_files import TensorFiles

log = logging.getLogger(__name__)

LOGGED_BYTES = 10**8  # writing fewer takes less than a second
FORMAT = 2  # of kept entries; with another number all of them are made anew
GRAPH, WEIGHTS = "model.onnx", "weights"  # the files of an entry
FLOAT32_PROVIDERS = ("cpu", "openvino")
BITS = {Precision.INT8: 8, Precision.INT4: 4}


class Template(Protocol):
    """A graph without weights, in its variants."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def config(self) -> Mapping[str, Any]: ...  # noqa: D102
    def read(self, variant: Variant) -> bytes:
        """Return a serialized ONNX model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilledTemplate:
    """The graph of a component: a template whose weights are linked to published files.

    `digest` is that of the template. `may_be_half` allows float16 on a GPU. `linear` are the weights that int8 and int4
    try to quantize, and `tables` the embedding tables that are then float16.
    """

    component: str
    template: Template
    digest: str
    links: tuple[Link, ...]
    tensors: TensorFiles
    options: LoadingOptions
    adapters: bool
    may_be_half: bool
    linear: frozenset[str]
    tables: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """The first file of weights, with its folder."""
        return label(self.files[0])

    @property
    def files(self) -> tuple[Path, ...]:
        """The published files."""
        return self.tensors.paths

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights in memory with the provider of `options`."""
        return self.bytes_on(self.options.provider)

    def bytes_on(self, provider: str) -> int:
        """Return the bytes of the weights in memory with a provider."""
        number, bits = 2 if self._is_half(provider) else 4, BITS.get(self.options.precision)
        total = number * sum(each.size for each in self.links)
        if not bits:
            return total
        matrices = [each for each in self.links if each.name in self.linear]
        blocks = sum(quantized_bytes(each.shape, bits, Quantizer(bits).block, number) for each in matrices)
        halved = (number - 2) * sum(each.size for each in self.links if each.name in self.tables)
        return total - number * sum(each.size for each in matrices) + blocks - halved

    def card(self, provider: str) -> dict[str, Any] | None:
        """Return the description of converted weights that were kept, None before the first session.

        `bytes` is their size on disk; `quantization` is a `weights.quantizing.Card` as JSON.
        """
        return self._cache().card(self._key(provider, self._read(provider)))

    @contextmanager
    def open(self, provider: str) -> Iterator[GraphContent]:
        """Yield the graph for a session of `provider`.

        Raises:
            ModelFileError: a published file has changed, or a number does not fit into float16.
            OSError: a file cannot be read, or the disk is full.
            Cancelled: `options.stop` is set.
        """
        self._check()
        self.tensors.check_unchanged()
        template, cache, settings = self._read(provider), self._cache(), self._settings(provider)
        key = self._key(provider, template)
        base = _base(settings, cache.root / key)
        if cache.card(key) is not None:
            yield _content(cache.use(key), base)
            return
        filling = GraphFilling(template, self.links, self.tensors, settings)
        size = filling.bytes_to_write
        if size >= LOGGED_BYTES:
            work = "quantizing" if settings.quantizer else "converting"
            log.info("%s: %s weights, %.1f GB", self.component, work, size / 1e9)
        if not size:
            yield GraphContent(filling.fill(WeightWriter(), base, self._check), base)
        elif settings.layout is Layout.KEPT or self.options.mapped or settings.quantizer:
            cache.make(key, size, self.label, lambda folder: self._write_entry(filling, folder, cache.root / key, base))
            yield _content(cache.use(key), base)
        else:
            with cache.temporary(size, self.label) as folder:
                with closing(WeightWriter(folder / WEIGHTS, split=True)) as writer:
                    graph = filling.fill(writer, base, self._check)
                yield GraphContent(graph, base)

    def _check(self) -> None:
        """Raise Cancelled if loading must stop."""
        if self.options.stop.is_set():
            raise Cancelled(f"{self.label} is not loaded: tintype is ending")

    def _write_entry(self, filling: GraphFilling, folder: Path, final: Path, base: Path) -> dict[str, Any]:
        """Write graph and weights into `folder`, which will be renamed to `final`; return the entry's card."""
        with closing(WeightWriter(folder / WEIGHTS, final / WEIGHTS)) as writer:
            graph = filling.fill(writer, base, self._check)
            writer.sync()
            size = writer.size
        (folder / GRAPH).write_bytes(graph)
        return {
            "component": self.component,
            "template": self.template.name,
            "precision": self.options.precision.value,
            "bytes": size,
            "sources": {str(path): list(identity) for path, identity in self.tensors.identities.items()},
            "quantization": filling.quantization,
        }

    def __eq__(self, other: object) -> bool:
        """Return whether two sources give equal graphs."""
        return isinstance(other, FilledTemplate) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.component, self.digest, *self.tensors.identities))

    def _identity(self) -> tuple[object, ...]:
        """Return all that the graph depends on, except the provider."""
        return (self.component, *self.choices, *self._sources())

    @property
    def choices(self) -> tuple[Hashable, ...]:
        """The template, and how it is filled."""
        options = self.options
        own = (self.digest, self.adapters, self.may_be_half)
        return (*own, options.precision, options.exact, options.mapped, options.cache)

    def _sources(self) -> tuple[object, ...]:
        """Return where the numbers are."""
        return (self.links, *self.tensors.identities.items())

    def _key(self, provider: str, template: bytes) -> str:
        """Return the name of the entry for converted weights."""
        facts = (FORMAT, hashlib.sha256(template).hexdigest(), self._settings(provider), *self._sources())
        return f"{self.component}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}"

    def _read(self, provider: str) -> bytes:
        return self.template.read(Variant(half=self._is_half(provider), adapters=self.adapters))

    def _cache(self) -> WeightCache:
        return WeightCache(self.options.cache.expanduser().resolve())

    def _settings(self, provider: str) -> FillSettings:
        half, bits, layout = self._is_half(provider), BITS.get(self.options.precision), layout_for(provider)
        files = [*self.tensors.identities, self._cache().root / "entry" / WEIGHTS]
        return FillSettings(
            layout=layout,
            base=None if layout is Layout.KEPT else common_folder(files),
            rounded=self.options.precision is Precision.FP16 and not half,
            quantizer=Quantizer(bits, number_bytes=2 if half else 4) if bits else None,
            accuracy=EXACT if self.options.exact else FAST,
        )

    def _is_half(self, provider: str) -> bool:
        """Return whether the graph computes in float16."""
        if provider in FLOAT32_PROVIDERS or not self.may_be_half or self.options.precision is Precision.FP32:
            return False
        return self.options.precision is Precision.FP16 or self._is_stored_half()

    def _is_stored_half(self) -> bool:
        """Return whether most numbers are stored with at most 2 bytes."""
        small = sum(each.size for each in self.links if itemsize(self.tensors.tensors[each.pieces[0].name].dtype) <= 2)
        return 2 * small > sum(each.size for each in self.links)


def with_adapters(source: GraphSource, *, enabled: bool) -> GraphSource:
    """Return the source of a graph that takes adapters or not, where that is a choice."""
    if isinstance(source, FilledTemplate) and source.adapters is not enabled:
        return replace(source, adapters=enabled)
    return source


def overwritten_files(source: GraphSource) -> list[Path]:
    """Return the published files of a source that were overwritten since it was made; takes microseconds.

    A session that was opened before may read wrong numbers from them.
    """
    return source.tensors.overwritten() if isinstance(source, FilledTemplate) else []


def is_outdated(source: GraphSource) -> bool:
    """Return whether a published file of a source is not the one any more whose header was read."""
    return isinstance(source, FilledTemplate) and source.tensors.changed() is not None


def _base(settings: FillSettings, entry: Path) -> Path:
    """Return the folder that the names of files in the graph are relative to."""
    if settings.layout is Layout.KEPT:
        return entry
    return settings.base or entry.parent


def _content(entry: Path, base: Path) -> GraphContent:
    """Return the content of a kept entry; a graph whose files are all in its folder is read by its path."""
    return GraphContent(entry / GRAPH) if base == entry else GraphContent((entry / GRAPH).read_bytes(), base)
