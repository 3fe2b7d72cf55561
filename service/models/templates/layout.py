"""How a graph reads its weights, and how to let it read them as they are stored.

PyTorch stores the matrix of a linear layer as [out, in]. A traced graph reads it through Transpose. onnxruntime would
compute the transpose when it loads the graph, which takes memory for another copy, so the nodes are replaced:

- `FUSED`: MatMul becomes FusedMatMul with transB, which reads the stored matrix. The CPU and CUDA providers have it.
- `TURNED`: the transpose is stored, and Transpose is left out. Every provider can read it.
- `KEPT`: Transpose stays. OpenVINO turns it into an attribute of the product by itself.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from .onnx_pb2 import AttributeProto, NodeProto, TensorProto

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .onnx_pb2 import GraphProto, ModelProto

GEMM_DEFAULTS = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0}
MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators


class Layout(Enum):
    """The treatment of matrices that a graph reads through Transpose."""

    FUSED = "fused"
    TURNED = "turned"
    KEPT = "kept"


LAYOUTS = {"cpu": Layout.FUSED, "cuda": Layout.FUSED, "openvino": Layout.KEPT}


def layout_for(provider: str) -> Layout:
    """Return the layout that a provider reads best; every provider reads TURNED."""
    return LAYOUTS.get(provider, Layout.TURNED)


class Use(NamedTuple):
    """A node that reads a weight as the input `position`, directly or through a Transpose with the output `through`."""

    node: NodeProto
    position: int
    through: str | None = None

    @property
    def is_product(self) -> bool:
        """Whether it is a product x @ transpose(weight)."""
        return self.node.op_type == "MatMul" and self.position == 1 and self.through is not None

    @property
    def is_gemm(self) -> bool:
        """Whether it is Gemm(x, weight, bias) = x @ transpose(weight) + bias."""
        given = {a.name: a.f if a.type == AttributeProto.FLOAT else a.i for a in self.node.attribute}
        is_plain = {**GEMM_DEFAULTS, **given} == {**GEMM_DEFAULTS, "transB": 1}
        return self.node.op_type == "Gemm" and self.position == 1 and is_plain


class WeightUses:
    """The uses of the weights `names` in the graph of `model`, which the methods change.

    `finish` must be called after the last change.
    """

    def __init__(self, model: ModelProto, names: Iterable[str]) -> None:
        self._model = model
        self._readers: dict[str, list[tuple[NodeProto, int]]] = defaultdict(list)
        for node in model.graph.node:
            for position, name in enumerate(node.input):
                self._readers[name].append((node, position))
        outputs = {output.name for output in model.graph.output}
        self._uses = {name: self._find(name, outputs) for name in names}
        self._dropped: set[str] = set()
        self._added: dict[str, NodeProto] = {}  # by the output of the node before

    def _find(self, name: str, outputs: set[str]) -> list[Use]:
        readers = self._readers[name]
        transposes = [node for node, _ in readers if _is_transpose(node) and node.output[0] not in outputs]
        if len(transposes) < len(readers):
            return [Use(node, position) for node, position in readers]
        return [Use(*reader, node.output[0]) for node in transposes for reader in self._readers[node.output[0]]]

    def operators(self, name: str) -> set[str]:
        """Return the operators that multiply by a weight, `MatMul` and `Gemm`, and all others as `other`."""
        uses = self._uses[name]
        return {"MatMul" if use.is_product else "Gemm" if use.is_gemm else "other" for use in uses}

    def is_table(self, name: str) -> bool:
        """Return whether rows of a weight are read by number, and nothing else of it."""
        return all(use.node.op_type == "Gather" and use.position == 0 and not use.through for use in self._uses[name])

    def is_transposed(self, name: str) -> bool:
        """Return whether the graph reads a weight only through Transpose."""
        return any(use.through for use in self._uses[name])

    def can_fuse(self, name: str) -> bool:
        """Return whether every use of a weight is a product that FusedMatMul computes."""
        return all(use.is_product for use in self._uses[name])

    def fuse(self, name: str) -> None:
        """Let products read the stored matrix."""
        for use in self._uses[name]:
            self._drop(use)
            use.node.op_type, use.node.domain = "FusedMatMul", MICROSOFT
            use.node.input[1] = name
            _add_ints(use.node, transB=1)

    def turn(self, name: str) -> None:
        """Let all uses read the weight as the transpose."""
        for use in self._uses[name]:
            self._drop(use)
            use.node.input[use.position] = name

    def quantize(self, name: str, shape: Sequence[int], codes: str, scales: str, **attributes: int) -> None:
        """Let products and Gemm read the weight [out, in] as blocks of `codes` with `scales`."""
        rows, columns = shape
        for use in self._uses[name]:
            self._drop(use)
            node = use.node
            if node.op_type == "Gemm" and len(node.input) > 2:
                self._add_bias(node)
            del node.attribute[:]
            node.op_type, node.domain = "MatMulNBits", MICROSOFT
            node.input[:] = [node.input[0], codes, scales]
            _add_ints(node, K=columns, N=rows, **attributes)

    def widen(self, name: str) -> None:
        """Let the rows of a table become float32 after they are read."""
        for use in self._uses[name]:
            row = use.node.output[0]
            use.node.output[0] = f"{row}.half"
            cast = NodeProto(name=f"{row}.cast", op_type="Cast", input=[f"{row}.half"], output=[row])
            _add_ints(cast, to=TensorProto.FLOAT)
            self._added[f"{row}.half"] = cast

    def finish(self) -> None:
        """Drop the nodes that nothing reads any more, and import the operators that were added."""
        graph = self._model.graph
        nodes = []
        for node in graph.node:
            if node.output[0] not in self._dropped:
                nodes.append(node)
                nodes += [self._added[node.output[0]]] if node.output[0] in self._added else []
        del graph.node[:]
        graph.node.extend(nodes)
        if not any(imported.domain == MICROSOFT for imported in self._model.opset_import):
            self._model.opset_import.add(domain=MICROSOFT, version=1)

    def _drop(self, use: Use) -> None:
        if use.through:
            self._dropped.add(use.through)

    def _add_bias(self, node: NodeProto) -> None:
        """Move the bias of Gemm, which MatMulNBits has only on some providers, into a node of its own."""
        result = node.output[0]
        node.output[0] = f"{result}.product"
        name = f"{node.name}.bias"
        self._added[node.output[0]] = NodeProto(
            name=name, op_type="Add", input=[node.output[0], node.input[2]], output=[result]
        )


def external_weights(graph: GraphProto) -> dict[str, TensorProto]:
    """Return the initializers of a template that published files must fill, by name."""
    return {tensor.name: tensor for tensor in graph.initializer if tensor.data_location == TensorProto.EXTERNAL}


def _is_transpose(node: NodeProto) -> bool:
    """Return whether a node swaps the two axes of a matrix."""
    return node.op_type == "Transpose" and any(a.name == "perm" and list(a.ints) == [1, 0] for a in node.attribute)


def _add_ints(node: NodeProto, **attributes: int) -> None:
    for name, value in attributes.items():
        node.attribute.add(name=name, type=AttributeProto.INT, i=value)
