"""The devices of this machine, and how a process is limited to one of them.

- GPUs of NVIDIA and AMD: a variable of their driver's runtime names the only device that a process sees.
- CPUs: shares of the cores, by affinity where the system has it, and by the number of threads.
- Other providers choose their device themselves, without a way to name another one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .choice import Choice, parse_choice
from .cpu_shares import Share, shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CUDA = "CUDA_VISIBLE_DEVICES"
HIP = "HIP_VISIBLE_DEVICES"
VARIABLES = {"cuda": CUDA, "tensorrt": CUDA, "tensorrt-rtx": CUDA, "migraphx": HIP}
"""Providers by the variable that names the devices that a process sees."""
SHARED = ("cpu", "openvino")
"""Providers whose devices are shares of the CPU."""


class DeviceError(ValueError):
    """The setting `devices` can't be met on this machine."""


class Gpu(NamedTuple):
    """An NVIDIA GPU; memory is bytes."""

    uuid: str
    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device, and what limits a process to it: variables of its environment, or a share of the CPU.

    `memory` is its memory in bytes, 0 if unknown.
    """

    name: str
    environ: Mapping[str, str] = field(default_factory=dict)
    share: Share | None = None
    description: str = ""
    memory: int = 0

    def __str__(self) -> str:
        """Return the name with its description."""
        return f"{self.name} ({self.description})" if self.description else self.name


def find_devices(setting: str, providers: Sequence[str]) -> list[DeviceSpec]:
    """Return the devices that the setting `devices` means for these providers; without any, NVIDIA's GPUs or the CPU.

    Raises DeviceError.
    """
    choice = parse_choice(setting)
    gpus = nvidia_gpus() if not providers or VARIABLES.get(providers[0]) == CUDA else []
    provider = providers[0] if providers else "cuda" if gpus else "cpu"
    if provider in SHARED:
        return _shares(choice)
    if provider not in VARIABLES:
        known = ", ".join((*VARIABLES, *SHARED))
        raise DeviceError(f"--devices works with the providers {known}; {provider} chooses its device itself")
    return visible(choice, VARIABLES[provider], os.environ.get(VARIABLES[provider]), gpus)


def visible(choice: Choice, variable: str, value: str | None, gpus: Sequence[Gpu] = ()) -> list[DeviceSpec]:
    """Return the chosen devices of those that `variable` shows; `value` is its present value.

    Numbers count the visible devices, from 0. Raises DeviceError.
    """
    seen = [gpu.uuid for gpu in gpus] if value is None else [name.strip() for name in value.split(",") if name.strip()]
    if value is not None and not seen:
        raise DeviceError(f"--devices finds no device, because {variable} is empty; unset it, or name devices in it")
    if choice.is_all and not seen:
        raise DeviceError(f"--devices all finds no device; name them, for example 0,1 (they go into {variable})")
    names = choice.names or [str(number) for number in range(choice.count or len(seen))]
    return [_visible(name, variable, seen, gpus) for name in names]


def _visible(name: str, variable: str, seen: Sequence[str], gpus: Sequence[Gpu]) -> DeviceSpec:
    shown = name
    if name.isdigit() and seen:
        if int(name) >= len(seen):
            raise DeviceError(f"--devices names device {name}, but there are {len(seen)}, numbered from 0")
        shown = seen[int(name)]
    gpu = next((gpu for number, gpu in enumerate(gpus) if shown in (gpu.uuid, str(number))), None)
    environ = {variable: shown, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if variable == CUDA else {variable: shown}
    return DeviceSpec(name, environ, description=gpu.name if gpu else "", memory=gpu.memory if gpu else 0)


def _shares(choice: Choice) -> list[DeviceSpec]:
    wrong = [name for name in choice.names if not name.isdigit()]
    if wrong:
        raise DeviceError(f"--devices must be a number of shares, all, or numbers for a CPU; got {wrong[0]!r}")
    parts = shares(len(choice.names) or choice.count)
    names = choice.names or [str(number) for number in range(len(parts))]
    return [
        DeviceSpec(name, share=share, description=f"{share.threads} of the CPU's cores")
        for name, share in zip(names, parts, strict=True)
    ]


def nvidia_gpus() -> list[Gpu]:
    """Return NVIDIA's GPUs in the order of their buses, as `nvidia-smi` lists them; none without that program."""
    rows = nvidia_smi("uuid", "name", "memory.total")
    return [Gpu(row[0], row[1], int(row[2]) * 2**20) for row in rows if row[2].isdigit()]


def nvidia_smi(*columns: str) -> list[list[str]]:
    """Return a row of these columns for each GPU that `nvidia-smi` lists; none without that program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = (program, f"--query-gpu={','.join(columns)}", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return [row for row in rows if len(row) == len(columns)]
