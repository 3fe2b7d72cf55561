"""Fill a template with tensors, by the onnx package: independent of the service's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


def write_filled(content: bytes, tensors: Mapping[str, npt.NDArray[np.generic]], path: Path) -> Path:
    """Write the graph of a template with these tensors as its weights to `path`, and return it."""
    model = onnx.load_from_string(content)
    for entry in model.graph.initializer:
        if entry.data_location == TensorProto.EXTERNAL:
            value = tensors[entry.name]
            assert list(value.shape) == list(entry.dims), entry.name
            entry.CopyFrom(numpy_helper.from_array(value, entry.name))
    onnx.save(model, path)
    return path
