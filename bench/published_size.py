"""Measure memory and time of a newer family at its published size, with random weights, served from templates.

    .venv-export/bin/python bench/published_size.py klein-4b|z-image WORK [--precision int4] [--size 512] [--steps 4]

WORK/MODEL gets a diffusers folder with random bfloat16 weights, once: 16 GB for klein 4B, 21 GB for Z-Image. It is then
loaded and draws one image in a process without torch. The weights that loading converts are written to WORK/cache.
"Anonymous" memory is what the process has for itself, without pages of files, which the system takes back when it needs
memory; it is sampled ten times a second. Needs Linux, and the extra `export` for the tokenizer.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.catalogue import installed
from tintype.service.models.templates.layout import external_weights
from tintype.service.models.templates.onnx_pb2 import ModelProto

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tintype.service.models.templates.catalogue import Template

FAMILIES = {"klein-4b": "flux2_klein", "z-image": "z_image"}
# Component of a pipeline -> the templates that its weights fill.
COMPONENTS = {
    "klein-4b": {
        "transformer": ("flux2-klein-4b",),
        "text_encoder": ("qwen3-4b-layers",),
        "vae": ("kl-flux2-encoder", "kl-flux2-decoder"),
    },
    "z-image": {
        "transformer": ("z-image",),
        "text_encoder": ("qwen3-4b-penultimate",),
        "vae": ("kl-16-encoder", "kl-16-decoder"),
    },
}
GIGABYTE = 1e9
RANDOM = np.random.default_rng(0).standard_normal(2**22).astype(np.float32)


def make(name: str, folder: Path) -> None:
    """Write the tiny pipeline of a family, and put random weights of the published size into it."""
    from tintype.export.tiny.pipelines import write_pipeline  # noqa: PLC0415 - imports torch

    made = write_pipeline(FAMILIES[name], folder.parent / "tiny")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(made, folder)
    templates = {template.name: template for template in installed()}
    for part, names in COMPONENTS[name].items():
        path = folder / part / "config.json"
        config = json.loads(path.read_text("utf-8"))
        config.pop("rope_parameters", None)  # newer files have the tiny model's here
        shapes: dict[str, tuple[int, ...]] = {}
        for each in names:
            config |= templates[each].config
            shapes |= weights_of(templates[each])
        if part == "vae" and "klein" in name:  # statistics of the latents, which no graph holds
            shapes |= {"bn.running_mean": (128,), "bn.running_var": (128,)}
        path.write_text(json.dumps(config), "utf-8")
        for file in path.parent.glob("*.safetensors"):
            write(file, shapes)
    if "klein" in name:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        (folder / "model_index.json").write_text(json.dumps(index | {"is_distilled": True}), "utf-8")


def weights_of(template: Template) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a template's weights by name."""
    tensors = external_weights(ModelProto.FromString(template.read(Variant())).graph)
    return {name: tuple(tensor.dims) for name, tensor in tensors.items()}


def write(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write random bfloat16 weights: factors of layers keep the size of what they multiply, norms have ones."""
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            one = len(shape) < 2 and not name.endswith(("bias", "mean"))
            block = np.full(2**16, one, np.float32) if len(shape) < 2 else RANDOM / math.sqrt(math.prod(shape[1:]))
            numbers = (block.view(np.uint32) >> 16).astype(np.uint16).tobytes()
            left = 2 * math.prod(shape)
            while left:
                file.write(numbers[:left])
                left -= min(left, len(numbers))


class AnonymousMemory:
    """The largest anonymous memory of this process so far, in GB."""

    def __init__(self) -> None:
        self.largest = 0.0
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text("ascii").splitlines()
            fields = dict(line.split(":", 1) for line in lines)
            self.largest = max(self.largest, int(fields["RssAnon"].split()[0]) * 1024 / GIGABYTE)
            time.sleep(0.1)


def generate(folder: Path, args: argparse.Namespace) -> None:
    """Load the model and draw an image; print the results as JSON."""
    from tintype.service.engine.engine import Engine  # noqa: PLC0415
    from tintype.service.engine.events import Failed  # noqa: PLC0415
    from tintype.service.job import Job  # noqa: PLC0415
    from tintype.service.models import Repository  # noqa: PLC0415
    from tintype.service.models.loading_options import LoadingOptions, Precision  # noqa: PLC0415
    from tintype.service.prepare import prepare_job  # noqa: PLC0415

    if "torch" in sys.modules:
        raise SystemExit("torch must not be loaded")
    memory, start = AnonymousMemory(), time.perf_counter()
    loading = LoadingOptions(cache=args.work / "cache", precision=Precision(args.precision))
    with Repository([folder], providers=["cpu"], loading=loading) as repository:
        repository.wait(timeout=3600)
        load, loaded = time.perf_counter() - start, memory.largest
        engine = Engine(repository)
        job = Job(prompt="a lake at sunset", steps=args.steps, seed=0, width=args.size, height=args.size)
        engine.admit(prepare_job(job, repository.spec()))
        units = []
        while engine.busy:
            begun, used = time.perf_counter(), time.process_time()
            engine.step()
            units.append((time.perf_counter() - begun, time.process_time() - used))
        errors = [event.error for _, event in engine.collect() if isinstance(event, Failed)]
    if errors:
        raise SystemExit(str(errors[0]))
    print(json.dumps({"load": load, "loaded": loaded, "peak": memory.largest, "units": units}))


def main() -> None:
    """Make the model if it is not there, and measure it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", choices=FAMILIES)
    parser.add_argument("work", type=Path)
    parser.add_argument("--precision", default="int4")
    parser.add_argument("--size", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = args.work / args.model
    if args.child:
        generate(folder, args)
        return
    if not folder.exists():
        make(args.model, folder)
    # Otherwise an image of another size than the model's own is resampled from that.
    (folder / "tintype.json").write_text(json.dumps({"tintype": 1, "native_sizes": [[args.size] * 2]}), "utf-8")
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child"], stdout=subprocess.PIPE, check=True)  # noqa: S603
    report(json.loads(done.stdout.splitlines()[-1]), args)


def report(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Print time and memory of loading and of the steps."""
    print(f"{args.model} {args.precision}: loaded after {result['load']:.0f} s")
    print(f"anonymous memory: {result['loaded']:.2f} GB while loading, {result['peak']:.2f} GB with the image")
    print(f"{args.size} pixels square, seconds (and CPU seconds of all cores):")
    prompt, *steps, decoding = (f"{seconds:.1f} ({used:.1f})" for seconds, used in result["units"])
    print(f"prompt {prompt}, steps {', '.join(steps)}, decoding {decoding}")
    medians = [statistics.median(values) for values in zip(*result["units"][1:-1], strict=True)]
    print(f"median step {medians[0]:.1f} ({medians[1]:.1f})")


if __name__ == "__main__":
    main()
