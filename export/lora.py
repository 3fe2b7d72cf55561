"""`tintype export --lora ADAPTER MODEL_FOLDER`: a published adapter becomes a file that the service reads.

Published are several layouts: PEFT's and diffusers' names, and kohya's, which write dots as underscores and often name
the layers of other code; diffusers' own converters know those. Whatever the layout, a layer is found by its name
without dots, so that there is no list of names here. alpha / rank is multiplied into B.
What the service would refuse is refused here, with its own check and its reason.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tintype.service.errors import InvalidField
from tintype.service.models.adapters import FOLDER, SUFFIX, Adapters, ports

from .errors import Refused
from .graphs import GRAPH
from .quiet import quiet
from .sessions import optional_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Tensors = dict[str, torch.Tensor]
    Ports = Mapping[str, tuple[int, int]]

# What ends the name of one side of a layer's change: lora_A.weight, lora_down.weight, _lora.up.weight, ...
END = re.compile(r"[._]lora(?:_linear_layer)?[._](A|B|down|up)(?:\.default)?\.weight$")
SIDES = {"A": "A", "down": "A", "B": "B", "up": "B"}
# Other changes than A B: by what their tensors are called.
OTHERS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lora_mid": "LoCon",
}
# How names begin, and of which component they are; "" is the denoiser.
BEGINNINGS = {
    "lora_unet_": "",
    "lora_transformer_": "",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder",
    "base_model.model.": "",
    "diffusion_model.": "",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder.": "text_encoder",
    "unet.": "unet",
    "transformer.": "transformer",
}
# What older code calls a layer, without dots, and what it is called.
RENAMED = (("_processor", ""), ("to_out", "to_out_0"))
ENCODER_RENAMED = (("_to_q", "_q_proj"), ("_to_k", "_k_proj"), ("_to_v", "_v_proj"), ("_to_out", "_out_proj"))
COMPONENTS = ("text_encoder", "text_encoder_2", "unet", "transformer")


def run(adapter: Path, model: Path, name: str, *, force: bool = False) -> Path:
    """Write what is in the file `adapter` to `model`'s loras/`name`.safetensors, and return where that is.

    Raises Refused, with the reason: `adapter` is none, or belongs to another model.
    """
    out = model / FOLDER / f"{name}{SUFFIX}"
    if out.exists() and not force:
        raise Refused(f"{out} is there; --force replaces it")
    there = {part: _ports(model / part / GRAPH) for part in COMPONENTS if (model / part / GRAPH).exists()}
    if not any(there.values()):
        raise Refused(f"{model} takes no adapters: export it again with --with-lora")
    tensors = _placed(_converted(_folded(*_read(adapter)), model), there)
    out.parent.mkdir(exist_ok=True)
    written = out.with_name(f"{name}.partial{SUFFIX}")
    try:
        save_file(tensors, written)
        Adapters(model, there).check(((f"{name}.partial", 1.0),))
        written.replace(out)
    except InvalidField as error:
        raise Refused(str(error).replace(".partial", "")) from None
    finally:
        written.unlink(missing_ok=True)
    return out


def _ports(graph: Path) -> Ports:
    return ports(optional_inputs(graph))


def _read(path: Path) -> tuple[Tensors, Any]:
    """Return the tensors of a file, and what diffusers has noted of alphas in it."""
    try:
        with safe_open(path, "pt") as file:
            noted = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, noted  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise Refused(f"{path} can't be read as safetensors: {error}") from None


def _folded(tensors: Tensors, noted: Mapping[str, Any]) -> Tensors:
    """Multiply alpha / rank into B; where an alpha stays for a converter to find, it is the rank."""
    for sign, kind in OTHERS.items():
        if any(sign in name for name in tensors):
            raise Refused(f"the adapter is a {kind}; only LoRA, two matrices for each layer, can be exported")
    made = dict(tensors)
    for name, tensor in tensors.items():
        end = END.search(name)
        if end and SIDES[end[1]] == "B":
            layer, rank = name[: end.start()], tensor.shape[1]
            alpha = tensors.get(f"{layer}.alpha")
            scale = (float(alpha) if alpha is not None else _noted_alpha(noted, layer, rank)) / rank
            made[name] = tensor.float() * scale
            if alpha is not None:
                made[f"{layer}.alpha"] = torch.tensor(float(rank))
    return made


def _noted_alpha(noted: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return a layer's alpha by diffusers' metadata, whose keys begin with the component; else the rank.

    A pattern is the end of a layer's name from a dot on, or all of it, as PEFT finds it.
    """
    component, _, module = layer.partition(".")
    patterns = noted.get(f"{component}.alpha_pattern") or {}
    found = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
    alpha = float(next(found, noted.get(f"{component}.lora_alpha", rank)))
    return alpha * rank**0.5 if noted.get(f"{component}.use_rslora") else alpha


def _converted(tensors: Tensors, model: Path) -> Tensors:
    """Give layers diffusers' names, by the converters of the model's pipeline."""
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    kind = getattr(diffusers, index["_class_name"])
    if not hasattr(kind, "lora_state_dict"):
        return tensors
    config = model / "unet" / "config.json"
    options = {"unet_config": _Config(json.loads(config.read_text("utf-8")))} if config.exists() else {}
    try:
        with quiet():
            said = kind.lora_state_dict(dict(tensors), **options)
    except (ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise Refused(f"diffusers does not know the adapter's layers for {index['_class_name']}: {error}") from None
    return said[0] if isinstance(said, tuple) else said


class _Config:
    """A component's configuration as diffusers' converters read it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.__dict__.update(settings)


def _placed(tensors: Tensors, there: Mapping[str, Ports]) -> Tensors:
    """Return the tensors as the service names and lays them out. Raises Refused for what has no place."""
    flat = {part: {module.replace(".", "_"): module for module in modules} for part, modules in there.items()}
    made: Tensors = {}
    for name, tensor in tensors.items():
        end = END.search(name)
        if end:
            part, module = _place(name[: end.start()], flat)
            made[f"{part}.{module}.{SIDES[end[1]]}"] = _matrix(name, tensor).float().T.contiguous()
        elif not name.endswith("alpha"):
            raise Refused(f"the adapter holds {name}, which is no part of a LoRA")
    if not made:
        raise Refused("the adapter holds no LoRA")
    return made


def _place(name: str, flat: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    begin = next((begin for begin in BEGINNINGS if name.startswith(begin)), "")
    part = BEGINNINGS.get(begin) or ("unet" if "unet" in flat else "transformer")
    rest = name.removeprefix(begin)
    layer = rest.replace(".", "_")
    names = flat.get(part, {})
    for candidate in (layer, *_renamed(layer)):
        if candidate in names:
            return part, names[candidate]
    raise Refused(f"the adapter changes {part}.{rest}, which takes none in this model: it was made for another one")


def _renamed(layer: str) -> tuple[str, ...]:
    plain = encoder = layer
    for old, new in RENAMED:
        plain = plain.replace(old, new)
    for old, new in ENCODER_RENAMED:
        encoder = encoder.replace(old, new)
    return plain.removesuffix("_lora"), layer.replace("_processor", ""), encoder


def _matrix(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a matrix [out, in]; of a convolution [out, in, 1, 1], too."""
    if tensor.ndim > 2 and tensor[0, 0].numel() > 1:
        sides = " by ".join(map(str, tensor.shape[2:]))
        raise Refused(f"the adapter changes {name}, a convolution of {sides}: those of 1 by 1 and linear layers can be")
    return tensor.flatten(1) if tensor.ndim > 2 else tensor
