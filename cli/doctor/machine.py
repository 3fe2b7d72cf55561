"""Software, processors, memory and execution providers of this machine.

Memory is read from /proc and from control groups, versions 1 and 2; on systems without them only its size is known.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tintype.service.devices.inventory import find_devices, nvidia_smi
from tintype.service.models.runtime import nvidia, openvino, providers
from tintype.service.models.runtime.plugins import table, vulkan
from tintype.service.models.runtime.runtime import usable_cores

from ..settings.values import format_size
from .findings import Finding

CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
# Limits of control groups, versions 2 and 1. Version 1 writes a huge number for "no limit".
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
NO_LIMIT = 2**60
# Instruction sets that onnxruntime's kernels use, x86 and ARM.
INSTRUCTION_SETS = (
    *(
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_int8",
        "amx_bf16",
    ),
    *("asimd", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2"),
)


def software() -> list[Finding]:
    """Return the versions of Python, tintype and the packages that run graphs."""
    builds = {name: found for name in providers.BUILDS if (found := _version(name))}
    conflict = f"{' and '.join(builds)} are installed over each other; uninstall both, then install tintype again"
    openvino_version = _version("openvino") if openvino.is_installed() else ""
    return [
        Finding("python", platform.python_version(), f"{platform.python_version()}, {sys.executable}"),
        Finding("system", platform.platform()),
        Finding("tintype", _version("tintype")),
        Finding(
            "onnxruntime",
            builds,
            ", ".join(f"{name} {number}" for name, number in builds.items()) or "not installed",
            problem="" if builds else "onnxruntime is not installed; install tintype again",
            note=conflict if len(builds) > 1 else "",
        ),
        *([Finding("openvino", openvino_version)] if openvino_version else []),
    ]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def processors() -> list[Finding]:
    """Return the model, the cores that calls use, and the instruction sets that matter."""
    text = _read(CPUINFO)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    sets = [name for name in INSTRUCTION_SETS if flags and name in flags[1].split()]
    cores = usable_cores()
    return [
        Finding("processor", model[1] if model else platform.processor() or platform.machine()),
        Finding("cores", cores, f"{cores} for calls, of {os.cpu_count()} logical ones"),
        Finding("instructions", sets, " ".join(sets) or "unknown"),
    ]


def memory() -> list[Finding]:
    """Return the memory of the machine, what is available, and the limit of the container."""
    total, available, limit = total_memory(), available_memory(), memory_limit()
    return [
        Finding("memory", total, format_size(total) if total else "unknown"),
        Finding("available", available, format_size(available) if available else "unknown"),
        Finding("limit", limit, f"{format_size(limit)} in this container" if limit else "none"),
    ]


def total_memory() -> int:
    """Return the bytes of memory, 0 if unknown."""
    names = {"SC_PAGE_SIZE", "SC_PHYS_PAGES"}
    if not hasattr(os, "sysconf") or not names <= os.sysconf_names.keys():
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory() -> int:
    """Return the bytes that can be allocated without swapping, within the container's limit; 0 if unknown."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB$", _read(MEMINFO), re.MULTILINE)
    available = int(match[1]) * 1024 if match else 0
    limit = memory_limit()
    return min(available, limit) if limit and available else available


def memory_limit() -> int:
    """Return the bytes that the container may use, 0 without a limit."""
    numbers = (_read(path).strip() for path in MEMORY_LIMITS)
    limits = [int(number) for number in numbers if number.isdigit() and int(number) < NO_LIMIT]
    return min(limits, default=0)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def gpu() -> list[Finding]:
    """Return each NVIDIA GPU with its driver and memory, as `nvidia-smi` reports them."""
    if not nvidia.has_driver():
        return [Finding("gpu", None, "no NVIDIA driver"), *_vulkan()]
    rows = nvidia_smi("name", "memory.total", "memory.free", "driver_version")
    rows = [row for row in rows if row[1].isdigit() and row[2].isdigit()]
    if not rows:
        return [Finding("gpu", nvidia.describe_gpu() or None, nvidia.describe_gpu() or "a driver, but no GPU")]
    return [
        Finding(
            f"gpu {number}",
            {"name": name, "memory": int(total) * 2**20, "free": int(free) * 2**20, "driver": driver},
            f"{name}, {format_size(int(total) * 2**20)}, {format_size(int(free) * 2**20)} free, driver {driver}",
        )
        for number, (name, total, free, driver) in enumerate(rows)
    ]


def _vulkan() -> list[Finding]:
    """Return the memory of the adapter that WebGPU's plugin uses on Linux, if the plugin is installed."""
    found = vulkan.memory() if "webgpu" in table.installed() else None
    text = f"{format_size(found.total)}, {format_size(found.free)} free" if found else ""
    return [Finding("webgpu memory", {"memory": found.total, "free": found.free}, text)] if found else []


def devices(setting: str, wanted: tuple[str, ...]) -> list[Finding]:
    """Return the devices that the setting `devices` means for the `wanted` providers; none if it is not set."""
    if not setting:
        return []
    try:
        found = find_devices(setting, wanted)
    except ValueError as error:
        return [Finding("devices", None, setting, problem=str(error))]
    names = [str(device) for device in found]
    return [Finding("devices", names, ", ".join(names))]


def execution_providers(wanted: tuple[str, ...]) -> list[Finding]:
    """Return for each provider whether it computes correctly here, and which one is used for the `wanted` ones."""
    available = providers.available()
    missing = [name for name in providers.PROVIDERS if name not in available]
    return [
        *(finding for name in available for finding in _provider(name)),
        Finding("not installed", missing, ", ".join(missing)),
        _chosen(wanted),
    ]


def _provider(name: str) -> list[Finding]:
    """Return whether a provider computes correctly, and a plugin's adapters."""
    if name in providers.NVIDIA and not nvidia.has_driver():
        return [Finding(name, "no device", "no NVIDIA GPU or driver")]
    problem, adapters, software, wrong, _ = providers.run_probe(name)
    advice = f"no GPU; --provider {name} uses the processor, usually more slowly than the provider cpu"
    note = advice if software and not problem else ""
    wrong_here = f"{', '.join(wrong)}, whose nodes run on the CPU"
    return [
        Finding(name, problem or "works", f"does not work: {problem}" if problem else "works", note=note),
        *([Finding(f"{name} adapters", list(adapters), ", ".join(adapters))] if adapters else []),
        *([Finding(f"{name} computes wrongly", list(wrong), wrong_here)] if wrong and not problem else []),
    ]


def _chosen(wanted: tuple[str, ...]) -> Finding:
    try:
        return Finding("in use", providers.choose(wanted))
    except providers.ProviderUnavailable as error:
        return Finding("in use", None, "none", problem=str(error))
