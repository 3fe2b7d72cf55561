"""Adapters: several with weights, different ones for each row; the error for a wrong one gives the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models.adapter_files import write_tensors
from tintype.service.errors import InvalidField
from tintype.service.models.adapters.adapters import CACHED_ADAPTERS, Adapters, AdapterWeights, names
from tintype.service.models.adapters.layer_sizes import layer_sizes
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session import Session

if TYPE_CHECKING:
    from pathlib import Path

PORTS = {"unet": {"up.to_q": (3, 2), "up.to_v": (3, 4)}, "text_encoder": {"fc": (5, 5)}}
RANDOM = np.random.default_rng(0)


def pair(key: str, wide: int, out: int, rank: int) -> dict[str, np.ndarray]:
    a, b = RANDOM.standard_normal((wide, rank), np.float32), RANDOM.standard_normal((rank, out), np.float32)
    return {f"{key}.A": a, f"{key}.B": b}


INK = pair("unet.up.to_q", 3, 2, 2) | pair("unet.up.to_v", 3, 4, 2)
CLAY = pair("unet.up.to_q", 3, 2, 3) | pair("text_encoder.fc", 5, 5, 1)


@pytest.fixture
def adapters(tmp_path: Path) -> Adapters:
    for name, tensors in (("ink", INK), ("clay", CLAY)):
        write_tensors(tmp_path / "loras" / f"{name}.safetensors", tensors)
    return Adapters(tmp_path, PORTS)


def change(tensors: dict[str, np.ndarray], key: str) -> np.ndarray:
    """Return the change of a layer's weights by an adapter."""
    return tensors[f"{key}.A"] @ tensors[f"{key}.B"]


def changes(inputs: dict[str, np.ndarray], module: str) -> np.ndarray:
    """Return the change of a layer's weights for each row."""
    return inputs[f"lora.{module}.A"] @ inputs[f"lora.{module}.B"]


def test_adapters_of_a_folder_are_listed(adapters: Adapters, tmp_path: Path) -> None:
    """Names are those of the files, sorted; a folder without adapters has none."""
    assert adapters is not None
    assert names(tmp_path) == ("clay", "ink")
    assert names(tmp_path / "loras") == ()


def test_layers_are_found_by_optional_inputs() -> None:
    """The inputs' names give the layers, their shapes the sizes."""
    inputs = {"lora.up.to_q.A": ("lora_n", 3, "lora_r"), "lora.up.to_q.B": ("lora_n", "lora_r", 2), "other": (1,)}
    assert layer_sizes(inputs) == {"up.to_q": (3, 2)}


def test_convolutions_are_found_by_their_inputs() -> None:
    """The kernel's size is between the rank and the input channels."""
    inputs = {"lora.conv.A": ("lora_n", "lora_r", 3, 2, 5), "lora.conv.B": ("lora_n", 4, "lora_r")}
    assert layer_sizes(inputs) == {"conv": (5, 3, 2, 4)}


def test_convolutions_are_fed_in_the_graphs_layout(tmp_path: Path) -> None:
    """The rank is the second axis of A and the last of B; lower ranks, and rows without adapters, get zeros."""
    files = {}
    for name, rank in (("ink", 2), ("clay", 3)):
        a = RANDOM.standard_normal((5, 3, 2, rank), np.float32)
        files[name] = a, RANDOM.standard_normal((rank, 4), np.float32)
        write_tensors(tmp_path / f"loras/{name}.safetensors", {"unet.conv.A": a, "unet.conv.B": files[name][1]})
    adapters = Adapters(tmp_path, {"unet": {"conv": (5, 3, 2, 4)}})
    inputs = adapters.graph_inputs("unet", [(("ink", 1.0),), (), (("clay", 2.0), ("ink", -1.0))])
    a, b = inputs["lora.conv.A"], inputs["lora.conv.B"]
    assert (a.shape, b.shape) == ((3, 5, 3, 2, 5), (3, 4, 5))
    made = np.einsum("nrhwi,nor->nihwo", a, b)
    changed = {name: a @ b for name, (a, b) in files.items()}
    assert np.allclose(made[0], changed["ink"], atol=1e-6)
    assert not made[1].any()
    assert np.allclose(made[2], 2 * changed["clay"] - changed["ink"], atol=1e-6)


