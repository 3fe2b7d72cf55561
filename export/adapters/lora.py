"""`tintype export --lora ADAPTER MODEL_FOLDER`: a published adapter becomes a file that the service reads.

What each layer is changed by becomes two matrices, as `service.models.pipeline.lora` describes them, with alpha / rank
in B. LoRA is that already. LoHa, LoKr and full differences are B A of a higher rank, exactly; that takes more space,
which is bounded. DoRA is no sum, and norms and biases are no inputs of a graph: those can only be fused (`.fuse`).
What the service would refuse is refused here, with its own check and its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from tintype.service.errors import InvalidField
from tintype.service.models.pipeline.lora import FOLDER, SUFFIX, Adapters, ports
from tintype.service.models.safetensors import shown

from ..console import readable
from ..errors import Refused
from ..graph.session import layers_of, optional_inputs
from ..model_folder import GRAPH
from .adapter_file import KINDS, fitted, read, scaled
from .layers import Layers, known

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .adapter_file import Array, Change, Pair, Published
    from .layers import Place

    Ports = Mapping[str, tuple[int, ...]]

COMPONENTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer")
MOST_NUMBERS = 2**28
"""Of an adapter that is no LoRA, as two matrices for each layer: 1 GiB, as much as the largest LoRAs take."""
FUSED = ("dora_scale", "lora_magnitude_vector", "diff_b", "bias")
"""Roles of tensors that no request can choose."""


def run(adapter: Path, model: Path, name: str, *, force: bool = False) -> Path:
    """Write what is in the file `adapter` to `model`'s loras/`name`.safetensors, and return where that is.

    Raises Refused, with the reason: `adapter` is none, or belongs to another model.
    """
    out = model / FOLDER / f"{name}{SUFFIX}"
    if out.exists() and not force:
        raise Refused(f"{out} is there; --force replaces it")
    graphs = {part: model / part / GRAPH for part in COMPONENTS if (model / part / GRAPH).exists()}
    there = {part: ports(optional_inputs(graph)) for part, graph in graphs.items()}
    if not any(there.values()):
        raise Refused(f"{model} takes no adapters: export it again with --with-lora")
    layers = Layers({part: {*layers_of(graph), *there[part]} for part, graph in graphs.items()})
    file = known(read(adapter, layers.denoiser), layers, model)
    _write(_matrices(file, layers, there), out, model, there)
    return out


def _write(tensors: dict[str, torch.Tensor], out: Path, model: Path, there: Mapping[str, Ports]) -> None:
    out.parent.mkdir(exist_ok=True)
    written = out.with_name(f"{out.stem}.partial{SUFFIX}")
    try:
        save_file(tensors, written)
        Adapters(model, there).check(((f"{out.stem}.partial", 1.0),))
        written.replace(out)
    except InvalidField as error:
        raise Refused(str(error).replace(".partial", "")) from None
    finally:
        written.unlink(missing_ok=True)


def _matrices(file: Published, layers: Layers, there: Mapping[str, Ports]) -> dict[str, torch.Tensor]:
    """Return the tensors as the service names and lays them out. Raises Refused for what has no place."""
    made: dict[str, torch.Tensor] = {}
    placed = [(change, _placed(file, change, layers, there)) for change in file.changes]
    _check_space(file)
    for change, place in placed:
        up, down = change.product()
        up = up * np.float32(scaled(file, change, place.part, place.modules[0]))
        up = np.roll(up, len(up) // 2, axis=0) if place.swapped else up
        start = 0
        for module in place.modules:
            *wide, out = there[place.part][module]
            name = f"{place.part}.{module}"
            if f"{name}.A" in made:
                raise file.refuse(f"changes {name} twice, also as {shown(change.name)}")
            made |= _laid_out(name, (up[start : start + out], down), wide)
            start += out
    return made


def _placed(file: Published, change: Change, layers: Layers, there: Mapping[str, Ports]) -> Place:
    """Return the place of a change in the graph.

    Raises Refused if the change does not fit, or can't be an input.
    """
    place = layers.find(change.name)
    if place is None:
        raise file.refuse(f"changes {shown(change.name)}, which this model has not")
    name, fuse = shown(place.name), f"`tintype export MODEL OUT --fuse-lora {file.path.name}` takes it"
    fixed = next((role for role in FUSED if role in change.fields), None)
    if fixed:
        kind = "DoRA" if fixed in FUSED[:2] else "change of a bias"
        raise file.refuse(f"changes {name} by a {kind}, which no request can choose: {fuse}")
    sizes = [there.get(place.part, {}).get(module) for module in place.modules]
    for module, size in zip(place.modules, sizes, strict=True):
        if size is None:
            closed = _closed(change, there[place.part])
            raise file.refuse(f"changes {shown(f'{place.part}.{module}')}, {closed}; {fuse}")
    (first, *_), out = sizes, sum(size[-1] for size in sizes if size)
    fitted(file, change, (out, *(first or ())[:-1]))
    return place


def _closed(change: Change, there: Ports) -> str:
    """Return why a layer that a model has takes no adapters."""
    if not there:
        return "and this component takes no adapters"
    if change.pairs and all(len(port) == 2 for port in there.values()):
        return "where this export takes no adapters: export the model again with --with-lora"
    return "which takes no adapters"


def _check_space(file: Published) -> None:
    """Refuse an adapter too large as two matrices for each layer.

    Kinds other than LoRA can take much more space so than in their file.
    """
    wide = [change for change in file.changes if change.kind is not KINDS[0]]
    needed = sum(min(change.rank, *change.size) * sum(change.size) for change in wide)
    if needed > MOST_NUMBERS:
        raise file.refuse(
            f"as two matrices for each layer this {wide[0].kind.name} takes {readable(4 * needed)}, and at most "
            f"{readable(4 * MOST_NUMBERS)} can be; `tintype export MODEL OUT --fuse-lora {file.path.name}` takes it"
        )


def _laid_out(name: str, pair: Pair, wide: list[int]) -> dict[str, torch.Tensor]:
    """Return a layer's A [in, r] and B [r, out].

    Of a convolution A is [in, down, across, r].
    """
    up, down = pair
    return {f"{name}.A": _tensor(np.moveaxis(down.reshape(len(down), *wide), 0, -1)), f"{name}.B": _tensor(up.T)}


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
