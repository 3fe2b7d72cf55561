"""The traced graph of a component, and its further inputs: adapters and embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from . import adapter_inputs, control_inputs, embedding_input
from .fused_operators import check_fused
from .tracing import TRACED_SIZE, trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..components.component import Component
    from ..components.tensor_specs import ExampleSize


@dataclass(frozen=True, slots=True)
class ComponentGraph:
    """A traced graph, whose weights are inputs, and its layers that can take adapters."""

    component: Component
    model: onnx.ModelProto
    layers: Mapping[str, int]

    @classmethod
    def trace(cls, component: Component, *, half: bool, size: ExampleSize = TRACED_SIZE) -> ComponentGraph:
        """Trace a component; see `tracing.trace`. Raises VerificationError if operators are not fused."""
        with adapter_inputs.record_adaptable_layers(component.module) as layers:
            model = trace(component, half=half, size=size)
        graph = cls(component, model, layers)
        check_fused(component, graph.with_inputs(adapters=False))
        return graph

    def with_inputs(self, *, adapters: bool) -> onnx.ModelProto:
        """Return a copy with the input for embeddings, and with inputs for adapters, if the component takes them.

        Inputs for adapters include those for the residuals of ControlNets.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        if adapters and self.component.takes_adapters:
            control_inputs.make_optional(model, self.component.residuals)
            adapter_inputs.add_inputs(model, dict(self.layers))
        else:
            control_inputs.remove(model, self.component.residuals)
        if self.component.embedding_table:
            embedding_input.add_input(model, self.component.embedding_table)
        return model
