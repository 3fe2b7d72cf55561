"""A loaded graph whose results are float32 arrays.

Exported graphs have various types. Every input is cast to the type that the graph requires, every result to float32.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from ...errors import Cancelled, GenerationFailed, OutOfMemory
from ..files import ModelFileError
from .array_cache import ArrayCache, freeze
from .graph import device_of, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ...errors import TintypeError
    from ..graph_source import GraphSource
    from ..model import Array
    from .graph import DeviceGraph, Port
    from .runtime import Runtime

DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class Session:
    """A loaded graph.

    `source` is where it comes from, `label` its file, for messages. `inputs` maps names to (dtype, rank), `optional`
    maps inputs with a default to their shapes, `widths` maps inputs to the length of their last axis where it is fixed;
    `outputs` are names; `provider` is the provider's short name; `device` is onnxruntime's name of the device where
    results may stay, or empty.

    Raises:
        ModelFileError: the file is not a graph, is damaged, or needs an operator that this onnxruntime lacks.
        OutOfMemory: the graph does not fit into memory.
        Cancelled: loading was stopped.
    """

    def __init__(self, source: GraphSource, runtime: Runtime) -> None:
        try:
            self._session = runtime.open(source)
        except (Cancelled, OutOfMemory):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"{source.label} does not fit into memory: {error}") from error
            raise ModelFileError(f"{source.label} can't be loaded: {error}") from error
        self.source, self.label, self._stop_flag = source, source.label, runtime.stop_flag
        self.inputs = {port.name: (_dtype(self.label, port), len(port.shape)) for port in self._session.inputs}
        self.widths = {p.name: p.shape[-1] for p in self._session.inputs if p.shape and isinstance(p.shape[-1], int)}
        self.optional = {port.name: port.shape for port in self._session.optional}
        self.types = {port.name: _dtype(self.label, port) for port in (*self._session.inputs, *self._session.optional)}
        self.outputs = list(self._session.outputs)
        self.provider, self.device = self._session.provider, device_of(self._session)
        self._casts = {name: ArrayCache(partial(_frozen_cast, dtype)) for name, dtype in self.types.items()}

    @property
    def loaded_source(self) -> GraphSource:
        """The source whose files were loaded: another model's, if models share the graph."""
        source: GraphSource = getattr(self._session, "source", self.source)
        return source

    def require(self, *, inputs: tuple[str, ...], output: str, optional: Collection[str] = ()) -> None:
        """Check that the graph has these inputs, no others except `optional` ones, and this output.

        Raises:
            ModelFileError: it has other inputs, or lacks the output.
        """
        if not set(inputs) <= set(self.inputs) <= {*inputs, *optional}:
            own, required = ", ".join(self.inputs), ", ".join(inputs)
            more = f", optionally {', '.join(optional)}" if optional else ""
            raise ModelFileError(f"{self.label} has the inputs {own}; this family requires {required}{more}")
        if output not in self.outputs:
            raise ModelFileError(f"{self.label} has no output {output!r}; it has {', '.join(self.outputs)}")

    def run(self, output: str, **feeds: npt.NDArray[np.generic]) -> Array:
        """Compute one output, float32. Raises as `compute`."""
        return self.compute((output,), feeds)[0]

    def compute(self, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[np.generic]]) -> list[Array]:
        """Compute outputs, float32. Read-only arrays must not change any more: each is cast and sent once.

        Raises:
            GenerationFailed: the call failed.
            OutOfMemory: there was not enough memory for the call.
            Cancelled: the call was stopped.
        """
        own = self._cast_inputs(feeds)
        try:
            results = self._session.run(list(outputs), own)
        except Exception as error:
            raise self._error(error) from error
        return [cast("Array", each) if each.dtype == np.float32 else np.asarray(each, np.float32) for each in results]

    def compute_on_device(
        self, output: str, feeds: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]
    ) -> Any:
        """Compute an output as a value on `device`, of arrays and such values, which have the graph's types.

        The next call with the same shapes overwrites it. Raises as `compute`.
        """
        own = {**self._cast_inputs(feeds), **values}
        try:
            return cast("DeviceGraph", self._session).run_on_device((output,), own)[0]
        except Exception as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> TintypeError:
        """Return the error of `compute` for one of a call. Raises Cancelled if the call was stopped."""
        self._stop_flag.check()
        if is_out_of_memory(error):
            return OutOfMemory(f"{self.label} needs more memory than is available for this size")
        return GenerationFailed(f"{self.label} failed: {error}")

    def _cast_inputs(self, feeds: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, Any]:
        """Return inputs of the graph's types. Raises Cancelled if calls are stopped."""
        self._stop_flag.check()
        return {name: self._cast_input(name, array) for name, array in feeds.items()}

    def _cast_input(self, name: str, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        flags, dtype = array.flags, self.types[name]
        if array.dtype == dtype and flags.c_contiguous:
            return array
        if flags.writeable:
            return _cast(array, dtype)
        cast: npt.NDArray[np.generic] = self._casts[name]([array])
        return cast


def _frozen_cast(dtype: type[np.generic], arrays: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    cast: npt.NDArray[np.generic] = freeze(_cast(arrays[0], dtype))
    return cast


def _cast(array: npt.NDArray[np.generic], dtype: type[np.generic]) -> npt.NDArray[np.generic]:
    """Cast to a graph's type; floats are rounded for integer inputs."""
    if issubclass(dtype, np.integer) and array.dtype.kind == "f":
        array = np.rint(array)
    return np.ascontiguousarray(array, dtype) if array.ndim else np.asarray(array, dtype)


def _dtype(label: str, port: Port) -> type[np.generic]:
    if port.type not in DTYPES:
        raise ModelFileError(f"{label} requires {port.name!r} as {port.type}; supported types are {', '.join(DTYPES)}")
    return DTYPES[port.type]
