"""Compare the time of providers for a model's denoiser and decoder, with the same graphs and inputs.

    python bench/providers.py [FOLDER] [--providers cpu openvino] [--rows 1 2] [--side 16] [--rounds 5] [--calls 40]

Each provider first gets 34 calls of a shape, after which OpenVINO has compiled the graph for it. Then the providers
alternate: each round has `--calls` calls of the denoiser, and a tenth of that of the decoder. The output has
milliseconds per call, the ratio of each provider's time to the first's (medians over the rounds, with their range), and
the largest difference of its result from the first's, relative to the largest value. FOLDER is a model of the Stable
Diffusion family; default: the built-in model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ratios import ratio_and_range

from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tintype.service.models.runtime.graph import Graph, Port

WARM_UP = 34  # calls; more calls than OpenVINO needs before it compiles for a shape


def random_input(port: Port, rows: int, side: int, generator: np.random.Generator) -> Any:
    """Return an input array: noise, or for a timestep 500, half of the range."""
    free = {0: rows, 2: side, 3: side} if len(port.shape) == 4 else {0: rows, 1: 77}
    shape = [axis if isinstance(axis, int) else free[place] for place, axis in enumerate(port.shape)]
    if "timestep" in port.name:
        return np.full(shape, 500, np.float32 if "float" in port.type else np.int64)
    return generator.standard_normal(shape, np.float32)


def compare(path: Path, graphs: dict[str, Graph], rows: int, side: int, calls: int, rounds: int) -> None:
    """Print a line for each provider."""
    first = next(iter(graphs.values()))
    generator, output = np.random.default_rng(0), first.outputs[:1]
    feeds = {port.name: random_input(port, rows, side, generator) for port in first.inputs}
    results = {name: [graph.run(output, feeds)[0] for _ in range(WARM_UP)][-1] for name, graph in graphs.items()}
    seconds = measure(graphs, output, feeds, calls, rounds)
    base = next(iter(seconds.values()))
    expected: Any = next(iter(results.values()))
    for name, times in seconds.items():
        difference = np.abs(results[name] - expected).max() / np.abs(expected).max()
        median, spread = 1e3 * statistics.median(times), ratio_and_range(times, base)
        print(f"| {path.parent.name}, {rows} | {name} | {median:.1f} | {spread} | {difference:.0e} |")


def measure(
    graphs: Mapping[str, Graph], output: Sequence[str], feeds: dict[str, Any], calls: int, rounds: int
) -> dict[str, list[float]]:
    """Return the mean seconds of a call in each round, by provider; the providers alternate."""
    seconds: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(rounds):
        spent = dict.fromkeys(graphs, 0.0)
        for _ in range(calls):
            for name, graph in graphs.items():
                begin = time.perf_counter()
                graph.run(output, feeds)
                spent[name] += time.perf_counter() - begin
        for name in graphs:
            seconds[name].append(spent[name] / calls)
    return seconds


def main() -> None:
    """Compare the graphs of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=BUILTIN)
    parser.add_argument("--providers", nargs="+", default=["cpu", "openvino"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--side", type=int, default=16, help="side of the latents in cells")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    print("| graph, rows | provider | ms | ratio (range) | difference |\n|---|---|---|---|---|")
    for part, calls in (("unet", args.calls), ("vae_decoder", max(args.calls // 10, 1))):
        path = args.folder / part / "model.onnx"
        graphs = {name: Runtime.choose((name,), args.threads).open(OnnxFile(path)) for name in args.providers}
        for rows in args.rows if part == "unet" else [1]:
            compare(path, graphs, rows, args.side, calls, args.rounds)


if __name__ == "__main__":
    main()
