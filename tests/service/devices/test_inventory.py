"""Devices of a machine: which ones a setting means, and what limits a process to one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.service.devices import inventory
from tintype.service.devices.choice import parse_choice
from tintype.service.devices.inventory import CUDA, HIP, DeviceError, Gpu, find_devices, nvidia_gpus, visible

if TYPE_CHECKING:
    from pathlib import Path

GPUS = [Gpu(f"GPU-{number}", "NVIDIA Test", 8 * 2**30) for number in range(3)]


def shown(text: str, value: str | None = None, variable: str = CUDA) -> list[str]:
    """Return the value of the variable for each device."""
    found = visible(parse_choice(text), variable, value, GPUS if variable == CUDA else ())
    return [device.environ[variable] for device in found]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("all", None, ["GPU-0", "GPU-1", "GPU-2"]),
        ("2", None, ["GPU-0", "GPU-1"]),
        ("0,2", None, ["GPU-0", "GPU-2"]),
        ("GPU-2", None, ["GPU-2"]),
        ("all", "2,0", ["2", "0"]),
        ("1,", "2,0", ["0"]),
    ],
)
def test_gpus(text: str, value: str | None, expected: list[str]) -> None:
    """Each process sees one GPU; numbers count the GPUs that the environment shows."""
    assert shown(text, value) == expected


def test_amd() -> None:
    """GPUs of AMD are named by the variable of their runtime, and are not listed."""
    assert shown("0,1", variable=HIP) == ["0", "1"]
    with pytest.raises(DeviceError, match=r"--devices all finds no device; name them, for example 0,1"):
        shown("all", variable=HIP)


def test_missing_gpus() -> None:
    """A number that is too large is an error that says how many there are."""
    with pytest.raises(DeviceError, match=r"--devices names device 3, but there are 3, numbered from 0"):
        shown("0,3")


@pytest.mark.parametrize("text", ["all", "2", "0,1"])
def test_hidden_gpus(text: str) -> None:
    """An empty variable hides all GPUs: none is used against it."""
    with pytest.raises(DeviceError, match=r"no device, because CUDA_VISIBLE_DEVICES is empty"):
        shown(text, "")


def test_shares_are_numbered() -> None:
    """A word is not a share of the CPU: it may be a mistyped `all`."""
    with pytest.raises(DeviceError, match="numbers for a CPU; got 'two'"):
        find_devices("two", ("cpu",))


def test_description() -> None:
    """A GPU has its name and memory."""
    (device,) = visible(parse_choice("1,"), CUDA, None, GPUS)
    assert (str(device), device.memory) == ("1 (NVIDIA Test)", 8 * 2**30)


def test_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each GPU that nvidia-smi lists has its id and its memory in bytes; without the program there is none."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU-5b, NVIDIA H200, 143771'\necho 'No devices were found'\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert nvidia_gpus() == []
    program.chmod(0o755)
    assert nvidia_gpus() == [Gpu("GPU-5b", "NVIDIA H200", 143771 * 2**20)]


def test_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first provider decides; without one, NVIDIA's GPUs or the CPU. Others have no way to name a device."""
    monkeypatch.setattr(inventory, "nvidia_gpus", list)
    for providers in ((), ("cpu",), ("openvino", "cpu")):
        devices = find_devices("2", providers)
        assert [device.name for device in devices] == ["0", "1"]
        assert all(device.share and not device.environ for device in devices)
    monkeypatch.setattr(inventory, "nvidia_gpus", lambda: GPUS)
    monkeypatch.delenv(CUDA, raising=False)
    assert [dict(each.environ)[CUDA] for each in find_devices("all", ())] == ["GPU-0", "GPU-1", "GPU-2"]
    with pytest.raises(DeviceError, match=r"--devices works with the providers cuda, .*; webgpu chooses its device"):
        find_devices("2", ("webgpu",))
