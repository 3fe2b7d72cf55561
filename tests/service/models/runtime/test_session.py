"""Sessions: casts to and from float32, errors, the choice of provider, and the number of threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.errors import GenerationFailed, OutOfMemory
from tintype.service.models.files import ModelFileError
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import nvidia, providers
from tintype.service.models.runtime import runtime as runtime_module
from tintype.service.models.runtime.providers import ProviderUnavailable, available, choose, with_fallbacks, works
from tintype.service.models.runtime.runtime import Runtime, usable_cores
from tintype.service.models.runtime.session import Session, _cast
from tintype.service.models.runtime.session_options import session_options

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME = Runtime("cpu", 1)


@pytest.fixture(scope="module")
def text() -> Session:
    return Session(OnnxFile(BUILTIN / "text_encoder/model.onnx"), RUNTIME)


def test_a_session_describes_its_graph(text: Session) -> None:
    """It has the type and rank of each input, the names of the outputs, and the provider."""
    assert text.inputs == {"input_ids": (np.int64, 2)}
    assert "last_hidden_state" in text.outputs
    assert text.provider == "cpu"


def test_inputs_are_cast_and_results_are_float32(text: Session) -> None:
    """An input of any number type is cast to the type of the graph, and the result is float32."""
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
def test_a_cast_rounds_and_keeps_the_rank(value: np.ndarray, dtype: type, expected: object) -> None:
    """A fractional timestep is rounded if the graph takes integers; a scalar stays a scalar."""
    cast = _cast(value, dtype)
    assert (cast.dtype, cast.shape) == (np.dtype(dtype), value.shape)
    assert cast.tolist() == expected


def test_a_failed_call_raises_generation_failed(text: Session, capfd: pytest.CaptureFixture[str]) -> None:
    """An error of onnxruntime becomes GenerationFailed with the name of the graph; nothing is printed."""
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
def test_a_lack_of_memory_raises_out_of_memory(
    text: Session, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It is distinguished from other failures, since the engine then frees memory and retries."""

    class FullDevice:
        def run(self, *_: object) -> None:
            raise error

    monkeypatch.setattr(text, "_session", FullDevice())
    with pytest.raises(OutOfMemory, match=r"text_encoder/model\.onnx needs more memory"):
        text.run("last_hidden_state", input_ids=np.zeros((1, 32), np.int64))


def test_an_unsuitable_graph_is_rejected_by_name(text: Session, tmp_path: Path) -> None:
    """The error names the graph and its unexpected inputs or outputs, or the file that is not a graph."""
    text.require(inputs=("input_ids",), output="last_hidden_state")
    with pytest.raises(ModelFileError, match="has the inputs input_ids; this family requires input_ids, mask"):
        text.require(inputs=("input_ids", "mask"), output="last_hidden_state")
    with pytest.raises(ModelFileError, match="has no output 'hidden'; it has last_hidden_state"):
        text.require(inputs=("input_ids",), output="hidden")
    with pytest.raises(ModelFileError, match=r"model\.onnx can't be loaded"):
        Session(OnnxFile(tmp_path / "model.onnx"), RUNTIME)


def test_the_cpu_always_works() -> None:
    """The CPU is available, works, and is the last fallback of every provider."""
    assert "cpu" in available()
    assert works("cpu")
    assert choose(("cpu",)) == "cpu"
    assert all(with_fallbacks(name)[-1] == "CPUExecutionProvider" for name in available())


def test_the_first_provider_that_works_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If none of the requested providers works, the error names one that does."""
    monkeypatch.setattr(providers, "available", lambda: ["tensorrt", "cuda", "cpu"])
    monkeypatch.setattr(providers, "works", lambda name, **_: name in ("cuda", "cpu"))
    uncached = choose.__wrapped__
    assert uncached(("tensorrt", "cuda", "cpu")) == "cuda"
    assert uncached(("cpu", "cuda")) == "cpu"
    assert uncached(()) == "cuda"
    with pytest.raises(ProviderUnavailable, match="none of the providers works here: tensorrt; add cpu"):
        uncached(("tensorrt",))
    with pytest.raises(ProviderUnavailable, match=r"provider 'coreml' is not in .*; available: tensorrt, cuda, cpu"):
        uncached(("coreml",))


def test_a_machine_without_a_gpu_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By default the CPU is chosen silently on a machine without a GPU."""
    monkeypatch.setattr(nvidia, "has_driver", lambda: False)
    assert choose.__wrapped__(()) == "cpu"
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_a_gpu_is_the_default() -> None:
    """On a machine with an NVIDIA GPU and its libraries, CUDA is chosen by default."""
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
def test_the_number_of_threads_is_that_of_usable_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, siblings: str, expected: int
) -> None:
    """Hyper-threads of one core count once, and a container's quota counts; without such files each CPU is a core."""
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    if siblings:
        for cpu in range(8):
            (tmp_path / str(cpu)).write_text(siblings.format(cpu))
    monkeypatch.setattr(runtime_module, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(runtime_module, "_SIBLINGS", str(tmp_path / "{}"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == expected


def test_the_number_of_threads_can_be_set() -> None:
    """0 means one thread per core."""
    assert Runtime.choose(("cpu",), 3) == Runtime("cpu", 3)
    assert Runtime.choose(("cpu",)).threads == usable_cores() >= 1
    assert session_options(RUNTIME.threads).intra_op_num_threads == 1
