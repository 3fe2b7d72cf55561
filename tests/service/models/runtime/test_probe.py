"""A provider is used only if it computes correctly: on a GPU without kernels, sessions open but calls fail."""

from __future__ import annotations

import logging
import re
import subprocess
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.models.runtime import nvidia, openvino, probe, providers
from tintype.service.models.runtime.plugins import library
from tintype.service.models.runtime.plugins import table as plugins
from tintype.service.models.runtime.providers import Probe, choose, run_probe, works

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

# A fake onnxruntime that claims to have CUDA; `run` is the code that its sessions run when they are called.
FAKE = """
import os, time
import numpy as np
from tintype.service.models.runtime import probe
def get_available_providers():
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, *_, **__): pass
    def get_providers(self): return get_available_providers()
    def run(self, outputs, feeds):
        right = [result.astype(np.float32) for result in probe.expected()]
        {run}
"""


@pytest.fixture(autouse=True)
def _clear_cache() -> Any:
    """Forget earlier test results of providers, before and after each test."""
    run_probe.cache_clear()
    yield
    run_probe.cache_clear()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that makes the test process import a fake onnxruntime, on a machine with a driver."""

    def make(run: str) -> None:
        (tmp_path / "onnxruntime.py").write_text(FAKE.format(run=run))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")

    monkeypatch.setattr(nvidia, "has_driver", lambda: True)
    monkeypatch.setattr(providers, "available", lambda: ["cuda", "cpu"])
    return make


WRONG = {
    "return [right[0] * 0, right[1]]": "wrong values: off by 1 of the largest value",
    "return [right[0], -right[1]]": "wrong values: off by 2 of the largest value",
    "return [right[0], right[1] * np.nan]": "wrong values: off by nan of the largest value",
    "return [right[0], right[1][:, :, 1:]]": r"wrong values: shape \(1, 16, 13, 14\) instead of",
    "raise RuntimeError('CUDA error 209:\\n no kernel image is available')": "CUDA error 209: no kernel image",
    "os.abort()": "ended with SIGABRT",
    "os.kill(os.getpid(), 11)": "ended with SIGSEGV",
    "os._exit(7)": "ended with code 7",
    "os._exit(1)": "ended with code 1",
    "time.sleep(600)": "computed nothing within 5 s",
}


@pytest.mark.parametrize("run", WRONG)
def test_a_provider_that_fails_its_test_is_not_used(
    fake: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, run: str
) -> None:
    """After wrong values, an error, a crash or a hang the log has the cause, and the CPU is used."""
    if run.startswith("time"):
        monkeypatch.setattr(providers, "PROBE_SECONDS", 5)
    fake(run)
    with caplog.at_level(logging.WARNING):
        assert choose.__wrapped__(()) == "cpu"
    (line,) = caplog.messages
    assert line.startswith("provider cuda is not used: ")
    assert re.search(WRONG[run], line), line


def test_a_provider_that_passes_its_test_is_used(fake: Any, tmp_path: Path) -> None:
    """Values of TF32's precision pass, and the test runs only once."""
    fake(f"open({str(tmp_path / 'runs')!r}, 'a').write('1'); return [right[0] * 1.001, right[1] * 0.999]")
    assert choose.__wrapped__(()) == "cuda"
    assert choose.__wrapped__(("cuda", "cpu")) == "cuda"
    assert (tmp_path / "runs").read_text() == "1"


def test_without_a_driver_no_test_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a GPU the test costs nothing."""
    monkeypatch.setattr(nvidia, "has_driver", lambda: False)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert choose.__wrapped__(()) == "cpu"


def test_the_cpu_passes_its_test() -> None:
    """The installed onnxruntime loads the graph, and its results are numpy's, in this process and in a separate one."""
    assert run_probe("cpu") == Probe(probe.find_problem("cpu")) == Probe("")


