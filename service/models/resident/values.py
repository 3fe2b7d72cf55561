"""Arrays on a device, and small graphs that compute with them.

All that goes to the device or comes back for resident latents passes through `send`, `update` and `fetch`.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph_source import GraphContent
from ..runtime.graph import is_out_of_memory
from ..runtime.ort import open_session
from ..runtime.provider_options import DEFAULTS, ProviderOptions
from ..runtime.providers import onnxruntime
from ..runtime.session import DTYPES
from .fault import NotResident

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Values = NDArray[np.generic]
    Axes = tuple[int, ...]

FUNCTIONS = 32  # sessions kept; one has no weights and takes a millisecond to open
BUFFERS = 64  # of a few names, each in a shape for each number of rows
BINDINGS = 4  # of a function: there and back, for two batches


@dataclass(frozen=True, slots=True)
class Device:
    """Where values are: a provider by its short name, onnxruntime's name of the device, and the provider's options."""

    provider: str
    name: str
    options: ProviderOptions = DEFAULTS

    def allocate(self, shape: Axes, dtype: Any) -> Any:
        """Return a value without content."""
        return onnxruntime().OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype).type, self.name)

    def send(self, array: Values) -> Any:
        """Return a copy of an array on the device."""
        value = self.allocate(array.shape, array.dtype)
        update(value, array)
        return value


def update(value: Any, array: Values) -> None:
    """Overwrite a value with an array of its shape and type."""
    value.update_inplace(np.ascontiguousarray(array))


def fetch(value: Any) -> Any:
    """Return a copy of a value as an array: on the CPU `numpy()` returns the buffer itself."""
    return np.array(value.numpy())


def dtype_of(value: Any) -> str:
    """Return numpy's name of a value's type."""
    return _NAMES[value.data_type()]


_NAMES = {name: np.dtype(dtype).name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class _WrittenGraph:
    """A `GraphSource` of bytes, without weights."""

    component: str
    content: bytes
    weights_bytes: int = 0
    files: tuple[Path, ...] = ()
    choices: Hashable = None

    @property
    def label(self) -> str:
        """The name of the graph, for messages."""
        return self.component

    def bytes_on(self, provider: str) -> int:  # noqa: ARG002 - the same for all
        """Return 0."""
        return self.weights_bytes

    @contextmanager
    def open(self, provider: str) -> Iterator[GraphContent]:  # noqa: ARG002 - the same for all
        """Yield the bytes."""
        yield GraphContent(self.content)


@contextmanager
def _failures() -> Iterator[None]:
    """Raise errors of a small graph as NotResident, except a lack of memory."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise NotResident(str(error)) from error


class Function:
    """A small graph from values on the device to others there."""

    def __init__(self, session: Any) -> None:
        self._session = session
        # Bindings by their values, which are kept with them, so that no other value gets their ids.
        self._bindings: OrderedDict[tuple[int, ...], tuple[tuple[Any, ...], Any]] = OrderedDict()

    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Compute `outputs` in place; none of them may be an input."""
        with _failures():
            self._session.run_with_iobinding(self._binding(inputs, outputs))

    def _binding(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        values = (*inputs.values(), *outputs.values())
        key = tuple(map(id, values))
        if key not in self._bindings:
            self._bindings[key] = values, self._bind(inputs, outputs)
            if len(self._bindings) > BINDINGS:
                self._bindings.popitem(last=False)
        self._bindings.move_to_end(key)
        return self._bindings[key][1]

    def _bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return binding


class Buffers:
    """Values that are written at each step, by their names and shapes; the latest are kept, so that they stay bound."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._latest: OrderedDict[Hashable, Any] = OrderedDict()

    def __call__(self, name: Hashable, shape: Axes, dtype: str) -> Any:
        """Return the value of a name and shape."""
        return self._find((name, shape, dtype), shape, dtype)

    def _find(self, key: Hashable, shape: Axes, dtype: Any) -> Any:
        if key not in self._latest:
            self._latest[key] = self._device.allocate(shape, dtype)
            if len(self._latest) > BUFFERS:
                self._latest.popitem(last=False)
        self._latest.move_to_end(key)
        return self._latest[key]

    def sent(self, name: Hashable, array: Values) -> Any:
        """Return the value of a name with the content of an array."""
        value = self._find((name, array.shape, array.dtype), array.shape, array.dtype)
        update(value, array)
        return value

    def clear(self) -> None:
        """Release all values."""
        self._latest.clear()


class Functions:
    """The functions of one device by their recipes; the latest are kept."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._latest: OrderedDict[Hashable, Function] = OrderedDict()

    def __call__(self, write: Callable[[Any], bytes], recipe: Hashable) -> Function:
        """Return the function of the graph `write(recipe)`."""
        key = write, recipe
        if key not in self._latest:
            source = _WrittenGraph(write.__name__, write(recipe))
            with _failures():
                self._latest[key] = Function(open_session(source, self.device.provider, self.device.options))
            if len(self._latest) > FUNCTIONS:
                self._latest.popitem(last=False)
        self._latest.move_to_end(key)
        return self._latest[key]

    def clear(self) -> None:
        """Release all functions, and the values bound to them."""
        self._latest.clear()
