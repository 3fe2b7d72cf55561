"""One graph, ready to run: onnxruntime behind arrays of float32.

Graphs are exported in many types; every input is cast to what the graph wants, every result comes back as float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import GenerationFailed, OutOfMemory
from .cores import usable_cores
from .files import Fault, label
from .providers import PROVIDERS, chain, choose, onnxruntime

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from .model import Array

DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}

# What onnxruntime, CUDA and C++ say when memory is short, in lower case.
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "bad_alloc", "bad allocation", "alloc_failed")


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where sessions run: the short name of the provider, and the threads of one call on a CPU."""

    provider: str
    threads: int

    @classmethod
    def choose(cls, providers: tuple[str, ...] = (), threads: int = 0) -> Runtime:
        """Take the first provider that works here, and a thread for each core where `threads` is 0.

        Raises:
            ProviderUnavailable: none of them works.
        """
        return cls(choose(providers), threads or usable_cores())

    def options(self) -> Any:
        """Return onnxruntime's options: its errors reach us as exceptions, so its log says only what is fatal."""
        options = onnxruntime().SessionOptions()
        options.log_severity_level = 4
        # A count of our own: with 0 onnxruntime pins its threads to cores, and waits for those that others use.
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Plans of memory are kept for each shape that was seen, and sizes differ here: 7 % of the peak, for no time.
        options.enable_mem_pattern = False
        # Threads that spin while they wait take the cores from gRPC and encoding; without, a UNet on two busy cores
        # took 0.85 to 0.98 of the time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


class Session:
    """A loaded graph. `inputs` maps names to (dtype, rank); `outputs` are names; `provider` is what runs it.

    `optional` maps the names of inputs that have a default, and need not be fed, to shapes.

    Raises:
        Fault: the file is no graph, is damaged, or needs what this onnxruntime can't do.
        OutOfMemory: it does not fit.
    """

    def __init__(self, path: Path, runtime: Runtime) -> None:
        providers = chain(runtime.provider)
        try:
            self._session = onnxruntime().InferenceSession(path, runtime.options(), providers, enable_fallback=0)
        except Exception as error:
            if _is_out_of_memory(error):
                raise OutOfMemory(f"{label(path)} does not fit into memory: {error}") from error
            raise Fault(f"{label(path)} can't be loaded: {error}") from error
        self.path = path
        self.inputs = {i.name: (_dtype(path, i.name, i.type), len(i.shape)) for i in self._session.get_inputs()}
        self.types = {name: dtype for name, (dtype, _) in self.inputs.items()}
        # Inputs with a default, which may be fed and need not.
        optional = self._session.get_overridable_initializers()
        self.types |= {i.name: _dtype(path, i.name, i.type) for i in optional}
        self.optional = {i.name: tuple(i.shape) for i in optional}
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.provider = next(short for short, long in PROVIDERS.items() if long == self._session.get_providers()[0])

    def require(self, *, inputs: tuple[str, ...], output: str, optional: Collection[str] = ()) -> None:
        """Check that the graph has these inputs and none beside but optional ones, and this output. Raises Fault."""
        if not set(inputs) <= set(self.inputs) <= {*inputs, *optional}:
            there, fed = ", ".join(self.inputs), ", ".join(inputs)
            more = f", and perhaps {', '.join(optional)}" if optional else ""
            raise Fault(f"{label(self.path)} has the inputs {there}; this family's are {fed}{more}")
        if output not in self.outputs:
            raise Fault(f"{label(self.path)} has no output {output!r}; it has {', '.join(self.outputs)}")

    def run(self, output: str, **feeds: npt.NDArray[np.generic]) -> Array:
        """Compute one output, float32; raises as `compute`."""
        return self.compute((output,), feeds)[0]

    def compute(self, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[np.generic]]) -> list[Array]:
        """Compute some outputs, float32.

        Raises:
            GenerationFailed: the call failed.
            OutOfMemory: there was not enough memory for it.
        """
        cast = {name: _cast(array, self.types[name]) for name, array in feeds.items()}
        try:
            results = self._session.run(list(outputs), cast)
        except Exception as error:
            if _is_out_of_memory(error):
                raise OutOfMemory(f"{label(self.path)} needs more memory than there is for this size") from error
            raise GenerationFailed(f"{label(self.path)} failed: {error}") from error
        return [np.asarray(result, np.float32) for result in results]


def _cast(array: npt.NDArray[np.generic], dtype: type[np.generic]) -> npt.NDArray[np.generic]:
    """Cast to a graph's type; numbers with a fraction are rounded for graphs that want whole ones."""
    if issubclass(dtype, np.integer) and array.dtype.kind == "f":
        array = np.rint(array)
    return np.ascontiguousarray(array, dtype) if array.ndim else np.asarray(array, dtype)


def _dtype(path: Path, name: str, kind: str) -> type[np.generic]:
    if kind not in DTYPES:
        raise Fault(f"{label(path)} wants {name!r} as {kind}; known are {', '.join(DTYPES)}")
    return DTYPES[kind]


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)
