"""Published weights in every format give the same graph, whichever way they reach it."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from tests.support.models.small_template import (
    SAMPLE,
    SHAPES,
    SmallTemplate,
    answer,
    draw,
    encode,
    numbers,
    template_model,
    write_stored,
    write_weights,
)
from tintype.service.errors import Cancelled
from tintype.service.models.files import ModelFileError
from tintype.service.models.loading_options import LoadingOptions, Precision
from tintype.service.models.templates import filled_graph
from tintype.service.models.templates.filled_template import FilledTemplate, overwritten_files
from tintype.service.models.templates.filling import fill_template
from tintype.service.models.templates.onnx_pb2 import ModelProto
from tintype.service.models.weights import quantizing
from tintype.service.models.weights.pieces import ComponentWeights, Piece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

FORMATS = ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
FOLDER = "session.model_external_initializers_file_folder_path"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The folder for converted weights, which does not exist yet."""
    return tmp_path / "cache"


def fill(weights: ComponentWeights, cache: Path, precision: str = "auto", **options: Any) -> FilledTemplate:
    """Fill the small template."""
    loading = LoadingOptions(cache=cache, precision=Precision(precision), **options)
    return fill_template(SmallTemplate(), "unet", weights, loading, adapters=False)


def run(source: FilledTemplate, provider: str = "cpu") -> tuple[NDArray[np.float32], ModelProto]:
    """Return the answer of the graph for `provider`, computed on the CPU after the source was closed, and the graph."""
    with source.open(provider) as content:
        data = content.model if isinstance(content.model, bytes) else content.model.read_bytes()
        options = onnxruntime.SessionOptions()
        if content.folder:
            options.add_session_config_entry(FOLDER, str(content.folder))
        session = onnxruntime.InferenceSession(content.model, options, providers=["CPUExecutionProvider"])
    dtype = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    (result,) = session.run(None, {"sample": SAMPLE.astype(dtype)})
    return result, ModelProto.FromString(data)


