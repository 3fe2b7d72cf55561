"""Which graphs are rewritten, and for which providers.

A rewritten graph is held in memory, with its weights where they were: in the graph's folder, or in the graph itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from ...graph_source import GraphContent
from ...templates.onnx_pb2 import ModelProto
from ...wire_format import map_file
from .bfloat16 import cast_ends, has_bfloat16_ends
from .graph_edit import GraphEdit
from .group_norm import fuse_group_norms
from .standard_operators import use_standard_operators

if TYPE_CHECKING:
    from collections.abc import Callable

REVISION = 1  # of the rewriting; engines of TensorRT depend on it
MOST_BYTES = 2**29  # of a file that is rewritten: it is in memory three times while it is loaded


class Rule(NamedTuple):
    """A way to rewrite graphs that have one of these operators; `apply` returns how many nodes it replaced."""

    operators: tuple[bytes, ...]
    apply: Callable[[GraphEdit], int]


RULES = {
    "tensorrt": Rule((b"MultiHeadAttention", b"SimplifiedLayerNormalization"), use_standard_operators),
    "cuda": Rule((b"InstanceNormalization",), fuse_group_norms),
}
"""What is done to the graphs of a provider."""


class Rewritten(NamedTuple):
    """A graph's content, and how many nodes were replaced in it; 0 if it is unchanged."""

    content: GraphContent
    replaced: int


def rewritten(content: GraphContent, provider: str) -> Rewritten:
    """Return a graph as `provider` computes it best, with float32 ends; unchanged if there is nothing to do.

    Raises:
        ModelFileError: the file is not an ONNX graph.
    """
    rule, model = RULES.get(provider), content.model
    data = model if isinstance(model, bytes) else map_file(model)
    if len(data) > MOST_BYTES:
        return Rewritten(content, 0)
    narrow = has_bfloat16_ends(data)
    if not narrow and not (rule and any(data.find(operator) >= 0 for operator in rule.operators)):
        return Rewritten(content, 0)
    try:
        edit = GraphEdit(ModelProto.FromString(bytes(data)))
    except DecodeError:  # onnxruntime says what is wrong with the file
        return Rewritten(content, 0)
    replaced, widened = rule.apply(edit) if rule else 0, narrow and cast_ends(edit)
    if not replaced and not widened:
        return Rewritten(content, 0)
    folder = content.folder if isinstance(model, bytes) else content.folder or model.parent
    return Rewritten(GraphContent(edit.model.SerializeToString(), folder), replaced)
