"""The weights of a graph are read only from its own folder, since model folders come from unknown sources."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.complexity import steps
from tests.support.models.onnx_files import (
    BOOL,
    FLOAT,
    GRAPH,
    INT64,
    SPARSE,
    TENSOR,
    attribute,
    external,
    field,
    graph,
    model,
    node,
    tensor,
    value,
)
from tintype.service.models import wire_format
from tintype.service.models.external_data import check, locations
from tintype.service.models.files import ModelFileError
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = np.array([1, 2, 3, 4], np.float32)
X, Y = value("x", FLOAT, [4]), value("y", FLOAT, [4])
ADD = node("Add", ["x", "w"], ["y"])


def constant(location: str, output: str = "w") -> bytes:
    return node("Constant", [], [output], attribute("value", 5, external("w", [4], location), TENSOR))


def sparse_tensor(location: str) -> bytes:
    indices = tensor("i", INT64, [4], np.arange(4, dtype=np.int64).tobytes())
    return field(1, external("w", [4], location)) + field(2, indices) + field(3, 4)


def branches(then: bytes) -> bytes:
    """Return a graph that takes the branch `then`, whose output is t, if the sum of x is not 0."""
    other = graph("else", [node("Identity", ["x"], ["e"])], outputs=[value("e", FLOAT, [4])])
    choice = attribute("then_branch", 6, then, GRAPH), attribute("else_branch", 6, other, GRAPH)
    truth = node("Cast", ["s"], ["c"], attribute("to", 3, BOOL, 2))
    summed = node("ReduceSum", ["x"], ["s"], attribute("keepdims", 3, 0, 2))
    return graph("main", [summed, truth, node("If", ["c"], ["y"], *choice)], [X], [Y])


def initializer(location: str) -> bytes:
    return model(graph("main", [ADD], [X], [Y], [external("w", [4], location)]))


def constant_node(location: str) -> bytes:
    return model(graph("main", [constant(location), ADD], [X], [Y]))


def in_a_subgraph(location: str) -> bytes:
    added = node("Add", ["x", "w"], ["t"])
    return model(branches(graph("then", [added], [], [value("t", FLOAT, [4])], [external("w", [4], location)])))


def constant_in_a_subgraph(location: str) -> bytes:
    added = node("Add", ["x", "w"], ["t"])
    return model(branches(graph("then", [constant(location), added], [], [value("t", FLOAT, [4])])))


def in_a_function(location: str) -> bytes:
    body = field(7, constant(location), node("Add", ["a", "w"], ["b"]))
    function = field(1, "F") + field(4, "a") + field(5, "b") + body + field(9, field(1, "") + field(2, 17))
    called = node("F", ["x"], ["y"], domain="own")
    return model(graph("main", [called], [X], [Y]), [function + field(10, "own")], ["", "own"])


def sparse_initializer(location: str) -> bytes:
    return model(graph("main", [ADD], [X], [Y], sparse=[sparse_tensor(location)]))


def sparse_constant(location: str) -> bytes:
    made = node("Constant", [], ["w"], attribute("sparse_value", 22, sparse_tensor(location), SPARSE))
    return model(graph("main", [made, ADD], [X], [Y]))


def fill_value(location: str) -> bytes:
    shape = tensor("s", INT64, [1], np.array([4], np.int64).tobytes())
    filled = node("ConstantOfShape", ["s"], ["w"], attribute("value", 5, external("v", [1], location, size=4), TENSOR))
    return model(graph("main", [filled, ADD], [X], [Y], [shape]))


PLACES = [
    initializer,
    constant_node,
    in_a_subgraph,
    constant_in_a_subgraph,
    in_a_function,
    sparse_initializer,
    sparse_constant,
    fill_value,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a component's folder, two levels below the folder with the secret."""
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    component = tmp_path / "model/unet"
    component.mkdir(parents=True)
    return component