def distance(result: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the error of a result relative to its size."""
    return float(np.linalg.norm(result - wanted) / np.linalg.norm(wanted))


def operators(model: ModelProto) -> list[str]:
    """Return the operators that multiply or transpose matrices, in order."""
    return [node.op_type for node in model.graph.node if node.op_type not in ("Add", "Conv", "Reshape", "Flatten")][1:]


def locations(model: ModelProto) -> set[str]:
    """Return the names of the files of weights."""
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return {Path(entry.value).name for entry in entries if entry.key == "location"}


def files_in(cache: Path) -> list[str]:
    """Return all files and folders below the cache."""
    return sorted(path.name for path in cache.rglob("*")) if cache.exists() else []


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
@pytest.mark.parametrize("dtype", FORMATS)
def test_a_cpu_computes_in_float32(tmp_path: Path, cache: Path, dtype: str, precision: str) -> None:
    """Any stored format gives the answer of its numbers; fp16 rounds float32 numbers; nothing is left in the cache."""
    source = fill(write_weights(tmp_path / "m.safetensors", dtype), cache, precision)
    result, model = run(source)
    np.testing.assert_allclose(result, answer(dtype, rounded=precision == "fp16"), atol=1e-5)
    assert operators(model) == ["FusedMatMul", "Gemm", "FusedMatMul"]
    assert locations(model) == ({"m.safetensors"} if dtype == "F32" and precision != "fp16" else {"weights"})
    assert files_in(cache) == []
    assert source.weights_bytes == numbers() * 4


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize(
    ("provider", "products"),
    [
        ("cuda", ["FusedMatMul", "Gemm", "FusedMatMul"]),
        ("tensorrt", ["MatMul", "Gemm", "MatMul"]),
        ("webgpu", ["MatMul", "Gemm", "MatMul"]),
        ("openvino", ["Transpose", "MatMul", "Gemm", "Transpose", "MatMul"]),
    ],
)
def test_ways_agree(tmp_path: Path, cache: Path, dtype: str, provider: str, products: list[str]) -> None:
    """Fused, turned and kept matrices give the same answer in float32."""
    weights = write_weights(tmp_path / "m.safetensors", dtype)
    result, model = run(fill(weights, cache, "fp32"), provider)
    np.testing.assert_allclose(result, answer(dtype), atol=1e-5)
    assert operators(model) == products


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
@pytest.mark.parametrize(
    ("dtype", "precision"), [("F16", "auto"), ("BF16", "auto"), ("F8_E5M2", "auto"), ("F32", "fp16")]
)
def test_a_gpu_computes_in_float16(tmp_path: Path, cache: Path, dtype: str, precision: str, provider: str) -> None:
    """Weights of 16 or 8 bits run in float16; float16 weights are pointed at where the provider reads them."""
    source = fill(write_weights(tmp_path / "m.safetensors", dtype), cache, precision)
    result, model = run(source, provider)
    assert result.dtype == np.float16
    np.testing.assert_allclose(result, answer(dtype), atol=0.02)
    assert ("m.safetensors" in locations(model)) == (dtype == "F16")
    assert ("weights" in locations(model)) == (dtype != "F16" or provider == "tensorrt")
    counted = fill(write_weights(tmp_path / "m.safetensors", dtype), cache, precision, provider=provider)
    assert source.bytes_on(provider) == counted.weights_bytes == numbers() * 2
    assert files_in(cache) == []


def test_float32_weights_stay_float32_on_a_gpu(tmp_path: Path, cache: Path) -> None:
    """So do components that float16 does not suit."""
    weights = write_weights(tmp_path / "m.safetensors")
    assert run(fill(weights, cache), "cuda")[0].dtype == np.float32
    options = LoadingOptions(cache=cache, precision=Precision.FP16)
    source = fill_template(SmallTemplate(), "vae_decoder", weights, options, adapters=False, half=False)
    np.testing.assert_allclose(run(source, "cuda")[0], answer(rounded=True), atol=1e-5)


@pytest.mark.parametrize("adapters", [False, True])
def test_variants_are_read(tmp_path: Path, cache: Path, *, adapters: bool) -> None:
    """The template's graph is the one for the precision, with or without inputs for adapters."""
    template = SmallTemplate()
    weights = write_weights(tmp_path / "m.safetensors", "F16")
    source = fill_template(template, "unet", weights, LoadingOptions(cache=cache), adapters=adapters)
    for provider in ("cuda", "cpu"):
        run(source, provider)
    assert template.reads == [(False, adapters), (True, adapters), (False, adapters)]


def test_a_hub_cache_is_pointed_at(tmp_path: Path, cache: Path) -> None:
    """Shards behind symbolic links, in folders of their own, are read where they lie."""
    drawn = {name: ("F32", array) for name, array in draw().items()}
    links = []
    for number, name in enumerate(("aa", "bb")):
        blob = tmp_path / "hub" / "blobs" / name / "0123"
        write_stored(blob, dict(list(drawn.items())[number::2]))
        links.append(tmp_path / "hub" / "snapshots" / "commit" / "unet" / f"{number}.safetensors")
        links[-1].parent.mkdir(parents=True, exist_ok=True)
        links[-1].symlink_to(blob)
    source = fill(ComponentWeights(tuple(links)), cache)
    np.testing.assert_allclose(run(source)[0], answer(), atol=1e-5)
    assert files_in(cache) == []
    assert source.files == tuple(links)
    assert source.label == "unet/0.safetensors"


@pytest.mark.parametrize("odd", [1, 2, 3])
def test_unaligned_numbers_are_copied(tmp_path: Path, cache: Path, odd: int) -> None:
    """A header of an odd length, which older files have, puts numbers where no provider can read them in place."""
    path = write_stored(tmp_path / "m.safetensors", {n: ("F32", a) for n, a in draw().items()}, odd=odd)
    result, model = run(fill(ComponentWeights((path,)), cache))
    np.testing.assert_allclose(result, answer(), atol=1e-5)
    assert locations(model) == {"weights"}


def test_drives_without_a_common_folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no folder has both the published files and the cache, all weights are copied."""
    source = fill(write_weights(tmp_path / "m.safetensors"), cache)
    monkeypatch.setattr("os.path.commonpath", lambda _: (_ for _ in ()).throw(ValueError))
    result, model = run(source)
    np.testing.assert_allclose(result, answer(), atol=1e-5)
    assert locations(model) == {"weights"}


def named(
    path: Path, tensors: Mapping[str, tuple[str, NDArray[Any]]], pieces: Mapping[str, Sequence[Piece]]
) -> ComponentWeights:
    """Write a file whose tensors have other names and forms than the parameters."""
    write_stored(path, tensors)
    return ComponentWeights((path,), lambda name: tuple(pieces.get(name, (Piece(name),))))


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_pieces_make_the_same_graph(tmp_path: Path, cache: Path, dtype: str) -> None:
    """Rows of joined tensors are pointed at; swapped and transposed ones are copied; all give the same answer."""
    w = draw(dtype)
    joined = np.concatenate([np.zeros_like(w["up.weight"]), w["up.weight"]])
    swapped = np.concatenate([w["mid.weight"][8:], w["mid.weight"][:8]])
    moved = {"joined": joined, "swapped": swapped, "turned": np.ascontiguousarray(w["down.weight"].T)}
    moved["conv.weight"] = w.pop("conv.weight").reshape(6, 16)
    for name in ("up.weight", "mid.weight", "down.weight"):
        del w[name]
    pieces = {
        "up.weight": [Piece("joined", 12, 24)],
        "mid.weight": [Piece("swapped", 8, 16), Piece("swapped", 0, 8)],
        "down.weight": [Piece("turned", transposed=True)],
    }
    tensors = {name: (dtype, array) for name, array in {**w, **moved}.items()}
    source = fill(named(tmp_path / "m.safetensors", tensors, pieces), cache)
    result, model = run(source)
    np.testing.assert_allclose(result, answer(dtype), atol=1e-5)
    assert locations(model) == ({"m.safetensors", "weights"} if dtype == "F32" else {"weights"})
    if dtype == "F32":
        at = {t.name: {e.key: e.value for e in t.external_data} for t in model.graph.initializer}
        assert at["up.weight"]["location"].endswith("m.safetensors")
        assert int(at["up.weight"]["length"]) == 12 * 8 * 4


def test_neighbours_are_pointed_at(tmp_path: Path, cache: Path) -> None:
    """Pieces that follow each other in the file are one place."""
    w = draw()
    halves = {"a": w["up.weight"][:5], "b": w["up.weight"][5:]}
    tensors = {name: ("F32", array) for name, array in {**halves, **w}.items() if name != "up.weight"}
    source = fill(named(tmp_path / "m.safetensors", tensors, {"up.weight": [Piece("a"), Piece("b")]}), cache)
    result, model = run(source)
    np.testing.assert_allclose(result, answer(), atol=1e-5)
    assert locations(model) == {"m.safetensors"}


def test_scaled_float8(tmp_path: Path, cache: Path) -> None:
    """Weights that were divided by a scale are multiplied by it."""
    tensors: dict[str, tuple[str, NDArray[Any]]] = {"scaled_fp8": ("F8_E4M3", np.zeros(0, np.uint8))}
    for name, array in draw().items():
        if name.startswith(("up", "mid", "down")) and name.endswith("weight"):
            stem = name.removesuffix("weight")
            tensors[name] = ("F8_E4M3", encode(array * 100, "F8_E4M3"))
            tensors[f"{stem}scale_weight"] = ("F32", np.array([0.01], np.float32))
            tensors[f"{stem}scale_input"] = ("F32", np.array([1], np.float32))
        else:
            tensors[name] = ("F32", array)
    source = fill(ComponentWeights((write_stored(tmp_path / "m.safetensors", tensors),)), cache)
    assert 0 < distance(run(source)[0], answer()) < 0.06


@pytest.mark.parametrize(("dtype", "provider"), [("F16", "cpu"), ("BF16", "cuda"), ("F32", "openvino")])
def test_converted_weights_are_kept(tmp_path: Path, cache: Path, dtype: str, provider: str) -> None:
    """With `mapped`, and always for OpenVINO, the second session reads what the first one wrote."""
    weights = write_weights(tmp_path / "m.safetensors", dtype)
    source = fill(weights, cache, mapped=provider != "openvino")
    assert source.card(provider) is None
    first, model = run(source, provider)
    assert files_in(cache)[:3] == ["card.json", "model.onnx", files_in(cache)[2]]
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.name in ("weights", "model.onnx")}
    again = fill(weights, cache, mapped=provider != "openvino")
    assert again == source
    second, same = run(again, provider)
    np.testing.assert_array_equal(first, second)
    assert same == model
    assert {path: path.stat().st_mtime_ns for path in before} == before
    card = again.card(provider)
    assert card is not None
    assert (card["component"], card["template"], card["quantization"]) == ("unet", "small", None)
    assert card["bytes"] >= numbers() * (2 if provider == "cuda" else 4)


def test_pointed_weights_need_no_entry(tmp_path: Path, cache: Path) -> None:
    """With `mapped`, float32 weights are still read where they lie."""
    source = fill(write_weights(tmp_path / "m.safetensors"), cache, mapped=True)
    assert locations(run(source)[1]) == {"m.safetensors"}
    assert files_in(cache) == []


def test_changed_files_make_other_entries(tmp_path: Path, cache: Path) -> None:
    """Weights that were converted from an older file are not used, and are removed."""
    weights = write_weights(tmp_path / "m.safetensors", "F16")
    run(fill(weights, cache, mapped=True))
    (old,) = cache.iterdir()
    tensors = {name: ("F16", array * 2) for name, array in draw("F16").items()}
    write_stored(tmp_path / "new.safetensors", tensors).replace(tmp_path / "m.safetensors")
    result, _ = run(fill(weights, cache, mapped=True))
    assert np.abs(result - answer("F16")).max() > 1
    (new,) = cache.iterdir()
    assert new != old


@pytest.fixture
def small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let matrices of the small template be quantized."""
    monkeypatch.setattr(quantizing, "SMALLEST", 50)


@pytest.mark.usefixtures("small_layers")
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize(("precision", "error"), [("int8", 0.01), ("int4", 0.12)])
def test_linear_layers_are_quantized(tmp_path: Path, cache: Path, dtype: str, precision: str, error: float) -> None:
    """MatMul and Gemm read blocks of 8 or 4 bits, everything else stays; the card has the errors."""
    weights = write_weights(tmp_path / "m.safetensors", dtype)
    source = fill(weights, cache, precision)
    result, model = run(source)
    assert operators(model) == ["MatMulNBits", "MatMulNBits", "FusedMatMul"]
    assert 0.0001 < distance(result, answer(dtype)) < error
    card = source.card("cpu")
    assert card is not None
    assert card["quantization"]["quantized"].keys() == {"up.weight", "mid.weight"}
    assert card["precision"] == precision
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    assert "up.weight" not in tensors
    stored = sum(math_bytes(tensors[name]) for name in tensors if name != "image_shape")
    assert source.weights_bytes == stored
    again, _ = run(fill(weights, cache, precision))
    np.testing.assert_array_equal(again, result)


def math_bytes(tensor: Any) -> int:
    """Return the bytes of a tensor in a file."""
    return next(int(entry.value) for entry in tensor.external_data if entry.key == "length")


@pytest.mark.usefixtures("small_layers")
@pytest.mark.parametrize(("exact", "level"), [(False, 4), (True, 1)])
def test_exact_products(tmp_path: Path, cache: Path, *, exact: bool, level: int) -> None:
    """With `exact` the other factor of a product stays float32."""
    _, model = run(fill(write_weights(tmp_path / "m.safetensors"), cache, "int8", exact=exact))
    nodes = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    assert [a.i for node in nodes for a in node.attribute if a.name == "accuracy_level"] == [level, level]


@pytest.mark.usefixtures("small_layers")
def test_layers_that_suffer_are_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose error exceeds the limit stays as it is stored."""
    monkeypatch.setattr(quantizing, "LIMITS", {8: 1e-9, 4: 1e-9})
    source = fill(write_weights(tmp_path / "m.safetensors"), cache, "int8")
    result, model = run(source)
    np.testing.assert_allclose(result, answer(), atol=1e-5)
    assert operators(model) == ["FusedMatMul", "Gemm", "FusedMatMul"]


@pytest.mark.usefixtures("small_layers")
def test_float16_blocks_for_a_gpu(tmp_path: Path, cache: Path) -> None:
    """The scales have the type of the other weights."""
    source = fill(write_weights(tmp_path / "m.safetensors", "F16"), cache, "int8")
    with source.open("cuda") as content:
        model = ModelProto.FromString(content.model if isinstance(content.model, bytes) else b"")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert (kinds["up.weight.codes"], kinds["up.weight.scales"]) == (2, 10)


def test_files_that_changed_are_refused(tmp_path: Path, cache: Path) -> None:
    """A source opens only the files whose headers it has read."""
    weights = write_weights(tmp_path / "m.safetensors")
    source = fill(weights, cache)
    assert overwritten_files(source) == []
    path = weights.files[0]
    with path.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    assert overwritten_files(source) == [path]
    with (
        pytest.raises(ModelFileError, match=r"m\.safetensors has changed since the model was read"),
        source.open("cpu"),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("up.weight"), "missing: up.weight"),
        (lambda t: t.update({"up.weight": t["mid.weight"]}), r"unsuitable: up.weight has the shape \[16, 12\]"),
        (lambda t: t.update({"lora.weight": t["up.bias"]}), "unknown: lora.weight"),
    ],
)
def test_unsuitable_files_are_refused(tmp_path: Path, cache: Path, change: Any, message: str) -> None:
    """The message names file, template and tensor, and the way out."""
    tensors = {name: ("F32", array) for name, array in draw().items()}
    change(tensors)
    path = write_stored(tmp_path / "unet" / "m.safetensors", tensors)
    with pytest.raises(ModelFileError, match=message) as caught:
        fill(ComponentWeights((path,)), cache)
    assert str(caught.value).startswith("unet/m.safetensors does not fit the template small; ")
    assert files_in(cache) == []


@pytest.mark.parametrize("kind", ["kl_encoder", "kl_decoder"])
def test_halves_of_a_vae_share_a_file(tmp_path: Path, cache: Path, kind: str) -> None:
    """The other half's tensors are not unknown, its parameters' names are never those of this half."""
    half = {"kl_encoder": "encoder", "kl_decoder": "decoder"}
    shapes = {f"{half[kind]}.{name}": shape for name, shape in SHAPES.items()}
    both = {f"{part}.{name}": ("F32", array) for part in half.values() for name, array in draw().items()}
    both |= {name: ("F32", np.zeros(1, np.float32)) for name in ("quant_conv.bias", "post_quant_conv.bias")}
    own = {"kl_encoder": "quant_conv.bias", "kl_decoder": "post_quant_conv.bias"}[kind]
    path = write_stored(tmp_path / "m.safetensors", both)
    template = SmallTemplate(kind=kind, shapes={**shapes, own: (1,)})
    source = fill_template(template, "vae", ComponentWeights((path,)), LoadingOptions(cache=cache), adapters=False)
    assert {each.name for each in source.links} == {*shapes, own}
    with pytest.raises(ModelFileError, match="unknown"):
        fill_template(
            replace(template, kind="unet"),
            "vae",
            ComponentWeights((path,)),
            LoadingOptions(cache=cache),
            adapters=False,
        )


@pytest.mark.parametrize("mapped", [False, True])
def test_converting_stops_between_weights(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, *, mapped: bool
) -> None:
    """Once `stop` is set, no further weight is written, nothing is left, and the source opens no more."""
    source = fill(write_weights(tmp_path / "m.safetensors", "F16"), cache, mapped=mapped)
    write, written = filled_graph.WeightWriter.write, []

    def write_and_stop(*given: Any) -> filled_graph.Place:
        source.options.stop.set()
        written.append(given)
        return write(*given)

    monkeypatch.setattr(filled_graph.WeightWriter, "write", write_and_stop)
    for _ in range(2):
        with pytest.raises(Cancelled, match=r"m\.safetensors is not loaded: tintype is ending"), source.open("cpu"):
            pass
    assert len(written) == 1
    assert files_in(cache) == []


@pytest.mark.parametrize("mapped", [False, True])
def test_a_full_disk_is_noticed_before_writing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, *, mapped: bool
) -> None:
    """The message has the space that is needed and where, and nothing is left."""
    source = fill(write_weights(tmp_path / "unet" / "m.safetensors", "F16"), cache, mapped=mapped)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(OSError, match=r"unet/m\.safetensors needs 65 MiB in .*cache, where 0 MiB are free"):
        run(source)
    assert files_in(cache) == []


@pytest.mark.parametrize("mapped", [False, True])
def test_a_disk_that_fills_up(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, *, mapped: bool) -> None:
    """An error while writing leaves nothing, and the next try works."""
    source = fill(write_weights(tmp_path / "unet" / "m.safetensors", "F16"), cache, mapped=mapped)
    with monkeypatch.context() as patch:
        patch.setattr("tintype.service.models.templates.filled_graph._copy", full_disk)
        with pytest.raises(OSError, match=r"unet/m\.safetensors: the disk of .*cache is full"):
            run(source)
    assert files_in(cache) == []
    np.testing.assert_allclose(run(source)[0], answer("F16"), atol=1e-5)


def full_disk(*_: object) -> None:
    """Fail like a write to a full disk."""
    raise OSError(28, "No space left on device")


def test_a_session_that_fails_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    """The file is deleted if the session could not be made."""
    source = fill(write_weights(tmp_path / "m.safetensors", "F16"), cache)
    with contextlib.suppress(ZeroDivisionError), source.open("cpu"):
        assert files_in(cache)
        _ = 1 / 0
    assert files_in(cache) == []


def test_sources_are_equal_by_content(tmp_path: Path, cache: Path) -> None:
    """Equal sources give equal graphs, so that models may share one."""
    weights = write_weights(tmp_path / "m.safetensors")
    same = [fill(weights, cache), fill(ComponentWeights(weights.files), cache)]
    others = [
        fill(weights, cache, "fp16"),
        fill(weights, cache, mapped=True),
        fill(write_weights(tmp_path / "n"), cache),
    ]
    assert len({*same, *others}) == 4
    assert same[0] != "other"
    assert overwritten_files(same[0]) == []


def test_a_graph_keeps_its_other_parts(tmp_path: Path, cache: Path) -> None:
    """Inputs, outputs, small tensors and names of nodes are the template's."""
    _, model = run(fill(write_weights(tmp_path / "m.safetensors"), cache))
    template = template_model()
    assert (model.graph.input, model.graph.output) == (template.graph.input, template.graph.output)
    assert [n.name for n in model.graph.node] == [n.name for n in template.graph.node if n.op_type != "Transpose"]
    assert next(t for t in model.graph.initializer if t.name == "image_shape").raw_data
    assert json.dumps(sorted(o.domain for o in model.opset_import)) == '["", "com.microsoft"]'


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_deleted_weights_free_their_space(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session keeps small weights mapped; the large ones, which it has packed, are in files of their own."""
    monkeypatch.setattr(filled_graph, "SPLIT", 200)
    source = fill(write_weights(tmp_path / "m.safetensors", "F16"), cache)
    with source.open("cpu") as content:
        assert len([name for name in files_in(cache) if name.startswith("weights")]) > 2
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry(FOLDER, str(content.folder))
        session = onnxruntime.InferenceSession(content.model, options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"sample": SAMPLE})
    np.testing.assert_allclose(result, answer("F16"), atol=1e-5)
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(cache) in line]
    assert {line.removesuffix(" (deleted)").rpartition("/")[2] for line in lines} <= {"weights"}
