"""Calls of a session whose inputs and outputs stay on the device.

For each shape there are buffers, bound once and kept between the steps of a picture: a step sends what has changed and
fetches the answer. An array that can't be written to is sent once, however often it is fed: so the embeddings of a
prompt. Results are copies, as those of a plain run.

How large the answer is shows at the first call of a shape, which onnxruntime answers into memory of its own. With CUDA
graphs the second call is captured and later ones replay it, from and to the same addresses; a shape is captured under
a number of its own, and what was captured stays as long as the session. The first replay of a shape is compared with
a call without: a node on the CPU is not replayed, and would leave its answer to an earlier input.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .array_cache import ArrayCache
from .cuda_graphs import DEVICE_ACCESS
from .providers import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .graph import Values

    Shape = tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]

log = logging.getLogger(__name__)

SHAPES = 4  # whose buffers are kept: guidance as one call and as two, at two sizes
SENT = 2  # arrays of one input that stay on the device: a prompt's and a negative prompt's
GRAPHS = 16  # that a session captures; each holds as much as its shape's intermediate results
TOLERANCE = 1e-2  # between a replay and a call without, of the largest value; they run the same kernels
GRAPH_ID = "gpu_graph_id"
_KINDS = {"cuda": "gpu"}  # onnxruntime's words for a device, of a value and of an arena
SHRINKAGE = "memory.enable_memory_arena_shrinkage"
EAGER = -1  # the number that captures and replays nothing; 0 is onnxruntime's own


class DeviceBuffers:
    """The buffers of a session on `device`, onnxruntime's word for one.

    One thread at a time. With `graphs` calls are captured. One that `shrinks` gives memory back to the device after
    each call; a session that captures must not, because replays write to it.
    """

    def __init__(self, session: Any, device: str, *, graphs: bool = False, shrinks: bool = False) -> None:
        self._session, self._device, self._graphs = session, device, graphs
        self._entries = {SHRINKAGE: f"{_KINDS.get(device, device)}:0"} if shrinks and not graphs else {}
        self._sent: dict[str, ArrayCache] = {}
        self._captured = 0
        self._latest: OrderedDict[Shape, _ShapeBuffers] = OrderedDict()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`. Raises what onnxruntime raises, and lets go of all buffers then."""
        shape = tuple(outputs), tuple((name, array.shape) for name, array in feeds.items())
        try:
            return self._bound(shape)(feeds, self._send)
        except Exception as error:
            self._latest.clear()  # it may have been memory that was short
            self._sent.clear()
            if not (self._entries and "arena shrink" in str(error)):
                raise
            log.info("memory stays with the session: %s", error)
            self._entries = {}
        return self._bound(shape)(feeds, self._send)

    def _bound(self, shape: Shape) -> _ShapeBuffers:
        if shape not in self._latest:
            self._latest[shape] = _ShapeBuffers(self._session, self._device, shape[0], self._number(), self._entries)
            others = [known for known, bound in self._latest.items() if not bound.replays]
            if len(others) > SHAPES:
                self._latest.pop(others[0])
        self._latest.move_to_end(shape)
        return self._latest[shape]

    def _number(self) -> int | None:
        """Return a new shape's number: None without graphs, EAGER when there are too many."""
        if not self._graphs:
            return None
        if self._captured == GRAPHS:
            return EAGER
        self._captured += 1
        return self._captured

    def _send(self, name: str, array: Values) -> Any:
        """Return a read-only array as a value on the device."""
        if name not in self._sent:
            self._sent[name] = ArrayCache(lambda arrays: _value(arrays[0], self._device), SENT)
        return self._sent[name]([array])


