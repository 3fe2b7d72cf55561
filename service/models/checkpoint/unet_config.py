"""The configuration of a UNet from the names and shapes of its tensors, and what the markers of EDM models state."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .header import Header

HEAD = 64  # width of an attention head in all UNets but those of Stable Diffusion 1, which have 8 heads
SIZE_WIDTH = 256  # of the embedding of each number in SDXL's `time_ids`
# What all published UNets have in common.
_COMMON = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "center_input_sample": False,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
}
# Tensors that mark EDM models of SDXL: Playground v2.5 by the mean and the deviation of each channel of its latents,
# CosXL by its highest and lowest noise level.
EDM_MEAN, EDM_DEVIATION = "edm_mean", "edm_std"
EDM_LEVELS = {"sigma_max": "edm_vpred.sigma_max", "sigma_min": "edm_vpred.sigma_min"}
EDM_MARKERS = (EDM_MEAN, EDM_DEVIATION, *EDM_LEVELS.values())
LATENT_CHANNELS = 4
# playgroundai/playground-v2.5-1024px-aesthetic
_PLAYGROUND = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "prediction_type": "epsilon",
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
}
# stabilityai/cosxl is a file alone: the levels count that it states. Their logarithms are evenly spaced.
_COSXL = {
    "_class_name": "EDMEulerScheduler",
    "prediction_type": "v_prediction",
    "sigma_data": 1.0,
    "sigma_max": 120.0,
    "sigma_min": 0.002,
    "sigma_schedule": "exponential",
}


@dataclass(slots=True)
class _Level:
    """One level of a UNet: its width, and for each residual block the depth of its transformer, 0 without one."""

    width: int
    depths: list[int] = field(default_factory=list)

    @property
    def attends(self) -> bool:
        return any(self.depths)

    @property
    def depth(self) -> int | list[int]:
        """The depth as diffusers writes it: one number if all are equal; 1 without attention."""
        first = self.depths[0] if self.depths else 0
        return (first or 1) if self.depths == [first] * len(self.depths) else self.depths


def unet_config(header: Header, prefix: str, *, sample_size: int, upcast: bool = False) -> dict[str, Any]:
    """Return the config.json of a UNet in original names below `prefix`.

    Raises:
        ModelFileError: it is not a UNet that diffusers' class can express.
    """
    down, up = _down_levels(header, prefix), _up_levels(header, prefix)
    layers = len(down[0].depths)
    if [len(level.depths) for level in (*down, *up)] != [layers] * len(down) + [layers + 1] * len(down) or not layers:
        raise header.fault("the blocks of its UNet do not pair: it is damaged, or of an unknown architecture")
    linear, context = _attention(header, prefix)
    widths = [level.width for level in down]
    return {
        **_COMMON,
        "sample_size": sample_size,
        "in_channels": header.dims(f"{prefix}input_blocks.0.0.weight", 4)[1],
        "out_channels": header.dims(f"{prefix}out.2.weight", 4)[0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if level.attends else "DownBlock2D" for level in down],
        "up_block_types": ["CrossAttnUpBlock2D" if level.attends else "UpBlock2D" for level in up],
        "cross_attention_dim": context,
        "attention_head_dim": [max(1, width // HEAD) for width in widths] if linear else 8,
        "use_linear_projection": linear,
        "upcast_attention": upcast,
        **_middle(header, prefix),
        **_depths(header, prefix, down, up),
        **_size_embedding(header, prefix),
    }


def _down_levels(header: Header, prefix: str) -> list[_Level]:
    levels = [_Level(0)]
    for number in count(1):
        block = f"{prefix}input_blocks.{number}."
        if f"{block}0.in_layers.0.weight" in header:
            levels[-1].width = header.dims(f"{block}0.out_layers.0.weight", 1)[0]
            levels[-1].depths.append(_depth(header, block))
        elif f"{block}0.op.weight" in header:
            levels.append(_Level(0))
        else:
            return levels
    raise AssertionError


def _up_levels(header: Header, prefix: str) -> list[_Level]:
    levels = [_Level(0)]
    for number in count():
        block = f"{prefix}output_blocks.{number}."
        if f"{block}0.in_layers.0.weight" not in header:
            return levels
        levels[-1].depths.append(_depth(header, block))
        if any(f"{block}{place}.conv.weight" in header for place in (1, 2)):
            levels.append(_Level(0))
    raise AssertionError


def _depth(header: Header, block: str) -> int:
    return header.blocks(f"{block}1.transformer_blocks.{{}}.norm1.weight")


def _attention(header: Header, prefix: str) -> tuple[bool, int]:
    """Return whether the transformers' projections are linear layers, and the width of the text."""
    places = (f"{prefix}input_blocks.{number}.1." for number in range(1, 20))
    block = next((place for place in places if f"{place}proj_in.weight" in header), None)
    if block is None:
        raise header.fault("its UNet has no attention: only models that read text are supported")
    linear = len(header.entries[f"{block}proj_in.weight"].shape) == 2
    return linear, header.dims(f"{block}transformer_blocks.0.attn2.to_k.weight", 2)[1]


