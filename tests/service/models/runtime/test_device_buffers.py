"""Calls with buffers that stay on the device have the results of plain calls."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import device_buffers
from tintype.service.models.runtime.cuda_graphs import DeviceAccess
from tintype.service.models.runtime.device_buffers import SHRINKAGE, DeviceBuffers
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.stop_flag import StopFlag

OUT = ["out_sample"]


@pytest.fixture(scope="module")
def graph() -> OrtGraph:
    return OrtGraph(OnnxFile(BUILTIN / "unet/model.onnx"), "cpu", 1)


def feeds(rows: int = 1, seed: int = 0, side: int = 4) -> dict[str, Any]:
    """Return inputs of the built-in denoiser; the embeddings are read-only, as in the engine."""
    draw = np.random.default_rng(seed)
    prompt = draw.standard_normal((rows, 32, 128), np.float32)
    prompt.setflags(write=False)
    return {
        "sample": draw.standard_normal((rows, 16, side, side), np.float32),
        "timestep": np.linspace(100, 900, rows, dtype=np.float32),
        "encoder_hidden_states": prompt,
    }


@pytest.mark.parametrize("graphs", [False, True])
def test_results_equal_those_of_a_plain_run(graph: OrtGraph, graphs: bool) -> None:  # noqa: FBT001 - a parameter
    """Bit for bit, at the first and later calls of a shape, with alternating shapes, steps and prompts."""
    bound = DeviceBuffers(graph._session, "cpu", graphs=graphs)
    prompts = [feeds(rows, seed) for rows in (1, 2) for seed in (1, 2)]
    results = []
    for step in range(3):
        for inputs in prompts:
            inputs["sample"] += np.float32(step)
            (expected,) = graph.run(OUT, inputs)
            (out,) = bound.run(OUT, inputs)
            assert np.array_equal(out, expected)
            results.append((out, expected))
    assert all(np.array_equal(out, expected) for out, expected in results), "a later call wrote into an earlier result"


def test_inputs_are_not_modified(graph: OrtGraph) -> None:
    """Buffers are copies: updating them changes no array of the caller."""
    bound, first, second = DeviceBuffers(graph._session, "cpu"), feeds(seed=1), feeds(seed=2)
    before = {name: array.copy() for name, array in first.items()}
    for inputs in (first, second, first, second):
        bound.run(OUT, inputs)
    assert all(np.array_equal(first[name], before[name]) for name in first)


def test_embeddings_are_sent_once(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all steps, even if calls with the prompt and with the negative prompt alternate."""
    sent: list[Any] = []
    value = device_buffers._value

    def record(array: Any, device: Any) -> Any:
        sent.append(array)
        return value(array, device)

    monkeypatch.setattr(device_buffers, "_value", record)
    bound, prompt, negative = DeviceBuffers(graph._session, "cpu"), feeds(seed=1), feeds(seed=2)
    for _ in range(3):
        bound.run(OUT, prompt)
        bound.run(OUT, negative)
    embeddings = [array for array in sent if array.ndim == 3]
    assert [id(array) for array in embeddings] == [id(call["encoder_hidden_states"]) for call in (prompt, negative)]
    assert len(sent) == 4, "one buffer for the latents and one for the timestep, used by all calls"


def test_the_number_of_kept_shapes_is_bounded(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used buffers are dropped, with and without captured graphs."""
    monkeypatch.setattr(device_buffers, "SHAPES", 2)
    monkeypatch.setattr(device_buffers, "GRAPHS", 3)
    for graphs, expected in ((False, 2), (True, 3)):
        bound = DeviceBuffers(graph._session, "cpu", graphs=graphs)
        for side in (4, 8, 12, 16):
            bound.run(OUT, feeds(side=side))
        assert [dict(shapes)["sample"][-1] for _, shapes in bound._latest] == [4, 8, 12, 16][-expected:]


def test_the_captured_graph_that_was_used_least_recently_is_released(
    graph: OrtGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shape is captured again under a new number when it comes back, until CAPTURES are made."""
    monkeypatch.setattr(device_buffers, "GRAPHS", 2)
    monkeypatch.setattr(device_buffers, "CAPTURES", 4)
    session = RecordingSession(graph._session)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for rows in (1, 2, 3, 1, 2):
        for seed in range(3):
            assert np.array_equal(bound.run(OUT, feeds(rows, seed))[0], graph.run(OUT, feeds(rows, seed))[0])
    assert session.released == [1, 2]
    assert [int(number) for number in session.captured] == [1, 2, 3, 4]
    assert [buffers.replays for buffers in bound._latest.values()] == [True, True, False]


def test_a_failed_call_releases_all_buffers(graph: OrtGraph) -> None:
    """The buffers may have caused a lack of memory; the next call allocates its own and succeeds."""
    bound = DeviceBuffers(graph._session, "cpu")
    bound.run(OUT, feeds())
    with pytest.raises(Exception, match="encoder_hidden_states"):
        bound.run(OUT, feeds() | {"encoder_hidden_states": np.zeros((1, 32, 5), np.float32)})
    assert not bound._latest
    assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])