class _ShapeBuffers:
    """The buffers of one shape. Graph `number` is its own; None where the session has no graphs."""

    def __init__(
        self, session: Any, device: str, outputs: tuple[str, ...], number: int | None, entries: Mapping[str, str]
    ) -> None:
        self._session, self._device, self._outputs = session, device, outputs
        self._io = session.io_binding()
        self._inputs: dict[str, Any] = {}
        self._fed: dict[str, Values] = {}
        self._results: list[Any] = []
        self._eager = _options(entries if number is None else {GRAPH_ID: str(EAGER)})
        self._graph = None if number in (None, EAGER) else _options({GRAPH_ID: str(number)})
        self._is_captured = self._is_checked = False

    @property
    def replays(self) -> bool:
        """Whether addresses must stay as they are."""
        return self._graph is not None

    def __call__(self, feeds: Mapping[str, Values], send: Callable[[str, Values], Any]) -> list[Values]:
        for name, array in feeds.items():
            self._feed(name, array, partial(send, name))
        if self._results:
            self._compute()
            return _fetched(self._results)
        for name in self._outputs:
            self._io.bind_output(name, self._device)
        self._session.run_with_iobinding(self._io, self._eager)
        answers = self._io.get_outputs()
        self._keep(answers)
        return _fetched(answers)

    def _feed(self, name: str, array: Values, send: Callable[[Values], Any]) -> None:
        """Refresh an input; it is bound again, because one that a node reads on the CPU is copied when it is bound."""
        constant = not array.flags.writeable
        if constant and self._fed.get(name) is array:
            return
        self._fed[name] = array
        if constant and not self.replays:
            self._io.bind_ortvalue_input(name, send(array))
            return
        if name in self._inputs:
            self._inputs[name].update_inplace(array)
        else:
            self._inputs[name] = _value(array, self._device)
        self._io.bind_ortvalue_input(name, self._inputs[name])

    def _keep(self, answers: Sequence[Any]) -> None:
        """Make buffers as large as the answers."""
        make = onnxruntime().OrtValue.ortvalue_from_shape_and_type
        self._results = [make(value.shape(), value.element_type(), self._device) for value in answers]
        for name, value in zip(self._outputs, self._results, strict=True):
            self._io.bind_ortvalue_output(name, value)

    def _compute(self) -> None:
        if self._is_captured and not self._is_checked:
            self._check()
        elif self._is_captured or not self._graph:
            self._session.run_with_iobinding(self._io, self._graph or self._eager)
        else:
            self._capture_alone()

    def _check(self) -> None:
        """Compare the first replay with a call without CUDA graphs.

        Where they differ, later calls go without. The replay comes first: the call without would refresh what a node on
        the CPU leaves for it.
        """
        self._session.run_with_iobinding(self._io, self._graph)
        replayed = _fetched(self._results)
        self._session.run_with_iobinding(self._io, self._eager)
        self._is_checked = True
        if not all(map(_is_close, replayed, _fetched(self._results))):
            log.warning("a CUDA graph gives other numbers than a call without, calls go on without")
            self._graph, self._is_captured = None, False

    def _capture_alone(self) -> None:
        with DEVICE_ACCESS.exclusive() as alone:
            if alone and self._capture():
                return
        self._session.run_with_iobinding(self._io, self._eager)

    def _capture(self) -> bool:
        try:
            self._session.run_with_iobinding(self._io, self._graph)
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes without
            log.warning("no CUDA graph could be captured, calls go on without: %s", error)
            self._graph = None
            return False
        self._is_captured = True
        return True


def _value(array: Values, device: str) -> Any:
    """Return a copy of an array on the device; on the CPU a value made from an array would be that array itself."""
    value = onnxruntime().OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, device)
    value.update_inplace(array)
    return value


def _fetched(values: Sequence[Any]) -> list[Values]:
    """Return copies: on the CPU what a value shows is its buffer."""
    return [np.array(value.numpy()) for value in values]


def _is_close(one: Values, other: Values) -> bool:
    scale = float(np.abs(other).max(initial=0))
    return bool(np.allclose(one, other, rtol=0, atol=TOLERANCE * scale, equal_nan=True))


def _options(entries: Mapping[str, str]) -> Any:
    if not entries:
        return None
    made = onnxruntime().RunOptions()
    for key, value in entries.items():
        made.add_run_config_entry(key, value)
    return made