def write(folder: Path, content: bytes) -> Path:
    (folder / "model.onnx").write_bytes(content)
    return folder / "model.onnx"


def link_to_file(folder: Path) -> str:
    (folder / "w.bin").symlink_to("../../secret.bin")
    return "w.bin"


def link_to_folder(folder: Path) -> str:
    (folder / "there").symlink_to("../..", target_is_directory=True)
    return "there/secret.bin"


def through_a_folder(folder: Path) -> str:
    (folder / "a").mkdir()
    return "a/../../../secret.bin"


def beside_the_folder(folder: Path) -> str:
    shutil.copy(folder / "../../secret.bin", folder.parent / "w.bin")
    return "../w.bin"


def with_a_similar_name(folder: Path) -> str:
    (folder.parent / "unet2").mkdir()
    shutil.copy(folder / "../../secret.bin", folder.parent / "unet2/w.bin")
    (folder / "w.bin").symlink_to("../unet2/w.bin")
    return "w.bin"


def an_address(folder: Path) -> str:
    """Return a name that onnxruntime reads as an address in the process's memory; a file of that name exists."""
    (folder / "*/_ORT_MEM_ADDR_").mkdir(parents=True)
    shutil.copy(folder / "../../secret.bin", folder / "*/_ORT_MEM_ADDR_/*")
    return "*/_ORT_MEM_ADDR_/*"