def test_the_bound_of_kept_shapes_holds_after_a_failure(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph captured before the failure is released, and its number is not used again."""
    monkeypatch.setattr(device_buffers, "GRAPHS", 1)
    session = RecordingSession(graph._session)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for _ in range(2):
        bound.run(OUT, feeds(side=4))
    with pytest.raises(Exception, match="encoder_hidden_states"):
        bound.run(OUT, feeds() | {"encoder_hidden_states": np.zeros((1, 32, 5), np.float32)})
    assert session.released == [1]
    for side in (4, 8, 8):
        bound.run(OUT, feeds(side=side))
    assert len(bound._latest) == 1
    assert list(session.captured) == ["1", "2"]


class RecordingSession:
    """A session that records the graph number of each call; capturing fails if `broken`.

    A `stale` session replays the latest result that was computed without a graph, whatever its inputs, as after a node
    on the CPU.
    """

    def __init__(self, session: Any, *, broken: bool = False, stale: bool = False) -> None:
        self._session, self._broken, self._stale = session, broken, stale
        self.numbers: list[str] = []
        self.captured: dict[str, None] = {}
        self.released: list[int] = []
        self._latest: Any = None

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, io: Any, options: Any) -> None:
        self.numbers.append(options.get_run_config_entry("gpu_graph_id"))
        if self._broken and self.numbers[-1] != "-1":
            raise RuntimeError("operation not permitted when stream is capturing")
        if self._stale and self.numbers[-1] in self.captured:
            io.get_outputs()[0].update_inplace(self._latest)
            return
        if self.numbers[-1] not in ("-1", None):
            self.captured[self.numbers[-1]] = None
        self._session.run_with_iobinding(io)
        self._latest = np.array(io.get_outputs()[0].numpy())

    def release_captured_graph(self, number: int) -> None:
        self.released.append(number)


def test_each_shape_has_its_own_cuda_graph(graph: OrtGraph) -> None:
    """The first call of a shape captures nothing; later calls have the number of the shape, which is never 0."""
    session = RecordingSession(graph._session)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for rows in (1, 2, 1, 2, 1, 1):
        bound.run(OUT, feeds(rows))
    assert session.numbers == ["-1", "-1", "1", "2", "1", "-1", "1"], "the first replay is compared with a call without"


@pytest.mark.parametrize("graphs", [False, True])
def test_alternating_prompts_are_sent_once(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch, graphs: bool) -> None:  # noqa: FBT001 - a parameter
    """With captured calls as well, whose input is then copied within the device at each change."""
    sent: list[Any] = []
    value = device_buffers._value

    def record(array: Any, device: Any) -> Any:
        sent.append(array)
        return value(array, device)

    bound = DeviceBuffers(RecordingSession(graph._session), "cpu", graphs=True) if graphs else None
    bound = bound or DeviceBuffers(graph._session, "cpu")
    prompts = feeds(seed=1), feeds(seed=2)
    bound.run(OUT, prompts[0])  # with graphs it makes the input's own buffer
    monkeypatch.setattr(device_buffers, "_value", record)
    for _ in range(4):
        for prompt in prompts:
            assert np.array_equal(bound.run(OUT, prompt)[0], graph.run(OUT, prompt)[0])
    assert len([array for array in sent if array.ndim == 3]) == 1 + graphs


@pytest.mark.parametrize("graphs", [False, True])
def test_a_stopped_model_is_not_called(graph: OrtGraph, graphs: bool) -> None:  # noqa: FBT001 - a parameter
    """Bound calls carry the model's stop flag: onnxruntime ends them between two nodes. Later calls are right."""
    flag = StopFlag()
    bound = DeviceBuffers(graph._session, "cpu", graphs=graphs, stop_flag=flag)
    bound.run(OUT, feeds())
    flag.stop()
    with pytest.raises(Exception, match="terminate"):
        bound.run(OUT, feeds(rows=2))
    flag.resume()
    assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])


