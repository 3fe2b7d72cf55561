"""Bound to buffers that are kept, a graph answers as it does without."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import device_buffers
from tintype.service.models.runtime.cuda_graphs import DeviceAccess
from tintype.service.models.runtime.device_buffers import SHRINKAGE, DeviceBuffers
from tintype.service.models.runtime.ort import OrtGraph

OUT = ["out_sample"]


@pytest.fixture(scope="module")
def graph() -> OrtGraph:
    return OrtGraph(BUILTIN / "unet/model.onnx", "cpu", 1)


def feeds(rows: int = 1, seed: int = 0, side: int = 4) -> dict[str, Any]:
    """Return what the built-in denoiser wants; its embeddings can't be written to, as the engine's."""
    draw = np.random.default_rng(seed)
    prompt = draw.standard_normal((rows, 32, 128), np.float32)
    prompt.setflags(write=False)
    return {
        "sample": draw.standard_normal((rows, 16, side, side), np.float32),
        "timestep": np.linspace(100, 900, rows, dtype=np.float32),
        "encoder_hidden_states": prompt,
    }


@pytest.mark.parametrize("graphs", [False, True])
def test_answers_are_those_of_a_plain_run(graph: OrtGraph, graphs: bool) -> None:  # noqa: FBT001 - a parameter
    """Bit for bit, at the first call of a shape and later ones, with shapes, steps and prompts in turn."""
    bound = DeviceBuffers(graph._session, "cpu", graphs=graphs)
    prompts = [feeds(rows, seed) for rows in (1, 2) for seed in (1, 2)]
    kept = []
    for step in range(3):
        for asked in prompts:
            asked["sample"] += np.float32(step)
            (expected,) = graph.run(OUT, asked)
            (out,) = bound.run(OUT, asked)
            assert np.array_equal(out, expected)
            kept.append((out, expected))
    assert all(np.array_equal(out, expected) for out, expected in kept), "a later call wrote into an earlier answer"


def test_what_is_fed_stays_as_it_is(graph: OrtGraph) -> None:
    """Buffers are copies: refreshing them changes nobody's array."""
    bound, first, second = DeviceBuffers(graph._session, "cpu"), feeds(seed=1), feeds(seed=2)
    before = {name: array.copy() for name, array in first.items()}
    for asked in (first, second, first, second):
        bound.run(OUT, asked)
    assert all(np.array_equal(first[name], before[name]) for name in first)


def test_embeddings_are_sent_once(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all steps, also where the prompt's and the negative prompt's call take turns."""
    sent: list[Any] = []
    value = device_buffers._value

    def noted(array: Any, device: Any) -> Any:
        sent.append(array)
        return value(array, device)

    monkeypatch.setattr(device_buffers, "_value", noted)
    bound, prompt, negative = DeviceBuffers(graph._session, "cpu"), feeds(seed=1), feeds(seed=2)
    for _ in range(3):
        bound.run(OUT, prompt)
        bound.run(OUT, negative)
    embeddings = [array for array in sent if array.ndim == 3]
    assert [id(array) for array in embeddings] == [id(asked["encoder_hidden_states"]) for asked in (prompt, negative)]
    assert len(sent) == 4, "one buffer for the latents and one for the timestep, and they stay"


def test_buffers_of_few_shapes_are_kept(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those used longest ago go; but what a captured graph reads and writes stays, and then no more are captured."""
    monkeypatch.setattr(device_buffers, "SHAPES", 2)
    monkeypatch.setattr(device_buffers, "GRAPHS", 1)
    for graphs, expected in ((False, 2), (True, 3)):
        bound = DeviceBuffers(graph._session, "cpu", graphs=graphs)
        for side in (4, 8, 12, 16):
            bound.run(OUT, feeds(side=side))
        assert len(bound._latest) == expected
        assert [one.replays for one in bound._latest.values()] == [graphs, False, False][:expected]


def test_after_a_failure_nothing_is_kept(graph: OrtGraph) -> None:
    """Buffers may be what memory was short of; the next call makes its own and answers."""
    bound = DeviceBuffers(graph._session, "cpu")
    bound.run(OUT, feeds())
    with pytest.raises(Exception, match="encoder_hidden_states"):
        bound.run(OUT, feeds() | {"encoder_hidden_states": np.zeros((1, 32, 5), np.float32)})
    assert not bound._latest
    assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])


