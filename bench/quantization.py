"""Measure linear layers and whole images with int8 and int4 weights, as they are quantized while loading.

    .venv-export/bin/python bench/quantization.py layers [--threads 1] [--widths 320x1280 ...]
    .venv-export/bin/python bench/quantization.py images [FOLDER] [--work WORK] [--smallest 1024] [--steps 20]

`layers` has the time of a layer to that of its float32 weights, and whether a row alone equals the same row in a batch:
the largest difference, relative to the largest number. `images` generates images with an exported float32 or float16
model whose linear layers are quantized, alone and three at a time, and compares them with those of the original; by
default the built-in model, whose layers are smaller than those that are quantized elsewhere. Needs the extra `export`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tintype.service.engine import Engine, Limits
from tintype.service.engine.events import Finished
from tintype.service.images.pixels import to_floats
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.session_options import session_options
from tintype.service.models.weights import quantizing
from tintype.service.models.weights.quantizing import EXACT, FAST, LINEAR, Quantizer, quantize

if TYPE_CHECKING:
    from collections.abc import Callable

    Floats = np.ndarray[Any, np.dtype[np.float32]]

# Bits, block and accuracy level; the first of each number of bits is what the service uses.
LAYERS = [
    (8, 64, FAST), (8, 32, FAST), (8, 128, FAST), (8, 64, EXACT), (4, 32, FAST), (4, 64, FAST), (4, 32, EXACT),
]  # fmt: skip
IMAGES = [(8, 64, FAST), (8, 128, FAST), (8, 64, EXACT), (4, 32, FAST), (4, 32, EXACT), (4, 64, FAST)]
ROWS = (1, 2, 77, 256, 1024)
PROMPTS = (
    "a red circle on a blue background",
    "a yellow star on a green background",
    "A serene mountain lake at sunset",
    "a purple heart on a white background",
)
REPETITIONS = 5


def products(weight: Floats, bits: int, block: int, level: int, threads: int) -> Callable[[Floats], Floats]:
    """Return a function that multiplies rows [n, in] by a weight [out, in] of `bits` bits; float32 for 0 bits."""
    columns, rows = weight.shape[1], weight.shape[0]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n]) for name, n in (("x", columns), ("y", rows))
    ]
    if bits:
        packed, scales = quantize(weight, bits, block)
        numbers = {"K": columns, "N": rows, "bits": bits, "block_size": block, "accuracy_level": level}
        node = helper.make_node("MatMulNBits", ["x", "packed", "scales"], ["y"], domain="com.microsoft", **numbers)
        stored: dict[str, Any] = {"packed": packed, "scales": scales}
    else:
        node, stored = helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": np.ascontiguousarray(weight.T)}
    initializers = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph([node], "layer", ports[:1], ports[1:], initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    model.ir_version = 8
    options = session_options(threads)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def difference_in_company(multiply: Callable[[Floats], Floats], columns: int, rows: int) -> float:
    """Return the largest difference between rows alone and among others, relative to the largest number."""
    random = np.random.default_rng(0)
    x, *others = (random.standard_normal((rows, columns), np.float32) for _ in range(4))
    alone, worst = multiply(x), 0.0
    for before, after in ((1, 0), (0, 1), (1, 1), (2, 1)):
        together = multiply(np.concatenate([*others[:before], x, *others[before : before + after]]))
        worst = max(worst, float(np.abs(together[before * rows :][:rows] - alone).max()))
    return worst / float(np.abs(alone).max())


def seconds(multiply: Callable[[Floats], Floats], x: Floats) -> float:
    """Return the CPU seconds of a call after one that is not counted."""
    multiply(x)
    start = time.process_time()
    for _ in range(REPETITIONS):
        multiply(x)
    return (time.process_time() - start) / REPETITIONS


def layers(widths: list[str], threads: int, rounds: int) -> None:
    """Print a table for each width OUTxIN."""
    for width in widths:
        out, columns = map(int, width.split("x"))
        weight = np.random.default_rng(0).standard_t(5, (out, columns)).astype(np.float32)
        plain = products(weight, 0, 0, 0, threads)
        print(f"\n[{out}, {columns}], {threads} threads: time to float32; difference in company")
        print("| bits, block, level |" + "".join(f" {n} rows |" for n in ROWS) + "\n" + "|---" * (len(ROWS) + 1) + "|")
        for layer in LAYERS:
            multiply, cells = products(weight, *layer, threads), []
            for rows in ROWS:
                x = np.random.default_rng(1).standard_normal((rows, columns), np.float32)
                ratio = statistics.median(seconds(multiply, x) / seconds(plain, x) for _ in range(rounds))
                cells.append(f"{ratio:.2f}; {difference_in_company(multiply, columns, rows):.1g}")
            print(f"| {', '.join(map(str, layer))} | {' | '.join(cells)} |", flush=True)


def quantize_graph(path: Path, bits: int, block: int, level: int) -> Quantizer:
    """Quantize the linear layers of the graph at `path`, in place."""
    model, quantizer = onnx.load(path), Quantizer(bits, block)
    graph = model.graph
    widen(graph)
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for tensor in list(graph.initializer):
        kinds = {node.op_type for node in readers[tensor.name]}
        if not kinds or not LINEAR.issuperset(kinds) or len(tensor.dims) != 2:
            continue
        weight = numpy_helper.to_array(tensor)
        weight = np.ascontiguousarray(weight.T) if kinds == {"MatMul"} else weight
        result = quantizer.quantize(tensor.name, weight) if quantizer.wants(tensor.name, weight.shape, kinds) else None
        if not result:
            continue
        names = [f"{tensor.name}.packed", f"{tensor.name}.scales"]
        graph.initializer.extend(map(numpy_helper.from_array, result[:2], names))
        numbers = {"K": weight.shape[1], "N": weight.shape[0], "bits": bits, "block_size": block}
        for node in readers[tensor.name]:
            bias = ["", "", *node.input[2:]] if len(node.input) > 2 else []
            made = helper.make_node(
                "MatMulNBits", [node.input[0], *names, *bias], node.output, domain="com.microsoft",
                accuracy_level=level, **numbers,
            )  # fmt: skip
            node.CopyFrom(made)
        graph.initializer.remove(tensor)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    return quantizer


def widen(graph: onnx.GraphProto) -> None:
    """Replace float16 weights and their casts by float32 weights."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    widened: dict[str, str] = {}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in tensors]:
        name = node.input[0]
        if tensors[name].name == name:
            wide = numpy_helper.to_array(tensors[name]).astype(np.float32)
            tensors[name].CopyFrom(numpy_helper.from_array(wide, node.output[0]))
        widened[node.output[0]] = tensors[name].name
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [widened.get(name, name) for name in node.input]


