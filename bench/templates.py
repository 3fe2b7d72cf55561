"""Compare loading a published UNet through a template with diffusers: time and memory from file to the first call.

    .venv-export/bin/python bench/templates.py WORK [--rounds 3] [--side 32] [--sides point spill ...]

WORK gets Stable Diffusion 1.5's UNet with random weights, once, in float32 (3.4 GB) and in float16 (1.7 GB). Each side
loads it in a fresh process and calls it once with one thread, in turns with the others. The first round is not counted:
it reads the files into the page cache. The sides:

- point: float32 weights, read where they lie
- spill: float16 weights, written as float32 to a file that is deleted
- mapped: float32 weights that stay in the mapped file
- int8: float32 weights, with linear layers in blocks of 8 bits, converted in the first round and kept
- diffusers: `UNet2DConditionModel.from_pretrained` of the float32 weights

The output has medians of the rounds, and the relative RMS difference from diffusers. "Anonymous" memory is what the
process has for itself, without pages of files, which the system takes back when it needs memory; it is sampled 50 times
a second. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ratios import ratio_and_range

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
FILE = "diffusion_pytorch_model.safetensors"
FORMATS = {"F32": np.float32, "F16": np.float16}
STORED = {"spill": "F16"}  # of the other sides: F32
MEGABYTE = 2**20


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of the UNet's weights, from its template."""
    from tintype.service.models.templates import catalogue  # noqa: PLC0415 - only the parent needs it
    from tintype.service.models.templates.archive import Variant  # noqa: PLC0415
    from tintype.service.models.templates.layout import external_weights  # noqa: PLC0415
    from tintype.service.models.templates.onnx_pb2 import ModelProto  # noqa: PLC0415

    model = ModelProto.FromString(catalogue.find("unet", CONFIG).read(Variant()))
    return {name: tuple(tensor.dims) for name, tensor in external_weights(model.graph).items()}


def write(folder: Path, dtype: str) -> None:
    """Write random weights that keep activations near 1, one tensor at a time, and the configuration."""
    if (folder / "config.json").exists():
        return
    folder.mkdir(parents=True)
    header, at = {}, 0
    for name, shape in shapes().items():
        end = at + int(np.prod(shape)) * np.dtype(FORMATS[dtype]).itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(0)
    with (folder / FILE).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes().items():
            numbers = generator.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[1:]), dtype=np.float32)
            if len(shape) == 1:
                numbers = np.full(shape, "norm" in name and name.endswith("weight"), np.float32)
            file.write(numbers.astype(FORMATS[dtype]).tobytes())
    (folder / "config.json").write_text(json.dumps(CONFIG))


