"""Measure time and memory from a published single file on disk to the first image, in tintype and in diffusers.

    python bench/single_file.py sd1|sdxl WORK [--dtype F32|F16] [--size 512] [--steps 1] [--rounds 2] [--load]

The file has the names, shapes and size of a published one and random numbers; it is written to WORK once and kept. Each
measurement is a new process: `tintype generate --model FILE`, and diffusers' `from_single_file` and one call of the
pipeline, both with the same size, steps and two rows of guidance, alternately. With `--load` no image is generated:
each process ends once the model is loaded. The operating system reports a process's
peak resident memory, which includes pages of mapped files; its peak of anonymous memory is sampled. The page cache is
warm. Run it in a clone, with the extra `export`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the names of tensors, which the tests also use

DTYPES = {"F32": np.float32, "F16": np.float16}
PIPELINES = {"sd1": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
PROMPT = "a lake"
GIGABYTE = 2**30

DIFFUSERS = """
import sys, torch, diffusers
file, config, kind, size, steps, out = sys.argv[1:]
extra = {"safety_checker": None, "feature_extractor": None} if kind == "StableDiffusionPipeline" else {}
pipeline = getattr(diffusers, kind).from_single_file(
    file, config=config, local_files_only=True, torch_dtype=torch.float32, **extra)
if steps == "0":
    raise SystemExit
with torch.no_grad():
    pipeline(PROMPT, num_inference_steps=int(steps), width=int(size), height=int(size), guidance_scale=7.5,
             generator=torch.Generator().manual_seed(0)).images[0].save(out)
""".replace("PROMPT", repr(PROMPT))


LOAD = """
import sys, pathlib
from tintype.service.models import Repository
from tintype.service.models.loading_options import LoadingOptions
from tintype.service.models.runtime.provider_options import ProviderOptions
file, cache, mapped = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:] == ["--mapped"]
loading, options = LoadingOptions(cache=cache, mapped=mapped), ProviderOptions(mapped=mapped)
with Repository([pathlib.Path(file)], providers=("cpu",), loading=loading, options=options) as repository:
    repository.wait(timeout=3600)
"""


class Measurement(NamedTuple):
    """Seconds, CPU seconds, peak resident memory and peak anonymous memory in GiB of one process."""

    seconds: float
    cpu: float
    resident: float
    anonymous: float


def write_file(kind: str, path: Path, dtype: str) -> None:
    """Write a file of random weights, tensor by tensor; those of one dimension that end in `weight` are ones."""
    from tests.support.models.original_files import full_size_state  # noqa: PLC0415 - imports torch

    shapes = {name: tuple(tensor.shape) for name, tensor in full_size_state(kind).items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(DTYPES[dtype]).itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in _arrays(shapes):
            file.write(array.astype(DTYPES[dtype]).tobytes())
    partial.replace(path)


def _arrays(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Any]:
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        if len(shape) < 2:
            yield np.ones(shape, np.float32) if name.endswith("weight") else np.zeros(shape, np.float32)
        else:
            yield random.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))


def write_config(kind: str, folder: Path) -> None:
    """Write the folder of configurations and tokenizers that diffusers reads with a single file."""
    import diffusers  # noqa: PLC0415

    from tests.support.models import original_models as models  # noqa: PLC0415
    from tintype.export.tiny import tokenizers  # noqa: PLC0415

    parts: dict[str, Any] = {
        "unet": models.without_memory(lambda: models.unet(kind)),
        "vae": models.without_memory(lambda: models.vae("sd")),
        "text_encoder": models.without_memory(lambda: models.clip("clip_l")),
        "tokenizer": tokenizers.clip(),
        "scheduler": diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
    }
    if kind == "sdxl":
        second = models.without_memory(lambda: models.clip("clip_g", projected=1280))
        parts |= {"text_encoder_2": second, "tokenizer_2": tokenizers.clip(pad="!")}
    for name, part in parts.items():
        if name.startswith("text_encoder"):
            part.config.save_pretrained(folder / name)
        elif hasattr(part, "save_config"):
            part.save_config(folder / name)
        else:
            part.save_pretrained(folder / name)
    index = {name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": PIPELINES[kind], **index}))


def measure(command: Sequence[str]) -> Measurement:
    """Run a command to its end. Raises SystemExit if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - our own
    peaks = [0]
    sampler = threading.Thread(target=_sample, args=(process.pid, peaks))
    sampler.start()
    assert process.stderr  # noqa: S101 - piped above
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    sampler.join()
    if status:
        raise SystemExit(errors.decode(errors="replace")[-2000:])
    cpu = usage.ru_utime + usage.ru_stime
    return Measurement(seconds, cpu, usage.ru_maxrss * 1024 / GIGABYTE, peaks[0] * 1024 / GIGABYTE)


def _sample(pid: int, peaks: list[int]) -> None:
    """Sample a process's anonymous memory in KiB until it ends."""
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        found = [int(line.split()[1]) for line in lines if line.startswith("RssAnon")]
        if not found:  # the process has ended, and is waited for
            return
        peaks[0] = max(peaks[0], found[0])
        time.sleep(0.05)


def commands(args: argparse.Namespace, file: Path, config: Path) -> dict[str, list[str]]:
    """Return the command of each way."""
    out, size, steps = str(args.work / "image.png"), str(args.size), "0" if args.load else str(args.steps)
    cache = str(args.work / "weights")
    ours = [sys.executable, "-m", "tintype.cli", "generate", PROMPT, "--model", str(file), "--seed", "0", "-o", out]
    ours += ["--size", f"{size}x{size}", "--steps", steps, "--guidance", "7.5", "--weights-cache", cache]
    if args.load:
        ours = [sys.executable, "-c", LOAD, str(file), cache]
    theirs = [sys.executable, "-c", DIFFUSERS, str(file), str(config), PIPELINES[args.kind], size, steps, out]
    return {"tintype": ours, "tintype, mapped": [*ours, "--mapped"], "diffusers": theirs}


def main() -> None:
    """Measure each way in turns, and print the medians and their ratios to diffusers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(PIPELINES))
    parser.add_argument("work", type=Path)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="F16")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--load", action="store_true")
    args = parser.parse_args()
    file, config = args.work / f"{args.kind}-{args.dtype}.safetensors", args.work / f"{args.kind}-config"
    args.work.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_file(args.kind, file, args.dtype)
    if not config.exists():
        write_config(args.kind, config)
    results: dict[str, list[Measurement]] = {}
    for _ in range(args.rounds):
        for name, command in commands(args, file, config).items():
            results.setdefault(name, []).append(measure(command))
            print(name, *(f"{value:.2f}" for value in results[name][-1]), flush=True)
    medians = {name: Measurement(*map(statistics.median, zip(*found, strict=True))) for name, found in results.items()}
    for name, found in medians.items():
        ratios = ", ".join(f"{own / peer:.2f}" for own, peer in zip(found, medians["diffusers"], strict=True))
        memory = f"{found.resident:.2f} GiB resident, {found.anonymous:.2f} GiB anonymous"
        print(f"{name}: {found.seconds:.1f} s, {found.cpu:.1f} s of CPU, {memory}; ratios to diffusers {ratios}")


if __name__ == "__main__":
    main()