def generate(folder: Path, steps: int, together: int) -> list[Floats]:
    """Return an image of each prompt, float32 [3, h, w] in levels of 255, with up to `together` rows in a call."""
    found: dict[tuple[Any, int], Floats] = {}
    with Repository([folder], threads=1) as repository:
        repository.wait(timeout=600)
        for prompt in PROMPTS:
            engine = Engine(repository, limits=Limits(max_batch=2 * together))  # guidance doubles the rows
            engine.admit(Job(prompt=prompt, seed=1, count=together, steps=steps))
            while engine.step():
                pass
            found |= {
                (prompt, e.index): to_floats(e.pixels) * 255 for _, e in engine.collect() if isinstance(e, Finished)
            }
    return [found[prompt, 0] for prompt in PROMPTS]


def differences(images: list[Floats], others: list[Floats]) -> str:
    """Return the mean, the 99th percentile and the maximum of the differences of all values."""
    distance = np.abs(np.stack(images) - np.stack(others))
    return f"{distance.mean():.3f} / {np.percentile(distance, 99):.2f} / {distance.max():.1f}"


def compare_images(folder: Path, work: Path, steps: int) -> None:
    """Print the differences from the original, and between images alone and in a batch."""
    original = generate(folder, steps, 1)
    print("Levels of 255: mean / 99th percentile / maximum.")
    print("| bits, block, level | layers | mean error of a weight | from float32 | alone and in a batch of three |")
    print("|---" * 5 + "|")
    for bits, block, level in IMAGES:
        copy = work / f"{bits}-{block}-{level}"
        shutil.copytree(folder, copy)
        cards = [quantize_graph(path, bits, block, level).card() for path in sorted(copy.glob("*/model.onnx"))]
        errors = [error for card in cards for error in card.quantized.values()]
        alone, batch = generate(copy, steps, 1), generate(copy, steps, 3)
        cells = [len(errors), f"{np.mean(errors):.4f}", differences(alone, original), differences(batch, alone)]
        print(f"| {bits}, {block}, {level} | {' | '.join(map(str, cells))} |", flush=True)
        shutil.rmtree(copy)


def main() -> None:
    """Measure layers or images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("layers", "images"))
    parser.add_argument("folder", nargs="?", type=Path, default=BUILTIN)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--smallest", type=int, default=1024)
    parser.add_argument("--widths", nargs="+", default=["320x320", "1280x1280", "5120x640", "3072x3072", "10240x4096"])
    args = parser.parse_args()
    if args.what == "layers":
        layers(args.widths, args.threads, args.rounds)
        return
    quantizing.SMALLEST = args.smallest
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        compare_images(args.folder, Path(work), args.steps)


if __name__ == "__main__":
    main()
