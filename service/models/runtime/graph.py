"""What any engine for graphs has to offer here: three facts and one verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Values = npt.NDArray[np.generic]

# What onnxruntime, its arena with a limit, CUDA, cuDNN 9 and C++ say when memory is short, in lower case.
_OUT_OF_MEMORY = (
    "out of memory",
    "failed to allocate",
    "is smaller than requested bytes",
    "alloc_failed",
    "allocation_failed",
    "bad_alloc",
    "bad allocation",
)


class Port(NamedTuple):
    """An input: its name, onnxruntime's word for its type such as `tensor(float16)`, and its axes, some with names."""

    name: str
    kind: str
    shape: tuple[int | str | None, ...]


class Graph(Protocol):
    """A graph that can be run, by one thread at a time; `provider` is the short name of what runs it.

    `optional` inputs have a default: they may be fed and need not.
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
        """Compute `outputs`; `feeds` have the types that the ports name. Raises whatever the engine raises."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a call or a load failed for lack of memory."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)
