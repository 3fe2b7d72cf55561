"""`tintype export --lora ADAPTER MODEL_FOLDER`: convert a published adapter to our own layout.

The service reads published files as well (`service.models.adapters.reading`); the converted file contains the same
matrices under the names of the model's layers. The conversion needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.numpy import save_file

from tintype.service.models.adapters.adapters import FOLDER, SUFFIX
from tintype.service.models.adapters.layer_index import LayerIndex
from tintype.service.models.adapters.layer_sizes import layer_sizes
from tintype.service.models.adapters.reading import MATRICES, read_adapter

from ..errors import ExportRefusal
from ..graph.session import layers_of, optional_inputs
from ..model_folder import GRAPH
from .published_file import PEFT_CONFIG, refusals

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.adapters.layer_sizes import Adapter

COMPONENTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer")


def run(adapter: Path, model: Path, name: str, *, force: bool = False) -> Path:
    """Convert the file `adapter` to loras/`name`.safetensors in the folder `model`, and return its path.

    Raises ExportRefusal if `adapter` is not an adapter or does not fit the model.
    """
    out = model / FOLDER / f"{name}{SUFFIX}"
    if out.exists() and not force:
        raise ExportRefusal(f"{out} already exists; --force replaces it")
    graphs = {part: model / part / GRAPH for part in COMPONENTS if (model / part / GRAPH).exists()}
    sizes = {part: layer_sizes(optional_inputs(graph)) for part, graph in graphs.items()}
    if not any(sizes.values()):
        raise ExportRefusal(f"{model} takes no adapters: export it again with --with-lora")
    layers = LayerIndex({part: {*layers_of(graph), *sizes[part]} for part, graph in graphs.items()})
    with refusals(adapter):
        converted = read_adapter(adapter, sizes, layers, adapter.with_name(PEFT_CONFIG))
    _write(converted, out)
    return out


def _write(adapter: Adapter, out: Path) -> None:
    tensors = {
        f"{component}.{layer}.{side}": matrix
        for component, pairs in adapter.items()
        for layer, pair in pairs.items()
        for side, matrix in zip(MATRICES, pair, strict=True)
    }
    out.parent.mkdir(exist_ok=True)
    partial = out.with_name(f"{out.stem}.partial{SUFFIX}")
    try:
        save_file(tensors, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
