"""Which layout a path has: an ONNX folder, a folder of published weights, or a single file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files import ModelFileError
from .layout import INDEX
from .onnx_folder import DENOISERS, GRAPH, OnnxFolder
from .tintype_json import TINTYPE_JSON

if TYPE_CHECKING:
    from pathlib import Path

    from ..loading_options import LoadingOptions
    from .layout import Layout


def open_layout(path: Path, options: LoadingOptions) -> Layout:  # noqa: ARG001
    """Return the layout of a model's folder or file.

    Raises:
        ModelFileError: nothing is there, or it is not a model.
    """
    if not path.is_dir():
        hint = "; a model on the Hugging Face hub is written OWNER/NAME" if len(path.parts) == 1 else ""
        raise ModelFileError(f"{path} is not a folder" if path.exists() else f"there is no folder {path}{hint}")
    files = (INDEX, TINTYPE_JSON, *(f"{component}/{GRAPH}" for component in DENOISERS))
    if not any((path / name).exists() for name in files):
        raise ModelFileError(f"{path} holds none of {', '.join(files)}: it is not an exported model")
    if not any(path.glob(f"*/{GRAPH}")):
        raise ModelFileError(f"no component has a {GRAPH}: export it first with `tintype export`")
    return OnnxFolder(path)
