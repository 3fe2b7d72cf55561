"""Graphs behind float32: casts, errors in our words, providers by short names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.errors import GenerationFailed, OutOfMemory
from tintype.service.models.files import ModelFileError
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import nvidia, providers
from tintype.service.models.runtime import runtime as runtime_module
from tintype.service.models.runtime.ort import session_options
from tintype.service.models.runtime.providers import ProviderUnavailable, available, chain, choose, works
from tintype.service.models.runtime.runtime import Runtime, usable_cores
from tintype.service.models.runtime.session import Session, _cast

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME = Runtime("cpu", 1)


@pytest.fixture(scope="module")
def text() -> Session:
    return Session(BUILTIN / "text_encoder/model.onnx", RUNTIME)


def test_a_graph_tells_what_it_wants(text: Session) -> None:
    """Inputs with type and rank, outputs and the provider are there to see."""
    assert text.inputs == {"input_ids": (np.int64, 2)}
    assert "last_hidden_state" in text.outputs
    assert text.provider == "cpu"


def test_inputs_are_cast_and_results_are_float32(text: Session) -> None:
    """Whatever integer type comes in, the graph gets its own; what comes out is float32."""
    ids = np.arange(32)[None]
    first = text.run("last_hidden_state", input_ids=ids.astype(np.int32))
    second = text.run("last_hidden_state", input_ids=ids.astype(np.float32))
    assert first.dtype == np.float32
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (np.array([946.6, 0.5, 1.5], np.float32), np.int64, [947, 0, 2]),
        (np.array([1, 2], np.int64), np.int32, [1, 2]),
        (np.array([0.5], np.float32), np.float16, [0.5]),
        (np.asarray(np.float32(7.0)), np.int64, 7),
    ],
)
def test_a_cast_keeps_meaning_and_rank(value: np.ndarray, dtype: type, expected: object) -> None:
    """A timestep with a fraction goes to the nearest whole one where the graph has no others; a scalar stays one."""
    cast = _cast(value, dtype)
    assert (cast.dtype, cast.shape) == (np.dtype(dtype), value.shape)
    assert cast.tolist() == expected


def test_a_failing_call_is_a_failed_generation(text: Session, capfd: pytest.CaptureFixture[str]) -> None:
    """What onnxruntime throws becomes our error, which names the graph; nothing is written beside the log."""
    with pytest.raises(GenerationFailed, match=r"text_encoder/model\.onnx failed"):
        text.run("last_hidden_state", input_ids=np.zeros((1, 999), np.int64))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9"),
        RuntimeError("Available memory of 8 is smaller than requested bytes of 9"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);"),
        RuntimeError("CUDNN failure 1003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
)
def test_a_lack_of_memory_is_told_from_other_failures(
    text: Session, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Out of memory has an answer of its own: the engine makes room, or the size is too large."""

    class Full:
        def run(self, *_: object) -> None:
            raise error

    monkeypatch.setattr(text, "_session", Full())
    with pytest.raises(OutOfMemory, match=r"text_encoder/model\.onnx needs more memory"):
        text.run("last_hidden_state", input_ids=np.zeros((1, 32), np.int64))


def test_a_graph_of_another_kind_is_named(text: Session, tmp_path: Path) -> None:
    """Inputs or outputs that a family does not know, and files that are no graphs, are told by name."""
    text.require(inputs=("input_ids",), output="last_hidden_state")
    with pytest.raises(ModelFileError, match="has the inputs input_ids; this family requires input_ids, mask"):
        text.require(inputs=("input_ids", "mask"), output="last_hidden_state")
    with pytest.raises(ModelFileError, match="has no output 'hidden'; it has last_hidden_state"):
        text.require(inputs=("input_ids",), output="hidden")
    with pytest.raises(ModelFileError, match=r"model\.onnx can't be loaded"):
        Session(tmp_path / "model.onnx", RUNTIME)


def test_a_cpu_always_works() -> None:
    """The CPU is available, works, and is what everything falls back to."""
    assert "cpu" in available()
    assert works("cpu")
    assert choose(("cpu",)) == "cpu"
    assert all(chain(name)[-1] == "CPUExecutionProvider" for name in available())


def test_providers_that_do_not_work_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those asked for the first that works is taken; when none does, the error says what would."""
    monkeypatch.setattr(providers, "available", lambda: ["tensorrt", "cuda", "cpu"])
    monkeypatch.setattr(providers, "works", lambda name, **_: name in ("cuda", "cpu"))
    plain = choose.__wrapped__
    assert plain(("tensorrt", "cuda", "cpu")) == "cuda"
    assert plain(("cpu", "cuda")) == "cpu"
    assert plain(()) == "cuda"
    with pytest.raises(ProviderUnavailable, match="none of the providers works here: tensorrt; add cpu"):
        plain(("tensorrt",))
    with pytest.raises(ProviderUnavailable, match=r"provider 'coreml' is not in .*; available: tensorrt, cuda, cpu"):
        plain(("coreml",))


def test_a_machine_without_a_gpu_is_found_out_quietly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a choice nothing is printed about a GPU that is not there; asked for, it does not work and says why."""
    monkeypatch.setattr(nvidia, "has_driver", lambda: False)
    assert choose.__wrapped__(()) == "cpu"
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_a_gpu_is_taken_by_itself() -> None:
    """Where there is an NVIDIA GPU with its libraries, it is the default."""
    assert choose(()) == "cuda"


@pytest.mark.parametrize(
    ("quota", "siblings", "expected"),
    [
        ("max 100000", "0", 1),
        ("max 100000", "{}", 8),
        ("250000 100000", "{}", 2),
        ("50000 100000", "{}", 1),
        ("", "", 8),
    ],
)
def test_threads_are_the_cores_that_are_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, siblings: str, expected: int
) -> None:
    """Hyper-threads count once, a container's quota counts, and a machine that says nothing is taken as it looks."""
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    if siblings:
        for cpu in range(8):
            (tmp_path / str(cpu)).write_text(siblings.format(cpu))
    monkeypatch.setattr(runtime_module, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(runtime_module, "_SIBLINGS", str(tmp_path / "{}"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == expected


def test_threads_can_be_set() -> None:
    """A number of threads that is given is the number; none means one for each core."""
    assert Runtime.choose(("cpu",), 3) == Runtime("cpu", 3)
    assert Runtime.choose(("cpu",)).threads == usable_cores() >= 1
    assert session_options(RUNTIME.threads).intra_op_num_threads == 1
