"""The benchmark for devices, with tiny sizes on a CPU; tests/device runs it on a device."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gpu
import numpy as np
import pytest
from gpu_sections import agreement, random_models, records, sections, shapes
from gpu_sections.context import Context
from gpu_sections.random_models import RandomGraph, random_graph
from gpu_sections.records import Records
from gpu_sections.turns import Turns, Way

from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.residency.catalogue import BUILTIN

BENCH = Path(__file__).parents[2] / "bench"


def run_section(name: str, folder: Path, **settings: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Run a section here, on a CPU; return its records by subject and way."""
    common = {"deadline": time.perf_counter() + 300, "quick": True, "rounds": 1, "size": 64, "steps": 2}
    results = Records(folder / "results.jsonl")
    models = (BUILTIN,)
    sections.run(name, Context(name, results, "cpu", models, folder, **(common | settings)))
    return {(each["subject"], each["way"]): each for each in records.read(results.path)}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_section_is_a_process_and_its_results_are_in_a_table(tmp_path: Path) -> None:
    """Results are JSON lines and a table."""
    results = tmp_path / "results.jsonl"
    command = [sys.executable, str(BENCH / "gpu.py"), "--provider", "cpu", "--quick", "--json", str(results)]
    command += ["--sections", "machine", "--budget", "250"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    found = {(each["section"], each["subject"], each["way"]): each for each in written}
    assert found["machine", "provider", "cpu"]["works"] is True
    assert "numpy" in found["machine", "versions", ""]["note"]
    assert "| machine | provider | cpu | computes correctly |" in done.stdout


def test_sections_without_time_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a spent budget no process starts, and each section and architecture is named as not run."""
    results = tmp_path / "results.jsonl"
    assert gpu.main(["--provider", "cpu", "--budget", "0", "--json", str(results)]) == 0
    written = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    assert {each["section"] for each in written} == set(sections.SECTIONS)
    assert [each["subject"] for each in written if each["section"] == "denoisers"] == list(sections.ARCHITECTURES)
    assert all("not run" in each["problem"] for each in written)
    assert capsys.readouterr().out.count("| not run") == len(written)


def test_a_provider_that_does_not_work_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 1 and the other sections are not run, with the reason."""
    results = tmp_path / "results.jsonl"

    def run_child(*_: object) -> str:
        Records(results).add("machine", "provider", "cuda", works=False)
        return ""

    monkeypatch.setattr(gpu, "run_child", run_child)
    assert gpu.main(["--json", str(results)]) == 1
    written = [json.loads(line) for line in results.read_text("utf-8").splitlines()][1:]
    assert all(each["problem"] == "not run: provider cuda does not work here" for each in written)
    assert len(written) >= len(sections.SECTIONS) - 1


@pytest.mark.slow
def test_a_crash_or_a_hang_ends_one_section(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the signal or the exit code, with the last line of the section; a hang is stopped."""
    monkeypatch.setattr(gpu, "GRACE", 0.0)
    crash = "import os, sys; print('driver: lost', file=sys.stderr, flush=True); os.abort()"
    assert gpu.run_child([sys.executable, "-c", crash], 60) == "its process ended with SIGABRT: driver: lost"
    assert gpu.run_child([sys.executable, "-c", "raise SystemExit(3)"], 60) == "its process ended with code 3"
    assert gpu.run_child([sys.executable, "-c", "pass"], 60) == ""
    hang = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    began = time.perf_counter()
    assert gpu.run_child([sys.executable, "-c", hang], 0.5).startswith("stopped after")
    assert time.perf_counter() - began < 50


@pytest.mark.slow
def test_graphs_are_compared_with_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random graph agrees with itself; a difference beyond the limit is a problem."""
    monkeypatch.setattr(agreement, "LIMIT", -1.0)
    monkeypatch.setattr(agreement, "BUILTIN_GRAPHS", ("text_encoder",))  # the smallest
    found = {subject: each for (subject, _), each in run_section("agreement", tmp_path).items()}
    assert found["random taesd-decoder, float16"]["agrees"] is True
    assert found["built-in text_encoder"]["agrees"] is False
    assert "beyond the limit" in found["built-in text_encoder"]["problem"]
    assert all(each["difference"] == 0 for each in found.values())


@pytest.mark.slow
def test_ways_take_turns_over_the_same_arrays(tmp_path: Path) -> None:
    """A denoiser call is measured in each way; the results are equal but for rounding."""
    found = run_section("calls", tmp_path)
    assert [way for _, way in found] == ["run", "fixed"]
    assert all(each["difference"] < 1e-4 and each["ms"] > 0 for each in found.values())
    assert found["builtin, 64x64, rows 2", "run"]["ratio"] == 1


@pytest.mark.slow
def test_the_price_of_another_shape_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way has the time of a call after a change of shape, and its difference from steady calls."""

    class SmallGraph:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> RandomGraph:
            return random_graph(Context("shapes", Records(tmp_path / "x"), "cpu", (), tmp_path, 0), "taesd-decoder")

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(shapes, "DenoiserInputs", SmallGraph)
    monkeypatch.setattr(RandomGraph, "of_call", lambda graph, rows, _: graph.call(rows, 2), raising=False)
    ((key, result),) = run_section("shapes", tmp_path).items()
    assert key == ("builtin, 64x64", "plain")
    assert result["ms"] > result["change_ms"]


@pytest.mark.slow
def test_a_random_architecture_is_measured(tmp_path: Path) -> None:
    """A template gets random weights; torch's ways need torch and a UNet; too little memory is a reason not to run."""
    found = run_section("denoisers", tmp_path, architecture="taesd-decoder", torch=False)
    assert [way for _, way in found] == ["torch", "run", "fixed"]
    assert next(iter(found.values()))["problem"] == "not run: without torch"
    assert all(each["difference"] < 1e-4 for (_, way), each in found.items() if way != "torch")
    found = run_section("denoisers", tmp_path, architecture="taesd-decoder", memory=1)
    assert "GiB are free" in found["taesd-decoder", ""]["problem"]


@pytest.mark.slow
def test_images_are_measured(tmp_path: Path) -> None:
    """Whole images have a rate, the share of the denoiser's calls, and the times of text encoders and the VAE."""
    found = run_section("images", tmp_path)
    batch = found["builtin, 64x64, 2 steps", "batch 2"]
    assert 0 < batch["in_calls"] < 1
    assert batch["per_second"] > 0 < batch["decoder_ms"]
    assert found["builtin, 64x64, 2 steps", "memory"]["process_mib"] > 50


def test_a_way_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its reason is recorded; a way that is too slow for the time left is not opened; calls that differ are noted."""
    results = Records(tmp_path / "results.jsonl")
    context = Context("calls", results, "cpu", (), tmp_path, time.perf_counter() + 60, rounds=2)
    draw = np.random.default_rng(0)
    ways = [
        Way("one", lambda: lambda feeds: feeds["x"]),
        Way("broken", lambda: lambda feeds: feeds["missing"]),
        Way("slow", lambda: pytest.fail("must not be opened"), 1e6),
        Way("other", lambda: lambda _: np.full(3, 1.5)),
        Way("random", lambda: lambda _: draw.standard_normal(3)),
    ]
    for together in (True, False):
        Turns(context, str(together), {"x": np.ones(3)}, together=together).compare(ways)
        found = {each["way"]: each for each in records.read(results.path) if each["subject"] == str(together)}
        assert found["broken"]["problem"] == "KeyError: 'missing'"
        assert found["slow"]["problem"].startswith("not run")
        assert found["other"]["difference"] == 0.5
        assert found["random"]["note"] == "repeated calls differ"
        assert found["one"]["ratio"] == 1


def test_the_latest_record_is_shown(tmp_path: Path) -> None:
    """A way that is measured again replaces its line; figures are formatted with their units."""
    results = Records(tmp_path / "results.jsonl")
    for milliseconds in (3.0, 2.0):
        results.add("calls", "model", "run", ms=milliseconds, difference=0.5, note="a|b")
    table = records.table(records.read(results.path)).splitlines()
    assert table[2:] == ["| calls | model | run | 2.000 ms, difference 5.0e-01, a/b |"]


@pytest.mark.parametrize(("memory", "free"), [(0, None), (6, 6 * 2**30)])
def test_free_memory_may_be_given(memory: int, free: int | None, tmp_path: Path) -> None:
    """`--memory` replaces what the device or the system says."""
    context = Context("calls", Records(tmp_path), "cpu", (), tmp_path, 0, memory=memory * 2**30)
    assert context.free == free if free else context.free > 2**20


def test_a_random_pipeline_can_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline's folder has the layout, the configurations and the tokenizers that a model's reader requires."""

    def write_zeros(file: Any, _: bytes, size: int) -> None:
        file.truncate(file.tell() + size)  # sparse
        file.seek(0, 2)

    monkeypatch.setattr(random_models, "_write_repeated", write_zeros)
    context = Context("images", Records(tmp_path), "cuda", (), tmp_path, 0)
    assert read_manifest(random_models.write_pipeline(context, "sdxl")).spec.name == "sdxl"
