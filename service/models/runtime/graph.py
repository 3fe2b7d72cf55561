"""The interface of a loaded graph under any runtime: onnxruntime, OpenVINO or TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Values = npt.NDArray[np.generic]

# Texts of out-of-memory errors, in lower case: from onnxruntime, its arena with a limit, CUDA, cuDNN 9, C++, and from
# WebGPU's plugin 0.4.0: a tensor is larger than what one binding holds (`raw_hash_map`, as the plugin then fails), has
# too many parts, or is larger than a buffer.
_OUT_OF_MEMORY = (
    "out of memory",
    "failed to allocate",
    "is smaller than requested bytes",
    "alloc_failed",
    "allocation_failed",
    "bad_alloc",
    "bad allocation",
    "raw_hash_map<>::at",
    "too many storage buffers",
    "max buffer size limit",
    "out_of_device_memory",
)


class Port(NamedTuple):
    """An input of a graph.

    `type` is onnxruntime's name of its type, such as `tensor(float16)`; a free axis of `shape` is a name or None.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...]


class Graph(Protocol):
    """A loaded graph. One thread at a time may run it.

    `provider` is the short name of the execution provider; `optional` inputs have a default and may be left out.
    """

    @property
    def provider(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[Port, ...]: ...  # noqa: D102
    @property
    def optional(self) -> tuple[Port, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[str, ...]: ...  # noqa: D102

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs` from arrays of the types that the ports name. Raises the runtime's own errors."""


class DeviceGraph(Graph, Protocol):
    """A graph whose results may stay on its `device`, by onnxruntime's name; empty if they can't."""

    @property
    def device(self) -> str: ...  # noqa: D102

    def run_on_device(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Compute `outputs` as values on the device, of arrays and such values. The next call overwrites them."""


def device_of(graph: Graph) -> str:
    """Return the device of a graph; empty if its results are always fetched."""
    return getattr(graph, "device", "")


def shape_of(feed: Any) -> tuple[int, ...]:
    """Return the shape of an array or of a value on a device."""
    return feed.shape if isinstance(feed, np.ndarray) else tuple(feed.shape())


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a call or a load failed for lack of memory."""
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _OUT_OF_MEMORY)