def test_no_adapter_needs_no_inputs(adapters: Adapters) -> None:
    """The graph's default of rank 0 is used."""
    assert adapters.graph_inputs("unet", [(), ()]) == {}


def test_one_adapter_of_all_rows_is_fed_once(adapters: Adapters) -> None:
    """It has its weight, which may be negative; a component that it does not change gets no inputs."""
    inputs = adapters.graph_inputs("unet", [(("ink", -0.5),)] * 3)
    assert {name: array.shape[0] for name, array in inputs.items()} == dict.fromkeys(inputs, 1)
    for module in ("up.to_q", "up.to_v"):
        assert np.allclose(changes(inputs, module), -0.5 * change(INK, f"unet.{module}"), atol=1e-6)
    assert adapters.graph_inputs("text_encoder", [(("ink", 1.0),)]) == {}


def test_adapters_are_added(adapters: Adapters) -> None:
    """Each has its weight, in every layer that it changes."""
    inputs = adapters.graph_inputs("unet", [(("ink", 0.7), ("clay", 2.0))])
    both = 0.7 * change(INK, "unet.up.to_q") + 2 * change(CLAY, "unet.up.to_q")
    assert np.allclose(changes(inputs, "up.to_q"), both, atol=1e-6)
    assert np.allclose(changes(inputs, "up.to_v"), 0.7 * change(INK, "unet.up.to_v"), atol=1e-6)


def test_adapters_in_use_outlive_their_files(adapters: Adapters, tmp_path: Path) -> None:
    """A held adapter is used after its file is deleted and the cache has dropped it."""
    held = adapters.check((("ink", 1.0),))
    before = {name: array.copy() for name, array in adapters.graph_inputs("unet", [(("ink", 1.0),)]).items()}
    (tmp_path / "loras" / "ink.safetensors").unlink()
    others = [f"other{number}" for number in range(CACHED_ADAPTERS + 1)]
    for name in others:
        write_tensors(tmp_path / "loras" / f"{name}.safetensors", CLAY)
    adapters.read(others)
    after = adapters.graph_inputs("unet", [(("ink", 1.0),)])
    assert all(np.array_equal(before[name], after[name]) for name in (*before, *after))
    del held
    adapters.read(others)
    with pytest.raises(InvalidField, match=r"adapter 'ink': loras/ink\.safetensors"):
        adapters.check((("ink", 1.0),))


def test_every_row_has_its_own_adapters(adapters: Adapters) -> None:
    """Rows with different adapters, and with none, share a call without affecting each other."""
    rows: list[AdapterWeights] = [(("ink", 1.0),), (), (("clay", 1.0),)]
    made = changes(adapters.graph_inputs("unet", rows), "up.to_q")
    assert np.allclose(made[0], change(INK, "unet.up.to_q"), atol=1e-6)
    assert not made[1].any()
    assert np.allclose(made[2], change(CLAY, "unet.up.to_q"), atol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        (pair("unet.down.to_q", 3, 2, 1), "changes unet.down.to_q, which this model does not have"),
        (pair("unet.up.to_q", 3, 3, 1), "changes unet.up.to_q from 3 to 3, which is from 3 to 2 in this model"),
        (
            pair("vae.conv", 3, 3, 1),
            "changes the vae, which takes no adapters in this model: export it with --with-lora",
        ),
        ({"unet.up.to_q.A": np.zeros((3, 1), np.float32)}, "must hold two matrices unet.up.to_q.A"),
        ({"unet.up.to_q.alpha": np.zeros(1, np.float32)}, "unet.up.to_q has no matrices, only alpha"),
        (INK | {"unet.up.to_q.C": np.zeros(1, np.float32)}, "holds unet.up.to_q.C, which is neither A nor B"),
        (
            {"unet.up.to_q.A": np.full((3, 1), np.nan, np.float32), "unet.up.to_q.B": np.zeros((1, 2), np.float32)},
            "changes unet.up.to_q by numbers that are not finite",
        ),
        (
            {"unet.conv.A": np.zeros((3, 3, 3, 1), np.float32), "unet.conv.B": np.zeros((1, 4), np.float32)},
            "changes unet.conv, but no convolution of this model takes adapters: export it again with --with-lora",
        ),
        (
            {"unet.up.to_q.A": np.zeros((3, 3, 3, 1), np.float32), "unet.up.to_q.B": np.zeros((1, 2), np.float32)},
            "changes unet.up.to_q from 3 to 2 by 3 x 3, which is from 3 to 2 in this model",
        ),
        ({}, "holds no adapter: it is empty"),
        (
            {"unet.a\nb.A": np.zeros((3, 1), np.float32), "unet.a\nb.B": np.zeros((1, 2), np.float32)},
            r"changes unet\.a\\nb, which this model does not have",
        ),
    ],
)
def test_unsuitable_adapters_are_rejected(
    adapters: Adapters, tmp_path: Path, tensors: dict[str, np.ndarray], problem: str
) -> None:
    """The error of the request gives the reason; adapters that fit are accepted."""
    write_tensors(tmp_path / "loras" / "odd.safetensors", tensors)
    adapters.check((("ink", 1.0), ("clay", 1.0)))
    with pytest.raises(InvalidField, match=f"loras: adapter 'odd' {problem}"):
        adapters.check((("odd", 1.0),))