@pytest.mark.skipif("CUDAExecutionProvider" not in providers.onnxruntime().get_available_providers(), reason="no CUDA")
def test_cuda_without_its_libraries_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a driver but without CUDA, the provider is not used, and the log says so."""
    if nvidia.has_driver():
        pytest.skip("an NVIDIA driver is installed")
    monkeypatch.setattr(nvidia, "has_driver", lambda: True)
    assert not works("cuda", quiet=True)
    assert "provider cuda is not used: " in caplog.text
    assert run_probe("cuda").problem


def none_of(text: str) -> None:
    raise RuntimeError(text)


def test_a_plugin_computes_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is among the session's options; without one, and on another provider, the test fails."""
    monkeypatch.setattr(plugins, "installed", lambda: {"webgpu": plugins.PLUGINS["webgpu"]})
    monkeypatch.setattr(library, "long_name", lambda _: "WebGpuExecutionProvider")
    monkeypatch.setattr(library, "adapters", lambda _: [library.Adapter("llvmpipe", software=True)])

    monkeypatch.setattr(
        library, "add_device", lambda *_: none_of("the library of provider webgpu finds no device here")
    )
    assert probe.find_problem("webgpu") == "the library of provider webgpu finds no device here"
    text = "/onnxruntime/core/webgpu_context.cc:144 Failed to get a WebGPU adapter: No supported adapters."
    monkeypatch.setattr(library, "add_device", lambda *_: none_of(text))
    assert probe.find_problem("webgpu") == probe.NO_ADAPTER
    monkeypatch.setattr(library, "add_device", lambda *_: None)
    problem, adapters, software, wrong, _ = probe.run("webgpu")
    assert "CPU" in problem
    assert (adapters, software, wrong) == (("llvmpipe (software)",), True, ())


class FakeSession:
    """A session that computes attention `factor` times too large, or fails without a factor."""

    def __init__(self, factor: float | None) -> None:
        self._factor = factor

    def run(self, _: object, feeds: Any) -> list[Any]:
        assert feeds.keys() == probe.ATTENTION_SHAPES.keys()
        if self._factor is None:
            raise RuntimeError("device lost")
        return [probe.expected_attention() * self._factor]


@pytest.mark.parametrize("factor", [1.0, 1.1, None])
@pytest.mark.parametrize("name", ["webgpu", "tensorrt-rtx"])
def test_a_plugin_with_wrong_attention(monkeypatch: pytest.MonkeyPatch, name: str, factor: float | None) -> None:
    """It is used only if its nodes can run on the CPU."""
    monkeypatch.setattr(plugins, "installed", lambda: plugins.PLUGINS)
    monkeypatch.setattr(probe, "find_problem", lambda _: "")
    monkeypatch.setattr(library, "adapters", lambda _: [])
    monkeypatch.setattr(probe, "_open", lambda *_: FakeSession(factor))
    found = probe.run(name)
    assert found.wrong == (() if factor == 1 else (probe.ATTENTION,))
    refused = "it computes wrong values: MultiHeadAttention"
    assert found.problem == (refused if found.wrong and name == "tensorrt-rtx" else "")


def test_the_expected_attention_is_that_of_the_cpu() -> None:
    """Onnxruntime loads the graph and computes the same."""
    session = providers.onnxruntime().InferenceSession(probe.attention_graph(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["mixed"], probe.arrays(probe.ATTENTION_SHAPES))
    assert np.abs(found - probe.expected_attention()).max() < 1e-5


@pytest.mark.skipif(not openvino.is_installed(), reason="openvino is not installed")
def test_openvino_passes_its_test() -> None:
    """OpenVINO's own runtime computes the same graph correctly."""
    assert run_probe("openvino").problem == ""


def test_the_expected_convolution_is_correct() -> None:
    """One of its values equals the sum over its window."""
    _, convolved = probe.expected()
    x, w = (probe.arrays()[name].astype(np.float64) for name in "xw")
    assert convolved[0, 3, 5, 7] == pytest.approx((x[0, :, 5:8, 7:10] * w[3]).sum())


@pytest.mark.parametrize(
    ("installed", "lines"),
    [
        ({"onnxruntime-gpu": "1.31.1"}, 0),
        ({"onnxruntime": "1.32.0"}, 0),
        ({}, 0),
        ({"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}, 1),
        ({"onnxruntime": "1.32.0", "onnxruntime-directml": "1.24.4", "onnxruntime-gpu": "1.31.1"}, 1),
    ],
)
def test_two_builds_of_onnxruntime_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, installed: dict[str, str], lines: int
) -> None:
    """Distributions that overwrite each other are logged once, in one line, with the commands that repair it."""

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(providers, "version", version)
    providers.warn_of_conflicting_builds.cache_clear()
    for _ in range(2):
        choose.__wrapped__(("cpu",))
    providers.warn_of_conflicting_builds.cache_clear()
    found = [line for line in caplog.messages if "installed over each other" in line]
    assert len(found) == lines
    assert all(f"{name} {number}" in found[0] for name, number in installed.items() if lines)
    assert all("pip uninstall -y onnxruntime " in line for line in found)
