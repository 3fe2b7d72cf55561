"""Runs one measurement in a fresh process, and samples its memory (Linux)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .environments import ROOT

if TYPE_CHECKING:
    from .task import Task

SAMPLING = 0.03  # seconds
STAGES = ("import", "load", "first", "callers")
KIBIBYTE, MEGABYTE = 1024, 1e6


class Failed(Exception):
    """A side could not do its task; the text is the end of its output."""


class MemorySampler:
    """Samples a process's resident and anonymous memory until it ends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[tuple[float, int, int]] = []
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def peaks(self, until: float) -> dict[str, float]:
        """Return the peaks in MB up to a time of the monotonic clock."""
        self._thread.join()
        found = [sample for sample in self._samples if sample[0] <= until] or [(0.0, 0, 0)]
        resident, anonymous = (max(sample[place] for sample in found) for place in (1, 2))
        return {"resident": resident * KIBIBYTE / MEGABYTE, "anonymous": anonymous * KIBIBYTE / MEGABYTE}

    def _sample(self) -> None:
        while True:
            try:
                lines = Path(f"/proc/{self._pid}/status").read_text("ascii").splitlines()
            except OSError:
                return
            fields = dict(line.split(":", 1) for line in lines)
            if "RssAnon" not in fields:  # the process has ended, and is waited for
                return
            resident, anonymous = (int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon"))
            self._samples.append((time.monotonic(), resident, anonymous))
            time.sleep(SAMPLING)


def run_side(side: str, python: str, task: Task, *, limit: float) -> tuple[dict[str, Any], Any]:
    """Return the figures of a side in a process of its own, and its first image. Raises Failed."""
    with tempfile.TemporaryDirectory() as folder:
        result, image, log = (Path(folder, name) for name in ("result.json", "image.npy", "log"))
        command = [python, "-m", "libraries.child", side, task.to_json(), str(result), str(image)]
        began = time.monotonic()
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=_environ(task))  # noqa: S603 - our own
        sampler = MemorySampler(process.pid)
        status, usage = _wait(process, limit)
        seconds = time.monotonic() - began
        if status:
            raise Failed(f"exit code {status} after {seconds:.0f} s: {log.read_text('utf-8', 'replace')[-1500:]}")
        found = json.loads(result.read_text("utf-8"))
        return _summary(found, began, sampler, usage), np.load(image)


def _wait(process: subprocess.Popen[bytes], limit: float) -> tuple[int, Any]:
    timer = threading.Timer(limit, process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def _summary(found: dict[str, Any], began: float, sampler: MemorySampler, usage: Any) -> dict[str, Any]:
    """Return the figures by name; times in seconds, memory in MB, callers in images per second."""
    ends = found["ends"]
    warm = [values for name, values in found.items() if name.startswith("warm")]
    single = sampler.peaks(max(end for name, end in ends.items() if name != "callers"))
    return {
        "import": found["import"],
        "load": found["load"],
        "first": found["first"],
        "start to first image": ends["first"] - began,
        "warm": warm,
        "callers": found["callers"],
        "loaded memory": sampler.peaks(ends["load"]),
        "memory": single,
        "memory with callers": sampler.peaks(ends["callers"]),
        "cpu": usage.ru_utime + usage.ru_stime,
    }


def _environ(task: Task) -> dict[str, str]:
    """Return the environment: the namespace of this checkout, offline, and one number of threads."""
    paths = [str(ROOT / "bench"), str(ROOT / "build" / "namespace")]
    threads = {name: str(task.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(Path(task.cache, "inductor"))}
    return {**os.environ, **threads, **offline, **caches, "PYTHONPATH": os.pathsep.join(paths)}