def test_a_replay_with_wrong_results_is_detected(graph: OrtGraph, caplog: pytest.LogCaptureFixture) -> None:
    """A graph whose results differ from those of a call without it is not used again, and they are not returned."""
    session = RecordingSession(graph._session, stale=True)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for seed in range(4):
        assert np.array_equal(bound.run(OUT, feeds(seed=seed))[0], graph.run(OUT, feeds(seed=seed))[0])
    assert session.numbers == ["-1", "1", "1", "-1", "-1"]
    assert caplog.text.count("computes other values") == 1


class ShrinkingSession:
    """A session that records the shrinkage entry of each call, None without one."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.entries: list[Any] = []

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, io: Any, options: Any) -> None:
        try:
            self.entries.append(options.get_run_config_entry(SHRINKAGE))
        except RuntimeError:  # it has no such entry
            self.entries.append(None)
        self._session.run_with_iobinding(io, options)


def test_a_decoder_returns_memory_after_each_call(graph: OrtGraph) -> None:
    """With `shrinks` each call shrinks the shared arena, and its results stay the same; without it none does."""
    for shrinks, entry in ((True, "cpu:0"), (False, None)):
        session = ShrinkingSession(graph._session)
        bound = DeviceBuffers(session, "cpu", shrinks=shrinks)
        for _ in range(2):
            assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])
        assert session.entries == [entry] * 2


def test_a_session_that_captures_keeps_its_memory(graph: OrtGraph) -> None:
    """Memory that replays write to is not returned to the device."""
    assert DeviceBuffers(graph._session, "cpu", graphs=True, shrinks=True)._entries == {}


def test_a_device_without_an_arena_keeps_its_memory(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """If onnxruntime finds no arena on the device, it refuses the call, which is repeated without shrinkage."""
    monkeypatch.setitem(device_buffers._ARENA_NAMES, "cpu", "gpu")
    session = ShrinkingSession(graph._session)
    bound = DeviceBuffers(session, "cpu", shrinks=True)
    for _ in range(2):
        assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])
    assert session.entries == ["gpu:0", None, None]


def test_a_failed_capture_disables_cuda_graphs(graph: OrtGraph, caplog: pytest.LogCaptureFixture) -> None:
    """This call and all later ones run without a CUDA graph, and the log has the cause."""
    session = RecordingSession(graph._session, broken=True)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for _ in range(3):
        assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])
    assert session.numbers == ["-1", "1", "-1", "-1"]
    assert "not permitted when stream is capturing" in caplog.text


def test_nothing_is_captured_while_a_model_loads(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading would make the capture fail: the call runs without a graph, and the next call after it is captured."""
    access, session = DeviceAccess(), RecordingSession(graph._session)
    monkeypatch.setattr(device_buffers, "DEVICE_ACCESS", access)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    bound.run(OUT, feeds())
    with access.shared():
        bound.run(OUT, feeds())
    bound.run(OUT, feeds())
    assert session.numbers == ["-1", "-1", "1"]


def test_loading_waits_for_a_capture() -> None:
    """Shared access to the device waits until exclusive access has ended."""
    access, entered = DeviceAccess(), Event()

    def load() -> None:
        with access.shared():
            entered.set()

    with access.exclusive() as exclusive:
        thread = Thread(target=load)
        thread.start()
        assert exclusive
        assert not entered.wait(0.05)
    assert entered.wait(30)
    thread.join(30)


class BindingSession:
    """A session whose binding records the inputs that are bound again after a capture."""

    def __init__(self, session: RecordingSession) -> None:
        self._session = session
        self.again: list[str] = []

    def io_binding(self) -> Any:
        binding = self._session.io_binding()
        bind = binding.bind_ortvalue_input

        def record(name: str, value: Any) -> None:
            if self._session.captured:
                self.again.append(name)
            bind(name, value)

        binding.bind_ortvalue_input = record
        return binding

    def run_with_iobinding(self, io: Any, options: Any) -> None:
        self._session.run_with_iobinding(io, options)


@pytest.mark.parametrize("strict", [False, True])
def test_inputs_of_a_captured_graph_are_not_bound_again(
    graph: OrtGraph,
    monkeypatch: pytest.MonkeyPatch,
    strict: bool,  # noqa: FBT001 - a parameter
) -> None:
    """WebGPU refuses it from the capture on; other devices bind until the first replay has proved right."""
    monkeypatch.setattr(device_buffers, "STRICT", ("cpu",) if strict else ())
    session = BindingSession(RecordingSession(graph._session))
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for seed in range(5):
        assert np.array_equal(bound.run(OUT, feeds(seed=seed))[0], graph.run(OUT, feeds(seed=seed))[0])
    assert session.again == ([] if strict else ["sample", "timestep", "encoder_hidden_states"])
