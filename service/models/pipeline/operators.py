"""Checking, before a model is loaded, that the provider has the operators of its graphs.

onnxruntime's optimizer for transformers, and Olive, which uses it, fuse parts of a graph into operators of the domain
com.microsoft. Some of them have kernels for GPUs only. onnxruntime reports that for the first such node of the first
such graph, after it has loaded the graphs before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files import ModelFileError, label
from ..folder.graph_facts import MICROSOFT, read_domains, read_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ..folder.graph_facts import Node

# Operators of com.microsoft that the optimizer writes for diffusion models and that the CPU provider of onnxruntime
# 1.31 lacks; see docs/OperatorKernels.md there.
WITHOUT_CPU = {
    *("BiasAdd", "BiasSplitGelu", "GemmFastGelu", "GroupNorm", "NhwcConv", "SkipGroupNorm"),
    *("PackedAttention", "PackedMultiHeadAttention"),
}
ATTENTION = "MultiHeadAttention"
VALUE = 2  # the input of attention that is missing if keys and values are packed into one


def check_operators(paths: Iterable[Path], provider: str) -> None:
    """Check that a provider, by its short name, has the operators of the graphs at `paths`.

    A file that is missing or not a graph is left to the session that loads it.

    Raises:
        ModelFileError: it lacks some; all are named.
    """
    if provider != "cpu":
        return
    lacking = {label(path): sorted(_lacking(path)) for path in paths}
    faults = [f"{graph} uses {', '.join(names)}" for graph, names in lacking.items() if names]
    if faults:
        raise ModelFileError(
            f"{'; '.join(faults)} of {MICROSOFT}, which the CPU provider does not have; use --provider cuda, or the "
            f"folder without fused operators"
        )


def _lacking(path: Path) -> set[str]:
    try:
        nodes = read_facts(path).nodes if MICROSOFT in read_domains(path) else ()
    except ModelFileError:
        return set()
    return set(_names(node for node in nodes if node.domain == MICROSOFT))


def _names(nodes: Iterable[Node]) -> Iterator[str]:
    """Yield the operators that the CPU provider lacks."""
    for node in nodes:
        if node.operator in WITHOUT_CPU:
            yield node.operator
        elif node.operator == ATTENTION and not "".join(node.inputs[VALUE : VALUE + 1]):
            yield f"{ATTENTION} with packed inputs"
