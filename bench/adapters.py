"""Compare reading a published adapter with reading the same one in our own layout.

    .venv/bin/python bench/adapters.py WORK [--rounds 9]

WORK gets an adapter of rank 32 with random numbers for all layers of attention and feed-forward in SDXL's UNet and text
encoders, once: in kohya's layout, float16 (228 MB), and in our own, float32 (456 MB). The layers are those of the
templates. Both are read in turns, from the page cache, by one thread; times are CPU times, as other programs may run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ratios import ratio_and_range

from tintype.service.models.adapters.layer_index import LayerIndex
from tintype.service.models.adapters.layer_sizes import layer_sizes
from tintype.service.models.adapters.reading import MATRICES, read_adapter
from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.catalogue import installed
from tintype.service.models.templates.onnx_pb2 import ModelProto

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATES = {"unet": "sdxl-unet", "text_encoder": "clip-l", "text_encoder_2": "clip-g"}
PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
CHANGED = (".attentions.", ".encoder.layers.")
RANK, ALPHA = 32, 16
FORMATS = {"float16": "F16", "float32": "F32"}


def sizes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the layers of SDXL that take adapters, by component."""
    graphs = {template.name: template for template in installed()}
    found = {}
    for component, name in TEMPLATES.items():
        graph = ModelProto.FromString(graphs[name].read(Variant(adapters=True))).graph
        shapes = {
            entry.name: [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim]
            for entry in graph.input
        }
        found[component] = layer_sizes(shapes)
    return found


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file."""
    header, end = {}, 0
    for name, array in tensors.items():
        offsets = [end, end + array.nbytes]
        header[name] = {"dtype": FORMATS[array.dtype.name], "shape": array.shape, "data_offsets": offsets}
        end += array.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(array.tobytes() for array in tensors.values())


def published(layers: Mapping[str, Mapping[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Return an adapter in kohya's layout."""
    random, tensors = np.random.default_rng(0), {}
    for component, own in layers.items():
        for layer, (wide, *_, out) in own.items():
            if any(part in layer for part in CHANGED):
                name = f"{PREFIXES[component]}_{layer.replace('.', '_')}"
                tensors[f"{name}.lora_down.weight"] = random.standard_normal((RANK, wide), np.float32).astype("f2")
                tensors[f"{name}.lora_up.weight"] = random.standard_normal((out, RANK), np.float32).astype("f2")
                tensors[f"{name}.alpha"] = np.array(ALPHA, np.float16)
    return tensors


def main() -> None:
    """Write both files, and print the ratio of the times to read them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    layers = sizes()
    index = LayerIndex(layers)
    files = {name: arguments.work / f"{name}.safetensors" for name in ("published", "own")}
    if not files["own"].exists():
        write(files["published"], published(layers))
        adapter = read_adapter(files["published"], layers, index)
        pairs = ((f"{part}.{layer}", pair) for part, own in adapter.items() for layer, pair in own.items())
        write(files["own"], {f"{key}.{side}": m for key, pair in pairs for side, m in zip(MATRICES, pair, strict=True)})
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(arguments.rounds + 1):
        for name, path in files.items():
            began = time.process_time()
            read_adapter(path, layers, index)
            seconds[name].append(time.process_time() - began)
    for name, times in seconds.items():
        print(f"{name}: {files[name].stat().st_size / 1e6:.0f} MB, {statistics.median(times[1:]):.2f} s of CPU time")
    print("published / own:", ratio_and_range(seconds["published"][1:], seconds["own"][1:]))


if __name__ == "__main__":
    main()