WAYS: dict[str, Callable[[Path], str]] = {
    "parents": lambda _: "../../secret.bin",
    "dot": lambda _: "./../../secret.bin",
    "through": through_a_folder,
    "absolute": lambda folder: str(folder.parents[1] / "secret.bin"),
    "doubled": lambda folder: "/" + str(folder.parents[1] / "secret.bin"),
    "backslashes": lambda _: "..\\..\\secret.bin",
    "drive": lambda _: "C:\\secret.bin",
    "share": lambda _: "\\\\host\\share\\secret.bin",
    "link": link_to_file,
    "linked folder": link_to_folder,
    "beside": beside_the_folder,
    "similar": with_a_similar_name,
    "address": an_address,
    "device": lambda _: "/dev/zero",
    "nul": lambda _: "w.bin\0/../../secret.bin",
    "nothing": lambda _: "",
    "itself": lambda _: ".",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_weights_outside_of_the_folder_are_rejected(
    folder: Path, place: Callable[[str], bytes], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No runtime opens the graph, wherever in it a tensor names a file elsewhere, and in whichever way."""
    location = WAYS[way](folder)
    path = write(folder, place(location))
    monkeypatch.setattr("tintype.service.models.runtime.ort.session_options", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ModelFileError, match=r"unet/model\.onnx can't be loaded: its weights are in "):
        Session(OnnxFile(path), Runtime("cpu", 1))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["parents", "through", "absolute", "link", "linked folder", "similar"])
def test_onnxruntime_rejects_weights_outside_of_the_folder(
    folder: Path, place: Callable[[str], bytes], way: str
) -> None:
    """The installed onnxruntime checks as well, in case the check here misses a name."""
    path = write(folder, place(WAYS[way](folder)))
    options = onnxruntime().SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match=r"(?i)external|outside|symbolic|symlink|absolute"):
        onnxruntime().InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["model.onnx_data", "parts/weights.bin", "./model.onnx_data", "unet.0.weight"])
def test_weights_in_the_folder_are_read(folder: Path, place: Callable[[str], bytes], name: str) -> None:
    """Exporters put weights next to the graph or in a folder below it."""
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "../../secret.bin", folder / name)
    path = write(folder, place(name))
    assert locations(path) == {name}
    answer = Session(OnnxFile(path), Runtime("cpu", 1)).run("y", x=np.ones(4, np.float32))
    assert answer.tolist() == [2, 3, 4, 5] or (place is fill_value and answer.tolist() == [2] * 4)


def test_a_snapshot_in_hugging_faces_cache_is_read(tmp_path: Path) -> None:
    """There a graph and its weights are links into one folder of blobs."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots/1/unet").mkdir(parents=True)
    (tmp_path / "blobs/0a").write_bytes(initializer("model.onnx_data"))
    (tmp_path / "blobs/0b").write_bytes(SECRET.tobytes())
    for name, blob in {"model.onnx": "0a", "model.onnx_data": "0b"}.items():
        (tmp_path / "snapshots/1/unet" / name).symlink_to(f"../../../blobs/{blob}")
    session = Session(OnnxFile(tmp_path / "snapshots/1/unet/model.onnx"), Runtime("cpu", 1))
    assert session.run("y", x=np.ones(4, np.float32)).tolist() == [2, 3, 4, 5]


def test_a_linked_model_folder_is_read(folder: Path, tmp_path: Path) -> None:
    """A model's folder may itself be a symbolic link."""
    shutil.copy(tmp_path / "secret.bin", folder / "w.bin")
    write(folder, initializer("w.bin"))
    (tmp_path / "link").symlink_to(folder.parent, target_is_directory=True)
    check(tmp_path / "link/unet/model.onnx")


def test_all_weights_are_found_in_unusual_encodings(folder: Path) -> None:
    """A repeated field, fields in another order and nested graphs hide nothing; protobuf takes the last field."""
    inner = graph("inner", [constant("deep.bin")])
    for _ in range(60):
        inner = graph("outer", [node("If", ["c"], ["y"], attribute("then_branch", 6, inner, GRAPH))])
    entry = field(2, "first.bin") + field(1, "other") + field(1, "location") + field(2, "second.bin")
    twice = field(13, entry) + field(8, "w")
    content = model(graph("main", [ADD], [X], [Y], [twice])) + field(7, inner) + field(7, graph("", [constant("b")]))
    assert locations(write(folder, content)) == {"deep.bin", "first.bin", "second.bin", "b"}


@pytest.mark.parametrize("content", [b"\x3c?xml", b"\x3a\xff\xff\x03short", b"\xff" * 30, b"\x3a", b"\x08"])
def test_a_file_that_is_not_a_graph_is_rejected(folder: Path, content: bytes) -> None:
    """A file that protobuf can't read is not passed to a runtime, which might read it in another format."""
    with pytest.raises(ModelFileError, match="is not an ONNX graph, or was cut off"):
        check(write(folder, content))


def test_an_empty_file_has_no_weights(folder: Path) -> None:
    """An empty file is an empty message to protobuf; the runtime reports the problem."""
    assert locations(write(folder, b"")) == set()


def test_the_built_in_graphs_are_accepted() -> None:
    """All graphs of the built-in model pass the check."""
    paths = list(BUILTIN.glob("*/model.onnx"))
    assert paths
    for path in paths:
        check(path)


def test_the_check_reads_each_field_once(folder: Path) -> None:
    """Work grows in proportion to the number of nodes, and does not grow with the bytes of weights."""

    def work(count: int, size: int) -> int:
        weights = [tensor(f"w{i}", FLOAT, [size // 4], bytes(size)) for i in range(10)]
        path = write(folder, model(graph("main", [constant("w.bin")] * count, [X], [Y], weights)))
        return steps(lambda: locations(path))

    assert 1.5 < work(400, 64) / work(200, 64) < 2.5
    assert work(200, 1 << 20) < 1.1 * work(200, 64)


def test_the_number_of_fields_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file keeps the loader busy for minutes."""
    monkeypatch.setattr(wire_format, "MAX_FIELDS", 100)
    with pytest.raises(ModelFileError, match="more than 100 fields"):
        check(write(folder, model(graph("main", [ADD] * 50, [X], [Y]))))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_rejected(folder: Path) -> None:
    """A pipe is not opened, since reading it might never end."""
    os.mkfifo(folder / "w.bin")
    with pytest.raises(ModelFileError, match="not a file in the graph's folder"):
        check(write(folder, initializer("w.bin")))