def test_a_damaged_file_fails_its_request(adapters: Adapters, tmp_path: Path) -> None:
    """Only the request that names it fails."""
    (tmp_path / "loras" / "odd.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidField, match=r"loras: adapter 'odd': loras/odd\.safetensors is not a safetensors file"):
        adapters.check((("odd", 1.0),))


@pytest.mark.parametrize("start", [b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_a_pickle_is_named(adapters: Adapters, tmp_path: Path, start: bytes) -> None:
    """Pickles and torch's archives of them are recognized by their first bytes."""
    (tmp_path / "loras" / "odd.safetensors").write_bytes(start + bytes(64))
    with pytest.raises(InvalidField, match=r"adapter 'odd': loras/odd\.safetensors is a pickle, which can run"):
        adapters.check((("odd", 1.0),))


@pytest.mark.torch
def test_a_graph_adds_its_adapter_inputs(adapters: Adapters, tmp_path: Path) -> None:
    """Onnxruntime takes A and B as inputs with a default: no adapter, one for all rows, one for each row."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = RANDOM.standard_normal((3, 2), np.float32)
    inputs = {"x": ["n", "t", 3], "lora.up.to_q.A": ["lora_n", 3, "lora_r"], "lora.up.to_q.B": ["lora_n", "lora_r", 2]}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["base"]),
        helper.make_node("MatMul", ["x", "lora.up.to_q.A"], ["down"]),
        helper.make_node("MatMul", ["down", "lora.up.to_q.B"], ["up"]),
        helper.make_node("Add", ["base", "up"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", kind, ["n", "t", 2])],
        [
            onnx.numpy_helper.from_array(weights, "w"),
            onnx.numpy_helper.from_array(np.zeros((1, 3, 0), np.float32), "lora.up.to_q.A"),
            onnx.numpy_helper.from_array(np.zeros((1, 0, 2), np.float32), "lora.up.to_q.B"),
        ],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "model.onnx")
    session = Session(OnnxFile(tmp_path / "model.onnx"), Runtime("cpu", 1))
    assert set(session.inputs) == {"x"}
    assert layer_sizes(session.optional) == {"up.to_q": (3, 2)}
    x = RANDOM.standard_normal((2, 4, 3), np.float32)
    ink, clay = change(INK, "unet.up.to_q"), change(CLAY, "unet.up.to_q")
    cases: list[tuple[list[AdapterWeights], list[np.ndarray]]] = [
        ([(), ()], [weights, weights]),
        ([(("ink", 2.0),)] * 2, [weights + 2 * ink] * 2),
        ([(("ink", 1.0), ("clay", -1.0)), ()], [weights + ink - clay, weights]),
    ]
    for rows, merged in cases:
        fed = {name: array for name, array in adapters.graph_inputs("unet", rows).items() if "to_q" in name}
        assert np.allclose(session.run("y", x=x, **fed), x @ np.stack(merged), atol=1e-5)
