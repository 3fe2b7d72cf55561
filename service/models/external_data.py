"""Check that a graph's weights are files in its own folder.

A tensor of an ONNX file may name another file that holds its values. Model folders come from unknown sources, so each
name is checked before a runtime reads the file. onnxruntime 1.31 and OpenVINO 2026.2 check it as well; older versions
read `../../secret.bin`, or follow a symbolic link to it.

A name must be a relative path without `..`. Links are followed: their target must be below the graph's folder, or below
the folder of the file that the graph itself links to. So a snapshot in Hugging Face's cache is allowed, whose graphs
and weights are links into one folder of blobs.

The file is read by protobuf's wire format, without the package `onnx`, in one pass over the fields that skips the bytes
of weights. Tensors in subgraphs, functions, sparse tensors and attributes are checked, too.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from .files import ModelFileError
from .wire_format import BYTES, FieldBudget, fields, map_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

# The messages of onnx.proto that contain tensors: the numbers of the fields to follow, and the message in each.
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
KEY, VALUE = 1, 2  # the fields of an entry, StringStringEntryProto
LOCATION = b"location"


def check(path: Path) -> None:
    """Check that the weights of the graph at `path` are in its folder.

    Raises:
        ModelFileError: they are elsewhere, or the file is not an ONNX graph.
        OSError: the file is missing.
    """
    folders = (path.parent.resolve(), path.resolve().parent)
    for location in sorted(locations(path)):
        problem = _problem(path.parent, folders, location)
        if problem:
            raise ModelFileError(f"its weights are in {location!r}, {problem}")


def locations(path: Path) -> set[str]:
    """Return the names of all files that hold tensors of a graph.

    Raises:
        ModelFileError: the file is not an ONNX graph.
    """
    return set(_locations(map_file(path)))


def _problem(folder: Path, folders: tuple[Path, ...], location: str) -> str:
    """Return what is wrong with a location; empty if nothing is."""
    paths = PurePosixPath(location), PureWindowsPath(location)
    if "\0" in location or "*" in location or any(path.anchor or ".." in path.parts for path in paths):
        return "which is not a relative path below the graph's folder"
    file = folder / location
    if not file.is_file():
        return "which is not a file in the graph's folder"
    if not any(file.resolve().is_relative_to(allowed) for allowed in folders):
        return "which is a link to outside of the graph's folder"
    return ""


def _locations(data: mmap | bytes) -> Iterator[str]:
    messages, budget = [("model", 0, len(data))], FieldBudget()
    while messages:
        message, start, end = messages.pop()
        entry: dict[int, list[bytes]] = {}
        for number, wire_type, first, last in fields(data, start, end):
            budget.spend()
            if wire_type != BYTES:
                continue
            if message == "entry":
                entry.setdefault(number, []).append(data[first:last])
            elif number in MESSAGES[message]:
                messages.append((MESSAGES[message][number], first, last))
        if LOCATION in entry.get(KEY, ()):
            yield from (value.decode("utf-8", "surrogateescape") for value in entry.get(VALUE, [b""]))
