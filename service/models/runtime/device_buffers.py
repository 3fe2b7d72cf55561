"""Calls of a session with inputs and outputs that stay on the device.

Each shape has buffers, which are bound once and kept between the steps of an image: a step sends the inputs that
changed and fetches the result. A read-only array, such as a prompt's embeddings, is sent once, however often it is an
input. Results are copies, like those of a plain run.

The size of a result is known after the first call of a shape, whose result onnxruntime allocates. With CUDA graphs the
second call is captured and later calls replay it, on the same addresses. Each shape is captured under its own number,
which is never used again. The first replay of a shape is compared with a call without CUDA graphs: a node on the CPU is
not replayed, and its result would belong to an earlier input.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .array_cache import ArrayCache
from .cuda_graphs import DEVICE_ACCESS
from .graph import shape_of
from .providers import onnxruntime
from .stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .graph import Values

    CallShape = tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]

log = logging.getLogger(__name__)

SHAPES = 4  # shapes whose buffers are kept: guidance in one call and in two, at two sizes
MAX_SENT = 2  # arrays of one input kept on the device: of a prompt and of a negative prompt
GRAPHS = 16  # captured graphs kept; each holds as much memory as its shape's intermediate results
# Captures of a session in all. onnxruntime documents that a provider may keep the memory of a released graph.
CAPTURES = 64
TOLERANCE = 1e-2  # of the largest value, between a replay and a call without; both run the same kernels
GRAPH_ID = "gpu_graph_id"
_ARENA_NAMES = {"cuda": "gpu"}  # onnxruntime's name of a device, by the one it uses for values
SHRINKAGE = "memory.enable_memory_arena_shrinkage"
STRICT = ("webgpu",)  # devices that refuse to bind an input again once a graph is captured
EAGER = -1  # the graph number of calls that are neither captured nor replayed; 0 is onnxruntime's default


class DeviceBuffers:
    """The buffers of a session on `device`, by onnxruntime's name. One thread at a time may use them.

    `graphs` captures calls. `shrinks` returns memory to the device after each call; it has no effect together with
    `graphs`, because replays write to that memory. `stop_flag` stops calls between two nodes, except captures and
    replays.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        *,
        graphs: bool = False,
        shrinks: bool = False,
        stop_flag: StopFlag | None = None,
    ) -> None:
        self._session, self._device, self._graphs = session, device, graphs
        self._stop_flag = stop_flag or StopFlag()
        shrinks = shrinks and not graphs and device not in STRICT  # WebGPU's plugin has no arena
        self._entries = {SHRINKAGE: f"{_ARENA_NAMES.get(device, device)}:0"} if shrinks else {}
        self._sent: dict[str, ArrayCache] = {}
        self._captures = 0
        self._latest: OrderedDict[CallShape, _ShapeBuffers] = OrderedDict()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`. After an error of onnxruntime, which is raised, all buffers are released."""
        return fetch(self.run_on_device(outputs, feeds), self._device)

    def run_on_device(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Compute `outputs` as values on the device, which the next call of the same shape overwrites.

        A feed is an array, or a value on the device, to whose address the buffers of its shape belong.
        """
        shape = tuple(outputs), tuple((name, _shape(feed)) for name, feed in feeds.items())
        try:
            return self._buffers(shape).run(feeds, self._send)
        except Exception as error:
            if self._stop_flag.is_stopped:  # the buffers are as they were, and so are captured graphs
                raise
            for each in tuple(self._latest):  # memory may have been short
                self._drop(each)
            self._sent.clear()
            if not (self._entries and "arena shrink" in str(error)):
                raise
            log.info("the session keeps its memory: %s", error)
            self._entries = {}
        return self._buffers(shape).run(feeds, self._send)

    def _buffers(self, shape: CallShape) -> _ShapeBuffers:
        if shape not in self._latest:
            call = partial(self._call, {GRAPH_ID: str(EAGER)} if self._graphs else self._entries)
            number = self._graph_number if self._graphs and self._captures < CAPTURES else None
            self._latest[shape] = _ShapeBuffers(self._session, self._device, shape[0], call, number)
            replays = self._latest[shape].replays
            kept = [other for other, buffers in self._latest.items() if buffers.replays is replays]
            if len(kept) > (GRAPHS if replays else SHAPES):
                self._drop(kept[0])
        self._latest.move_to_end(shape)
        return self._latest[shape]

    def _call(self, entries: Mapping[str, str], io: Any) -> None:
        self._session.run_with_iobinding(io, self._stop_flag.with_entries(entries))

    def _drop(self, shape: CallShape) -> None:
        """Release a shape's buffers, and its captured graph first, which uses them."""
        number = self._latest[shape].number
        if number is not None:
            with DEVICE_ACCESS.shared(), suppress(Exception):  # after an error of the device releasing fails, too
                self._session.release_captured_graph(number)
        del self._latest[shape]

    def _graph_number(self) -> int:
        self._captures += 1
        return self._captures

    def _send(self, name: str, array: Values) -> Any:
        """Return a read-only array as a value on the device, sent once."""
        if name not in self._sent:
            self._sent[name] = ArrayCache(lambda arrays: _value(arrays[0], self._device), MAX_SENT)
        return self._sent[name]([array])


class _ShapeBuffers:
    """The buffers of one shape. `call` calls the session without a capture.

    With `new_number`, which returns the number of a new graph, calls are captured; `number` is then that of the graph.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        outputs: tuple[str, ...],
        call: Callable[[Any], None],
        new_number: Callable[[], int] | None,
    ) -> None:
        self._session, self._device, self._outputs, self._call = session, device, outputs, call
        self._new_number = new_number
        self.number: int | None = None
        self._io = session.io_binding()
        self._inputs: dict[str, Any] = {}
        self._bound: dict[str, Values] = {}
        self._results: list[Any] = []
        self._graph: Any = None
        self._is_captured = self._is_checked = False

    @property
    def replays(self) -> bool:
        """Whether calls are replayed, so that the addresses of the buffers must not change."""
        return self._new_number is not None

    def run(self, feeds: Mapping[str, Any], send: Callable[[str, Values], Any]) -> list[Any]:
        """Compute the outputs; `send` returns a read-only array as a value on the device."""
        for name, feed in feeds.items():
            if isinstance(feed, np.ndarray):
                self._bind_input(name, feed, partial(send, name))
            else:
                self._bind_value(name, feed)
        if self._results:
            self._compute()
            return self._results
        for name in self._outputs:
            self._io.bind_output(name, self._device)
        self._call(self._io)
        self._bind_outputs(self._io.get_outputs())
        return self._results

    def _bind_value(self, name: str, value: Any) -> None:
        """Bind a value on the device, again at each call as `_bind_input` does."""
        if not (self._inputs.get(name) is value and self._keeps_bindings):
            self._inputs[name] = value
            self._io.bind_ortvalue_input(name, value)

    @property
    def _keeps_bindings(self) -> bool:
        return self._is_captured and (self._is_checked or self._device in STRICT)

    def _bind_input(self, name: str, array: Values, send: Callable[[Values], Any]) -> None:
        """Update an input and bind it again: an input that a node reads on the CPU is copied when it is bound.

        A captured graph that proved right reads its inputs where they are, and so does any on a STRICT device.
        """
        constant = not array.flags.writeable
        if constant and self._bound.get(name) is array:
            return
        self._bound[name] = array
        if constant and not self.replays:
            self._io.bind_ortvalue_input(name, send(array))
            return
        if name in self._inputs:
            self._inputs[name].update_inplace(send(array) if constant else array)  # the former within the device
            if self._keeps_bindings:
                return
        else:
            self._inputs[name] = _value(array, self._device)
        self._io.bind_ortvalue_input(name, self._inputs[name])

    def _bind_outputs(self, results: Sequence[Any]) -> None:
        """Bind output buffers, and copy `results` there: they are in the session's own memory."""
        allocate = onnxruntime().OrtValue.ortvalue_from_shape_and_type
        self._results = [allocate(value.shape(), value.element_type(), self._device) for value in results]
        for name, value, result in zip(self._outputs, self._results, results, strict=True):
            value.update_inplace(result)
            self._io.bind_ortvalue_output(name, value)

    def _compute(self) -> None:
        if self._is_captured and not self._is_checked:
            self._check_first_replay()
        elif self._is_captured:
            self._session.run_with_iobinding(self._io, self._graph)
        elif self.replays:
            self._capture_exclusively()
        else:
            self._call(self._io)

    def _check_first_replay(self) -> None:
        """Compare the first replay with a call without CUDA graphs; if they differ, later calls use none.

        The replay comes first: the other call would update the results of nodes on the CPU, which the replay reads.
        """
        self._session.run_with_iobinding(self._io, self._graph)
        replayed = fetch(self._results, self._device)
        self._call(self._io)
        self._is_checked = True
        if not all(map(is_close, replayed, fetch(self._results, self._device))):
            log.warning("a CUDA graph computes other values than a call without it; later calls use no CUDA graphs")
            self._new_number, self._is_captured = None, False

    def _capture_exclusively(self) -> None:
        with DEVICE_ACCESS.exclusive() as exclusive:
            if exclusive and self._new_number and self._capture(self._new_number()):
                return
        self._call(self._io)

    def _capture(self, number: int) -> bool:
        self.number, self._graph = number, _options({GRAPH_ID: str(number)})
        try:
            self._session.run_with_iobinding(self._io, self._graph)
        except Exception as error:  # noqa: BLE001 - after any error calls use no CUDA graph
            log.warning("the CUDA graph could not be captured; later calls use none: %s", error)
            self._new_number = None
            return False
        self._is_captured = True
        return True


def _value(array: Values, device: str) -> Any:
    """Return a copy of an array on the device; on the CPU `ortvalue_from_numpy` would share its memory."""
    value = onnxruntime().OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, device)
    value.update_inplace(array)
    return value


def _shape(feed: Any) -> tuple[int, ...]:
    """Return an array's shape, or a value's with its identity: a captured graph reads it at its address."""
    return feed.shape if isinstance(feed, np.ndarray) else (*shape_of(feed), id(feed))


def fetch(values: Sequence[Any], device: str = "cpu") -> list[Values]:
    """Return copies of values on a device: `numpy()` copies from one, but on the CPU it returns the buffer itself."""
    return [np.array(value.numpy()) if device == "cpu" else value.numpy() for value in values]


def is_close(one: Values, other: Values, tolerance: float = TOLERANCE) -> bool:
    """Return whether two results differ by at most `tolerance` of the largest value."""
    scale = float(np.abs(other).max(initial=0))
    return bool(np.allclose(one, other, rtol=0, atol=tolerance * scale, equal_nan=True))


def _options(entries: Mapping[str, str]) -> Any:
    options = onnxruntime().RunOptions()
    for key, value in entries.items():
        options.add_run_config_entry(key, value)
    return options
