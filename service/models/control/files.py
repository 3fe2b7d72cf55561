"""The ControlNets in a model's folder: `controlnets/NAME/`, as published or exported.

A folder has a `config.json` and either published weights (`diffusion_pytorch_model.safetensors`), which fill a
template, or an exported graph (`model.onnx`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..adapters.adapters import CONTROLNETS
from ..files import ModelFileError, label, read_json
from ..graph_source import OnnxFile
from ..templates.filling import fill_component
from ..weights.pieces import ComponentWeights
from ..weights.published_files import weight_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ..graph_source import GraphSource
    from ..loading_options import LoadingOptions

FOLDER = CONTROLNETS
ENCODER = "image_encoder"  # the folder of an IP-Adapter's CLIP
KEPT = 2  # ControlNets of a model that stay in memory
MAX_MODES = 64  # of one ControlNet, as in requests


@dataclass(frozen=True, slots=True)
class ControlKind:
    """What one class of ControlNets reads and gives.

    `denoiser` is the class that it controls; `shared` are the fields in which the configurations of both agree. Its
    hint is pixels, or with `latents` those of the VAE, `drawn` from the posterior or its mode. `block` returns, for a
    denoiser's block and the numbers of blocks of both, the number of the ControlNet's block that changes it; None if
    they have the same blocks.
    """

    kind: str
    denoiser: str
    shared: tuple[str, ...]
    latents: bool = False
    drawn: bool = False
    block: Callable[[int, int, int], int] | None = None


def sd3_block(block: int, own: int, others: int) -> int:
    """Return the block of an SD3 ControlNet: every one changes the same number of blocks, as nearly as possible."""
    return block * others // own


def flux_block(block: int, own: int, others: int) -> int:
    """Return the block of a FLUX.1 ControlNet: every one changes the same number of blocks, the last fewer."""
    return block // -(-own // others)


# For SD3 diffusers draws the hint with other noise than the seed's, so that no two calls agree: here it is the mode.
_UNETS = ("cross_attention_dim", "projection_class_embeddings_input_dim", "block_out_channels")
_TRANSFORMERS = ("joint_attention_dim", "pooled_projection_dim", "num_attention_heads", "attention_head_dim")
KINDS = {
    "ControlNetModel": ControlKind("controlnet", "UNet2DConditionModel", _UNETS),
    "SD3ControlNetModel": ControlKind(
        "sd3_controlnet", "SD3Transformer2DModel", _TRANSFORMERS, latents=True, block=sd3_block
    ),
    "FluxControlNetModel": ControlKind(
        "flux_controlnet", "FluxTransformer2DModel", _TRANSFORMERS, latents=True, drawn=True, block=flux_block
    ),
}


@dataclass(frozen=True, slots=True)
class ControlFile:
    """One ControlNet: its folder, configuration and kind."""

    folder: Path
    config: dict[str, Any]
    kind: ControlKind

    @property
    def without_text(self) -> bool:
        """Return whether it reads zeros for the pooled text, and hints whose latents are not shifted: InstantX's."""
        return self.kind.block is sd3_block and bool(self.config.get("force_zeros_for_pooled_projection", True))

    def source(self, options: LoadingOptions) -> GraphSource:
        """Return its graph.

        Raises:
            ModelFileError: it has no template, or its weights do not fit.
        """
        if (graph := self.folder / "model.onnx").is_file():
            return OnnxFile(graph)
        weights = ComponentWeights(weight_files(self.folder, options.precision))
        name = f"{FOLDER}/{self.folder.name}"
        return fill_component(name, self.kind.kind, self.config, weights, options, adapters=False)


def modes(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the number of kinds of each of these ControlNets that has several, by name."""
    found = {name: _mode_count(folder / FOLDER / name) for name in names}
    return {name: count for name, count in found.items() if count}


def _mode_count(folder: Path) -> int:
    try:
        count = read_json(folder / "config.json").get("num_mode")
    except ModelFileError:
        return 0
    return count if isinstance(count, int) and 1 <= count <= MAX_MODES else 0


def find(folder: Path, name: str) -> ControlFile:
    """Return a ControlNet of a model's folder.

    Raises:
        ModelFileError: its configuration is missing or damaged, or names another class.
    """
    own = folder / FOLDER / name
    config = read_json(own / "config.json")
    class_name = str(config.get("_class_name"))
    if class_name not in KINDS:
        raise ModelFileError(f"{label(own)}/config.json: _class_name must be {' or '.join(KINDS)}; got {class_name}")
    return ControlFile(own, config, KINDS[class_name])


def memory_bytes(folder: Path, count: int = KEPT) -> int:
    """Return the bytes of the largest ControlNets that are in memory at once."""
    sizes = (_bytes(path.parent.iterdir()) for path in (folder / FOLDER).glob("*/config.json"))
    return sum(sorted(sizes)[-count:])


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.suffix != ".json" and file.is_file())
