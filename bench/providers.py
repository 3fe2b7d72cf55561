"""Providers beside each other on the same graphs and inputs: the denoiser and the decoder of a model, in turns.

    python bench/providers.py [FOLDER] [--providers cpu openvino] [--rows 1 2] [--side 16] [--rounds 5] [--calls 40]

Each provider is warmed up by 34 calls of a shape, after which OpenVINO has compiled the graph for it; then the calls
alternate, `--calls` of the denoiser and a tenth as many of the decoder a round. Printed are milliseconds, and each
provider's time as a ratio to the first's, medians over the rounds with their range, and how far its answer is from the
first's, as a share of the largest value. FOLDER is a model of Stable Diffusion's kind; the built-in one by default.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.runtime import Runtime

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Graph, Port

WARM = 34  # more than OpenVINO waits for before it compiles for a shape


def filled(port: Port, rows: int, side: int, generator: np.random.Generator) -> Any:
    """Return an input: noise, or a time in the middle."""
    free = {0: rows, 2: side, 3: side} if len(port.shape) == 4 else {0: rows, 1: 77}
    shape = [axis if isinstance(axis, int) else free[place] for place, axis in enumerate(port.shape)]
    if "timestep" in port.name:
        return np.full(shape, 500, np.float32 if "float" in port.kind else np.int64)
    return generator.standard_normal(shape, np.float32)


def compare(path: Path, graphs: dict[str, Graph], rows: int, side: int, calls: int, rounds: int) -> None:
    """Print a line for each provider."""
    first = next(iter(graphs.values()))
    generator = np.random.default_rng(0)
    feeds = {port.name: filled(port, rows, side, generator) for port in first.inputs}
    answers = {}
    for name, graph in graphs.items():
        for _ in range(WARM):
            answers[name] = graph.run(first.outputs[:1], feeds)[0]
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(rounds):
        spent = dict.fromkeys(graphs, 0.0)
        for _ in range(calls):
            for name, graph in graphs.items():
                begin = time.perf_counter()
                graph.run(first.outputs[:1], feeds)
                spent[name] += time.perf_counter() - begin
        for name in graphs:
            taken[name].append(spent[name] / calls)
    base = next(iter(taken.values()))
    expected: Any = next(iter(answers.values()))
    for name, times in taken.items():
        ratios = sorted(a / b for a, b in zip(times, base, strict=True))
        apart = np.abs(answers[name] - expected).max() / np.abs(expected).max()
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(
            f"| {path.parent.name}, {rows} | {name} | {1e3 * statistics.median(times):.1f} | {spread} | {apart:.0e} |"
        )


def main() -> None:
    """Compare the graphs of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=BUILTIN)
    parser.add_argument("--providers", nargs="+", default=["cpu", "openvino"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--side", type=int, default=16, help="of the latents")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    print("| graph, rows | provider | ms | ratio, and its range | answers apart |\n|---|---|---|---|---|")
    for part, calls in (("unet", args.calls), ("vae_decoder", max(args.calls // 10, 1))):
        path = args.folder / part / "model.onnx"
        graphs = {name: Runtime.choose((name,), args.threads).open(path) for name in args.providers}
        for rows in args.rows if part == "unet" else [1]:
            compare(path, graphs, rows, args.side, calls, args.rounds)


if __name__ == "__main__":
    main()
