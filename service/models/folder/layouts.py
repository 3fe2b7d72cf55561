"""Which layout a path has: an ONNX folder, a folder of published weights, or a single file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..checkpoint.layout import CheckpointLayout
from ..files import ModelFileError
from .layout import INDEX
from .onnx_folder import DENOISERS, GRAPH, OnnxFolder
from .published import PublishedFolder
from .tintype_json import TINTYPE_JSON

if TYPE_CHECKING:
    from pathlib import Path

    from ..loading_options import LoadingOptions
    from .layout import Layout

WEIGHTS = "*.safetensors"


def open_layout(path: Path, options: LoadingOptions) -> Layout:
    """Return the layout of a model's folder or file.

    A folder that has ONNX graphs as well as published weights is served by its graphs. A folder with one file of
    weights and nothing else of a model is served as that file.

    Raises:
        ModelFileError: nothing is there, or it is not a model.
    """
    if path.is_file():
        return CheckpointLayout(path, options)
    if not path.is_dir():
        hint = "; a model on the Hugging Face hub is written OWNER/NAME" if len(path.parts) == 1 else ""
        raise ModelFileError(f"there is no folder or file {path}{hint}")
    if any((path / component / GRAPH).exists() for component in DENOISERS):
        return OnnxFolder(path)
    if (path / INDEX).exists():
        exported = any(path.glob(f"*/{GRAPH}")) and not any(path.glob(f"*/{WEIGHTS}"))
        return OnnxFolder(path) if exported else PublishedFolder(path, options)
    if (path / TINTYPE_JSON).exists():
        return OnnxFolder(path)
    files = sorted(path.glob(WEIGHTS))
    if len(files) == 1:
        return CheckpointLayout(files[0], options)
    raise ModelFileError(_reason(path, [file.name for file in files]))


def _reason(path: Path, files: list[str]) -> str:
    """Return why a folder is not a model."""
    if files:
        return f"{path} holds {len(files)} files of weights and no {INDEX}; name one of them: {', '.join(files[:8])}"
    graphs = " or ".join(f"{component}/{GRAPH}" for component in DENOISERS)
    return f"{path} holds neither {INDEX} nor {graphs} nor a .safetensors file: it is not a model"
