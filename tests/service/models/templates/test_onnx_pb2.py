"""The messages of ONNX that the service has."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import pytest

from tintype.service.models.templates.onnx_pb2 import ModelProto, TensorProto

BUILTIN = files("tintype.service.models") / "builtin"


@pytest.mark.parametrize("component", ["text_encoder", "vae_encoder"])
def test_unknown_fields_are_kept(component: str) -> None:
    """A graph that is read and written again has the same bytes, in some order, and the same content."""
    data = (BUILTIN / component / "model.onnx").read_bytes()
    model = ModelProto.FromString(data)
    written = model.SerializeToString()
    assert b"pytorch" in written  # the producer, a field that the messages do not have
    assert Counter(written) == Counter(data)
    assert ModelProto.FromString(written) == model


def test_names_are_of_this_project() -> None:
    """A process may import the package `onnx` as well, and can register a name only once."""
    assert ModelProto.DESCRIPTOR.full_name == "tintype.onnx.ModelProto"
    assert ModelProto.DESCRIPTOR.file.name == "tintype/service/models/templates/onnx.proto"


def test_types_have_the_numbers_of_onnx() -> None:
    """The numbers are those of the format."""
    assert (TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT16) == (1, 2, 7, 10)