def inputs(side: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return inputs for one row of latents `side` x `side`."""
    generator = np.random.default_rng(0)
    return {
        "sample": generator.standard_normal((1, 4, side, side), np.float32),
        "timestep": np.full(1, 500, np.float32),
        "encoder_hidden_states": generator.standard_normal((1, 77, 768), np.float32),
    }


def load_tintype(name: str, work: Path) -> Callable[[int], Any]:
    """Return a function that calls the UNet, loaded through its template."""
    from tintype.service.models.loading_options import LoadingOptions, Precision  # noqa: PLC0415 - part of the start
    from tintype.service.models.runtime.ort import OrtGraph  # noqa: PLC0415
    from tintype.service.models.runtime.provider_options import ProviderOptions  # noqa: PLC0415
    from tintype.service.models.templates.filling import fill_component  # noqa: PLC0415
    from tintype.service.models.weights.pieces import ComponentWeights  # noqa: PLC0415

    precision, mapped = Precision.INT8 if name == "int8" else Precision.AUTO, name == "mapped"
    options = LoadingOptions(precision=precision, mapped=mapped, cache=work / "cache")
    weights = ComponentWeights((work / STORED.get(name, "F32") / FILE,))
    source = fill_component("unet", "unet", CONFIG, weights, options, adapters=False)
    graph = OrtGraph(source, "cpu", 1, options=ProviderOptions(mapped=mapped))
    return lambda side: graph.run(["out_sample"], inputs(side))[0]


def load_diffusers(_: str, work: Path) -> Callable[[int], Any]:
    """Return a function that calls the UNet of diffusers."""
    import torch  # noqa: PLC0415
    from diffusers import UNet2DConditionModel  # noqa: PLC0415

    torch.set_num_threads(1)
    unet = UNet2DConditionModel.from_pretrained(work / "F32").eval()

    def call(side: int) -> Any:
        with torch.no_grad():
            return unet(*map(torch.from_numpy, inputs(side).values())).sample.numpy()

    return call


SIDES = {
    "point": load_tintype,
    "spill": load_tintype,
    "mapped": load_tintype,
    "int8": load_tintype,
    "diffusers": load_diffusers,
}


class Peak(threading.Thread):
    """Samples the anonymous memory of this process; `largest` is in MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest = 0.0

    def run(self) -> None:
        """Sample until the process ends."""
        while True:
            self.largest = max(self.largest, anonymous())
            time.sleep(0.02)


def anonymous() -> float:
    """Return the anonymous memory of this process now, in MiB."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def child(name: str, work: Path, side: int) -> None:
    """Load, print "ready", call once, print "called" and the measurements."""
    peak = Peak()
    peak.start()
    call = SIDES[name](name, work)
    loading = {"loading": usage().ru_maxrss / 1024, "anonymous": peak.largest}
    print("ready", flush=True)
    result = call(side)
    print("called", flush=True)
    cpu = usage().ru_utime + usage().ru_stime
    np.save(work / f"{name}.npy", result)
    print(json.dumps({**loading, "peak": usage().ru_maxrss / 1024, "cpu": cpu}))


def usage() -> resource.struct_rusage:
    """Return what this process has used until now."""
    return resource.getrusage(resource.RUSAGE_SELF)


def measure(name: str, work: Path, side: int) -> dict[str, float]:
    """Run one side in its own process; return seconds and MiB."""
    start = time.perf_counter()
    command = [sys.executable, __file__, str(work), "--child", name, "--side", str(side)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        times = {}
        for word in ("ready", "called"):
            if process.stdout.readline() != f"{word}\n":
                raise SystemExit(f"{name} failed")
            times[word] = time.perf_counter() - start
        return {**times, **json.loads(process.stdout.readline())}


def report(runs: dict[str, list[dict[str, float]]], work: Path) -> None:
    """Print a table of all sides."""
    weights = sum(int(np.prod(shape)) for shape in shapes().values()) * 4 / MEGABYTE
    print(f"\nweights as float32: {weights:.0f} MiB\n")
    print("| | loading, peak, MiB | of the weights | of it anonymous | peak with a call | first result, s |", end="")
    print(" CPU seconds | time / diffusers | CPU / diffusers | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    wanted = np.load(work / "diffusers.npy") if "diffusers" in runs else None
    for name, rounds in runs.items():
        middle = {key: statistics.median(run[key] for run in rounds) for key in rounds[0]}
        cells = [f"{middle['loading']:.0f}", f"{middle['loading'] / weights:.2f}", f"{middle['anonymous']:.0f}"]
        cells += [f"{middle['peak']:.0f}", f"{middle['called']:.1f}", f"{middle['cpu']:.1f}"]
        if wanted is not None:
            for key in ("called", "cpu"):
                cells += [ratio_and_range((run[key] for run in rounds), (run[key] for run in runs["diffusers"]))]
            cells += [f"{np.linalg.norm(np.load(work / f'{name}.npy') - wanted) / np.linalg.norm(wanted):.1e}"]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Compare all sides; `--child` runs one of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=32, help="of the latents")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.work, arguments.side)
        return
    for dtype in FORMATS:
        write(arguments.work / dtype, dtype)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.sides}
    for number in range(arguments.rounds + 1):
        for name in runs:
            run = measure(name, arguments.work, arguments.side)
            print(name, run, flush=True)
            runs[name] += [run] if number else []
    report(runs, arguments.work)


if __name__ == "__main__":
    main()