def _middle(header: Header, prefix: str) -> dict[str, Any]:
    """Return the type of the middle block; smaller models have it without attention, or none."""
    if f"{prefix}middle_block.1.proj_in.weight" in header:
        return {"mid_block_type": "UNetMidBlock2DCrossAttn"}
    return {"mid_block_type": "UNetMidBlock2D" if f"{prefix}middle_block.0.in_layers.0.weight" in header else None}


def _depths(header: Header, prefix: str, down: list[_Level], up: list[_Level]) -> dict[str, Any]:
    """Return the depths of the transformers; those of the outputs only if they are not the reverse.

    The middle block has the depth of the last level, which a level without attention states for it.
    """
    inputs, outputs = [level.depth for level in down], [level.depth for level in up]
    if not down[-1].attends:
        inputs[-1] = outputs[0] = _depth(header, f"{prefix}middle_block.") or 1
    reverse = {} if inputs == outputs[::-1] else {"reverse_transformer_layers_per_block": outputs}
    return {"transformer_layers_per_block": inputs, **reverse}


def _size_embedding(header: Header, prefix: str) -> dict[str, Any]:
    """Return the fields for SDXL's embedding of sizes."""
    if f"{prefix}label_emb.0.0.weight" not in header:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZE_WIDTH,
        "projection_class_embeddings_input_dim": header.dims(f"{prefix}label_emb.0.0.weight", 2)[1],
    }


def is_edm(header: Header) -> bool:
    """Return whether a file has the markers of Playground v2.5 or CosXL."""
    return any(name in header for name in EDM_MARKERS)


def edm_scheduler(header: Header) -> dict[str, Any]:
    """Return scheduler_config.json of an EDM model.

    Raises:
        ModelFileError: a level is not one number, or cannot be read. Empty markers are allowed.
    """
    if EDM_MEAN in header or EDM_DEVIATION in header:
        return dict(_PLAYGROUND)
    stated = {key: name for key, name in EDM_LEVELS.items() if name in header and header.entries[name].shape != (0,)}
    return _COSXL | {key: header.numbers(name, 1)[0] for key, name in stated.items()}


def edm_latents(header: Header) -> dict[str, Any]:
    """Return the fields of a VAE's configuration that Playground v2.5 states; none for other models.

    Raises:
        ModelFileError: a marker is missing, has other numbers, or cannot be read.
    """
    if EDM_MEAN not in header and EDM_DEVIATION not in header:
        return {}
    mean, deviation = (header.numbers(name, LATENT_CHANNELS) for name in (EDM_MEAN, EDM_DEVIATION))
    if min(deviation) <= 0:
        raise header.fault(f"{EDM_DEVIATION} must be above 0; got {deviation}")
    return {"scaling_factor": 0.5, "latents_mean": mean, "latents_std": deviation}
