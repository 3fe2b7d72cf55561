"""The templates that tintype has can be filled in every way."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from tests.support.models.small_template import encode, write_stored
from tintype.service.models.loading_options import LoadingOptions, Precision
from tintype.service.models.templates import filled_template
from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.catalogue import Template, installed
from tintype.service.models.templates.filling import fill_template
from tintype.service.models.templates.layout import external_weights
from tintype.service.models.templates.onnx_pb2 import ModelProto
from tintype.service.models.weights.number_formats import itemsize
from tintype.service.models.weights.pieces import ComponentWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAESD = next(template for template in installed() if template.name == "taesd-decoder")


def shapes(template: Template) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a template's weights."""
    tensors = external_weights(ModelProto.FromString(template.read(Variant())).graph)
    return {name: tuple(tensor.dims) for name, tensor in tensors.items()}


def write_empty(path: Path, wanted: dict[str, tuple[int, ...]], dtype: str) -> ComponentWeights:
    """Write a file with a header only, which is as long as if it had the numbers."""
    header, at = {}, 0
    for name, shape in wanted.items():
        end = at + math.prod(shape) * itemsize(dtype)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return ComponentWeights((path,))


@pytest.mark.parametrize("template", installed(), ids=lambda template: template.name)
def test_nothing_is_copied(tmp_path: Path, template: Template) -> None:
    """Every weight can be read as it is stored: in float32 on a CPU, with adapters, and in float16 on CUDA."""
    wanted = shapes(template)
    assert sum(math.prod(shape) for shape in wanted.values()) == template.parameters
    ways = [("F32", "cpu", True)]
    # T5 keeps one matrix of each layer in float32, Krea 2 its norms: these are cast. Of a kind, one has a half checked.
    first = next(each for each in installed() if each.kind == template.kind)
    if any(each.variant.half for each in first.variants) and not first.kind.endswith(("t5", "krea2")):
        ways.append(("F16", "cuda", False))
    for dtype, provider, adapters in ways if template == first else ways[:1]:
        weights = write_empty(tmp_path / f"{dtype}.safetensors", wanted, dtype)
        source = fill_template(template, "c", weights, LoadingOptions(cache=tmp_path / "cache"), adapters=adapters)
        with source.open(provider) as content:
            assert isinstance(content.model, bytes)
            model = ModelProto.FromString(content.model)
        assert not (tmp_path / "cache").exists()
        assert external_weights(model.graph).keys() == wanted.keys()
        read = {name for node in model.graph.node if node.op_type == "Transpose" for name in node.input}
        assert not read & wanted.keys()


def taesd(dtype: str) -> dict[str, tuple[str, NDArray[Any]]]:
    """Return random weights of TAESD's decoder in a format; they are powers of 2, which every format holds."""
    generator = np.random.default_rng(0)
    found = {}
    for name, shape in shapes(TAESD).items():
        sizes = 2.0 ** (generator.integers(-3, 1, shape) - math.ceil(math.log2(math.prod(shape[1:]) + 1) / 2))
        found[name] = (dtype, encode(sizes * generator.choice([-1, 1], shape), dtype))
    return found


def decode(weights: ComponentWeights, cache: Path, provider: str = "cpu", **options: Any) -> NDArray[np.float32]:
    """Return pixels of fixed latents, computed on the CPU by the graph for `provider`."""
    source = fill_template(TAESD, "vae_decoder", weights, LoadingOptions(cache=cache, **options), adapters=False)
    with source.open(provider) as content:
        session_options = onnxruntime.SessionOptions()
        if content.folder:
            session_options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(content.folder)
            )
        session = onnxruntime.InferenceSession(content.model, session_options, providers=["CPUExecutionProvider"])
    latents = np.random.default_rng(1).standard_normal((1, 4, 4, 4)).astype(np.float32)
    (port,) = session.get_inputs()
    result: NDArray[np.float32] = session.run(None, {port.name: latents})[0]
    return result


def test_all_ways_to_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAESD's decoder gives equal pixels from float32, float16, bfloat16 and float8, for any provider's layout."""
    files = {
        dtype: ComponentWeights((write_stored(tmp_path / f"{dtype}.safetensors", taesd(dtype)),))
        for dtype in ("F32", "F16", "BF16", "F8_E5M2")
    }
    wanted = decode(files["F32"], tmp_path / "cache")
    assert wanted.std() > 0.01
    for weights in files.values():
        np.testing.assert_array_equal(decode(weights, tmp_path / "cache"), wanted)
    for provider in ("tensorrt", "openvino"):
        again = decode(files["BF16"], tmp_path / "cache", provider, precision=Precision.FP32)
        np.testing.assert_allclose(again, wanted, atol=1e-5)
    monkeypatch.setattr(filled_template, "common_folder", lambda _: Path(tmp_path.anchor))
    np.testing.assert_array_equal(decode(files["F16"], tmp_path / "cache", mapped=True), wanted)
    np.testing.assert_array_equal(decode(files["F32"], tmp_path / "cache"), wanted)
