"""NVIDIA's libraries are brought in before the first session that needs them, and only then."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import nvidia, probe, providers
from tintype.service.models.runtime.ort import OrtGraph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return what was loaded, in a process that loads nothing."""
    names: list[str] = []
    monkeypatch.setattr(nvidia, "CUDA", "tintype")
    for load in (nvidia.load_cuda, nvidia.load_tensorrt):
        load.cache_clear()
    monkeypatch.setattr(providers.onnxruntime(), "preload_dlls", lambda: names.append("cuda"))
    yield names
    for load in (nvidia.load_cuda, nvidia.load_tensorrt):
        load.cache_clear()


def test_cuda_is_loaded_once_before_it_is_tried(loaded: list[str]) -> None:
    """What the extra `cuda` installs is in the process when onnxruntime asks for it: no loader would find it."""
    if nvidia.has_driver():
        pytest.skip("there is an NVIDIA driver here")
    assert probe.problem("cuda")
    assert loaded == ["cuda"]
    probe.problem("cuda")
    assert loaded == ["cuda"]


def test_graphs_bring_it_in_as_well(loaded: list[str]) -> None:
    """A session is made ready for, whether or not somebody asked what works; on a CPU there is nothing to load."""
    OrtGraph(BUILTIN / "vae_decoder/model.onnx", "cpu", 1)
    assert loaded == []
    providers.make_ready("tensorrt")
    assert loaded == ["cuda"]


def test_tensorrts_package_is_imported(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Being imported it loads its libraries; one that can't be says why, and CUDA was there before."""
    (tmp_path / "libs_of_tensorrt.py").write_text("raise OSError('no libnvinfer')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(nvidia, "TENSORRT", "libs_of_tensorrt")
    with caplog.at_level(logging.WARNING):
        nvidia.load_tensorrt()
    assert loaded == ["cuda"]
    assert "libs_of_tensorrt can't be imported: no libnvinfer" in caplog.text


def test_what_onnxruntime_misses_is_not_among_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints; a command's output is for its results."""
    nvidia.load_cuda.cache_clear()
    monkeypatch.setattr(nvidia, "CUDA", "tintype")
    monkeypatch.setattr(providers.onnxruntime(), "preload_dlls", lambda: sys.stdout.write("no libcublas.so.13"))
    nvidia.load_cuda()
    nvidia.load_cuda.cache_clear()
    out, err = capsys.readouterr()
    assert (out, bool(re.search("libcublas", err))) == ("", True)


def test_without_the_packages_nothing_is_looked_for(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU whose owner installed no CUDA is passed over without a word."""
    monkeypatch.setattr(nvidia, "CUDA", "no_such_package")
    nvidia.load_cuda()
    assert loaded == []
