"""What is read of the machine: memory and its limits, instruction sets, GPUs, providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.cli.doctor import machine
from tintype.service.models.runtime import nvidia, providers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tintype.cli.doctor.findings import Finding


def values(findings: Sequence[Finding]) -> dict[str, object]:
    return {finding.name: finding.value for finding in findings}


def test_available_memory_is_within_the_containers_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller one of free memory and the control group's limit counts; "max" and version 1's maximum are none."""
    meminfo, limit, older = (tmp_path / name for name in ("meminfo", "memory.max", "older"))
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", meminfo)
    monkeypatch.setattr(machine, "MEMORY_LIMITS", (limit, older))
    assert machine.available_memory() == 2**21
    limit.write_text("max\n")
    older.write_text("9223372036854771712\n")
    assert machine.memory_limit() == 0
    limit.write_text("1048576\n")
    assert (machine.memory_limit(), machine.available_memory()) == (2**20, 2**20)
    assert values(machine.memory())["limit"] == 2**20


def test_memory_may_be_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc nothing is claimed about available memory."""
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "MEMORY_LIMITS", ())
    assert machine.available_memory() == 0
    assert machine.memory()[1].text == "unknown"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f nx", ["avx2", "avx512f"]),
        ("Features\t: fp asimd asimddp i8mm", ["asimd", "asimddp", "i8mm"]),
    ],
)
def test_instruction_sets(line: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that kernels use are named, of x86 and ARM."""
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor : 0\nmodel name\t: A CPU\n{line}\n")
    monkeypatch.setattr(machine, "CPUINFO", path)
    found = values(machine.processors())
    assert (found["processor"], found["instructions"]) == ("A CPU", expected)


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each GPU that nvidia-smi lists has its memory in bytes; lines of another form are left out."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 143000, 580.1'\necho 'No devices were found'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(nvidia, "has_driver", lambda: True)
    expected = {"name": "NVIDIA H200", "memory": 143771 * 2**20, "free": 143000 * 2**20, "driver": "580.1"}
    assert values(machine.gpu()) == {"gpu 0": expected}
    monkeypatch.setattr(nvidia, "has_driver", lambda: False)
    assert values(machine.gpu()) == {"gpu": None}


def test_providers_that_do_not_work_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider's problem is its test's; a wish that can't be fulfilled is a problem."""
    wrong = providers.Probe("it computes wrong values")
    monkeypatch.setattr(providers, "run_probe", lambda name: providers.Probe("") if name == "cpu" else wrong)
    monkeypatch.setattr(providers, "available", lambda: ["directml", "cpu"])
    found = machine.execution_providers(())
    assert values(found)["directml"] == "it computes wrong values"
    assert (values(found)["cpu"], values(found)["in use"]) == ("works", "cpu")
    assert "cuda" in str(values(found)["not installed"])
    (problem,) = [finding.problem for finding in machine.execution_providers(("rocm",)) if finding.problem]
    assert "provider 'rocm' is not in this onnxruntime" in problem


def test_adapters_of_plugins_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapters that a plugin may compute on have a line; software ones are advised against."""
    results = {
        "webgpu": providers.Probe("", ("llvmpipe (software)",), software=True),
        "tensorrt-rtx": providers.Probe("", ("NVIDIA GPU 0x2684",)),
    }
    monkeypatch.setattr(providers, "run_probe", lambda name: results.get(name, providers.Probe("")))
    monkeypatch.setattr(providers, "available", lambda: [*results, "cpu"])
    found = machine.execution_providers(("cpu",))
    assert values(found)["webgpu"] == values(found)["tensorrt-rtx"] == "works"
    assert values(found)["webgpu adapters"] == ["llvmpipe (software)"]
    assert values(found)["tensorrt-rtx adapters"] == ["NVIDIA GPU 0x2684"]
    assert [finding.name for finding in found if finding.note] == ["webgpu"]


def test_builds_over_each_other_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions of onnxruntime overwrite each other's files."""
    versions = {"onnxruntime": "1.31", "onnxruntime-gpu": "1.31", "tintype": "1"}
    monkeypatch.setattr(machine, "_version", lambda name: versions.get(name, ""))
    (note,) = [finding.note for finding in machine.software() if finding.note]
    assert note.startswith("onnxruntime and onnxruntime-gpu are installed over each other")
    monkeypatch.setattr(machine, "_version", lambda _: "")
    assert [finding.problem for finding in machine.software() if finding.problem] == [
        "onnxruntime is not installed; install tintype again"
    ]


def test_devices() -> None:
    """The devices that a setting means are listed; a setting that can't be met is a problem."""
    assert machine.devices("", ()) == []
    (found,) = machine.devices("2", ("cpu",))
    assert isinstance(found.value, list)
    assert [str(each).partition(" ")[0] for each in found.value] == ["0", "1"]
    (found,) = machine.devices("2", ("webgpu",))
    assert "webgpu chooses its device itself" in found.problem