def test_after_a_failure_no_more_shapes_are_kept_than_before(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs that were captured before it are never called again, and make no room for other buffers."""
    monkeypatch.setattr(device_buffers, "SHAPES", 1)
    monkeypatch.setattr(device_buffers, "GRAPHS", 2)
    bound = DeviceBuffers(graph._session, "cpu", graphs=True)
    bound.run(OUT, feeds(side=4))
    with pytest.raises(Exception, match="encoder_hidden_states"):
        bound.run(OUT, feeds() | {"encoder_hidden_states": np.zeros((1, 32, 5), np.float32)})
    for side in (4, 8, 12):
        bound.run(OUT, feeds(side=side))
    assert len(bound._latest) == 1


class Recorder:
    """A session that notes under which graph's number it was called; capturing fails if `broken`.

    A `stale` one replays what the latest call without computed, as where a node on the CPU left it: it does not look at
    its inputs again.
    """

    def __init__(self, session: Any, *, broken: bool = False, stale: bool = False) -> None:
        self._session, self._broken, self._stale = session, broken, stale
        self.numbers: list[str] = []
        self.captured: set[str] = set()
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
        if self.numbers[-1] != "-1":
            self.captured.add(self.numbers[-1])
        self._session.run_with_iobinding(io)
        self._latest = np.array(io.get_outputs()[0].numpy())


def test_each_shape_has_a_graph_of_its_own(graph: OrtGraph) -> None:
    """The first call captures nothing; then each shape keeps its number, which is never 0."""
    session = Recorder(graph._session)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for rows in (1, 2, 1, 2, 1, 1):
        bound.run(OUT, feeds(rows))
    assert session.numbers == ["-1", "-1", "1", "2", "1", "-1", "1"], "the first replay is compared with a call without"


def test_a_replay_that_does_not_see_its_inputs_is_found_out(graph: OrtGraph, caplog: pytest.LogCaptureFixture) -> None:
    """A graph that answers other numbers than a call without is used no more, and no such answer gets out."""
    session = Recorder(graph._session, stale=True)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for seed in range(4):
        assert np.array_equal(bound.run(OUT, feeds(seed=seed))[0], graph.run(OUT, feeds(seed=seed))[0])
    assert session.numbers == ["-1", "1", "1", "-1", "-1"]
    assert caplog.text.count("computes other values") == 1


class Giving:
    """A session that notes how its calls are told to give memory back."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.told: list[Any] = []

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, io: Any, options: Any) -> None:
        self.told.append(options and options.get_run_config_entry(SHRINKAGE))
        self._session.run_with_iobinding(io, options)


def test_memory_goes_back_after_a_call(graph: OrtGraph) -> None:
    """A decoder's calls let the shared arena shrink, which onnxruntime does; others keep what they have."""
    for shrinks, entry in ((True, "cpu:0"), (False, None)):
        session = Giving(graph._session)
        bound = DeviceBuffers(session, "cpu", shrinks=shrinks)
        for _ in range(2):
            assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])
        assert session.told == [entry] * 2


def test_a_session_that_captures_keeps_its_memory(graph: OrtGraph) -> None:
    """What replays write to is never given back."""
    assert DeviceBuffers(graph._session, "cpu", graphs=True, shrinks=True)._entries == {}


def test_memory_that_cannot_go_back_stays(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnxruntime finds no arena on the device it refuses the call, which is made again without."""
    monkeypatch.setitem(device_buffers._ARENA_NAMES, "cpu", "gpu")
    session = Giving(graph._session)
    bound = DeviceBuffers(session, "cpu", shrinks=True)
    for _ in range(2):
        assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])
    assert session.told == ["gpu:0", None, None]


def test_a_graph_that_can_not_be_captured_is_none(graph: OrtGraph, caplog: pytest.LogCaptureFixture) -> None:
    """The call is answered without, as are all later ones, and the log says why."""
    session = Recorder(graph._session, broken=True)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    for _ in range(3):
        assert np.array_equal(bound.run(OUT, feeds())[0], graph.run(OUT, feeds())[0])
    assert session.numbers == ["-1", "1", "-1", "-1"]
    assert "not permitted when stream is capturing" in caplog.text


def test_nothing_is_captured_while_others_call_the_device(graph: OrtGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that loads would break it: the call goes without, and is captured when the other is done."""
    access, session = DeviceAccess(), Recorder(graph._session)
    monkeypatch.setattr(device_buffers, "DEVICE_ACCESS", access)
    bound = DeviceBuffers(session, "cpu", graphs=True)
    bound.run(OUT, feeds())
    with access.shared():
        bound.run(OUT, feeds())
    bound.run(OUT, feeds())
    assert session.numbers == ["-1", "-1", "1"]


def test_others_wait_for_a_capture() -> None:
    """Who wants to load gets its turn when the graph is captured."""
    access, entered = DeviceAccess(), Event()

    def load() -> None:
        with access.shared():
            entered.set()

    with access.exclusive() as alone:
        thread = Thread(target=load)
        thread.start()
        assert alone
        assert not entered.wait(0.05)
    assert entered.wait(30)
    thread.join(30)
