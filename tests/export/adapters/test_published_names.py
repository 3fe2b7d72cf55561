"""Names of layers in published adapters mean what diffusers' converters take them for."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

import numpy as np  # noqa: E402
from diffusers.loaders import lora_pipeline, single_file_utils  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from tintype.service.models.adapters.layer_index import LayerIndex  # noqa: E402
from tintype.service.models.adapters.reading import read_adapter  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tintype.service.models.adapters.layer_sizes import Adapter, LayerSizes

    Tensor: TypeAlias = Any
    Tensors = dict[str, Tensor]

DOWN = re.compile(r"\.lora_A\.weight$|[._]lora(_linear_layer)?\.down\.weight$")
OLDER_ENCODER = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


class Checkpoint(dict[str, Any]):
    """Weights in the authors' names: every one that a converter asks for, of two inputs, with numbers of its own."""

    def __init__(self, outs: Mapping[str, int], *names: str) -> None:
        super().__init__()
        self._outs, self._random = outs, torch.Generator().manual_seed(0)
        self.asked: dict[str, Any] = {}
        for name in names:  # those by which a converter counts layers
            self[name] = self._make(name)

    def _make(self, name: str) -> Tensor:
        out = next((out for end, out in self._outs.items() if name.endswith(end)), 24)
        layer = name.endswith(".weight") and "norm" not in name
        return torch.randn((out, 2) if layer else (out,), generator=self._random)

    def __missing__(self, name: str) -> Tensor:
        self[name] = self._make(name)
        return self[name]

    def pop(self, name: str, *_: Any) -> Any:
        """Return a tensor, made if it is new; only those with two axes are weights of layers."""
        found = self[name]
        super().pop(name)
        if found.ndim == 2:
            self.asked[name.removesuffix(".weight")] = found
        return found


MODULATIONS = ("double_stream_modulation_img", "double_stream_modulation_txt")


def flux2_weights() -> list[str]:
    """Return the names of FLUX.2's weights in the authors' code, for two blocks of each kind."""
    double = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
    streams = product(range(2), ("img", "txt"), double)
    layers = [f"double_blocks.{n}.{stream}_{name}" for n, stream, name in streams]
    layers += [f"single_blocks.{n}.linear{k}" for n in range(2) for k in (1, 2)]
    layers += [f"{kind}.lin" for kind in ("single_stream_modulation", *MODULATIONS)]
    layers += [f"{name}_in.{end}_layer" for name in ("time", "guidance") for end in ("in", "out")]
    layers += ["img_in", "txt_in", "final_layer.linear", "final_layer.adaLN_modulation.1"]
    return [f"{layer}.weight" for layer in layers]


LUMINA2 = ("layers", "noise_refiner", "context_refiner")


def lumina2_weights() -> list[str]:
    """Return the names of Lumina-Image 2's and Z-Image's common weights in the authors' code."""
    inner = ["attention.qkv", "attention.out", *(f"feed_forward.w{n}" for n in (1, 2, 3))]
    layers = [f"{block}.{n}.{name}" for block in LUMINA2 for n in range(2) for name in inner]
    layers += ["x_embedder", "cap_embedder.1", "t_embedder.mlp.0", "t_embedder.mlp.2"]
    layers += ["final_layer.linear", "final_layer.adaLN_modulation.1"]
    return [f"{layer}.weight" for layer in layers]


CHECKPOINTS: dict[str, tuple[Callable[..., Tensors], Checkpoint]] = {
    "SD3": (
        single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers,
        Checkpoint({}, *(f"joint_blocks.{n}.x_block.attn2.qkv.weight" for n in range(2)), "context_embedder.weight"),
    ),
    "FLUX.1": (
        single_file_utils.convert_flux_transformer_checkpoint_to_diffusers,
        Checkpoint(
            {"linear1.weight": 3 * 3072 + 12288, "linear1.bias": 3 * 3072 + 12288},
            *("double_blocks.0.img_attn.qkv.weight", "double_blocks.1.img_attn.qkv.weight"),
            *("single_blocks.0.linear2.weight", "guidance_in.in_layer.weight"),
        ),
    ),
    "FLUX.2": (
        single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers,
        Checkpoint({}, *flux2_weights()),
    ),
    "Z-Image": (
        single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers,
        Checkpoint({}, *lumina2_weights(), "layers.0.adaLN_modulation.0.weight"),
    ),
    "Lumina-Image 2": (
        single_file_utils.convert_lumina2_to_diffusers,
        Checkpoint({"qkv.weight": 2304 + 2 * 768}, *lumina2_weights(), "layers.0.adaLN_modulation.1.weight"),
    ),
    "Sana": (
        single_file_utils.convert_sana_transformer_to_diffusers,
        Checkpoint({}, "blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight"),
    ),
}


def weights_of(converted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removesuffix(".weight"): tensor for name, tensor in converted.items() if tensor.ndim == 2}


@cache
def converted(family: str) -> tuple[Tensors, Tensors]:
    """Return the weights of a checkpoint in the authors' names, and as diffusers converts them."""
    convert, checkpoint = CHECKPOINTS[family]
    made = weights_of(convert(checkpoint))
    return checkpoint.asked, made


def sizes_of(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: (tensor.shape[1], len(tensor)) for name, tensor in weights.items()}


def read(path: Path, tensors: Mapping[str, Tensor], sizes: Mapping[str, LayerSizes]) -> Adapter:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return read_adapter(path, sizes, LayerIndex(sizes))


@pytest.mark.parametrize("prefix", ["diffusion_model.", "lora_unet_"])
@pytest.mark.parametrize("family", CHECKPOINTS)
def test_layers_of_checkpoints_are_those_of_diffusers(family: str, prefix: str, tmp_path: Path) -> None:
    """A difference of each weight in the authors' names is the one that diffusers makes of a checkpoint's weight."""
    own, expected = converted(family)
    flat = prefix.endswith("_")
    diffs = {f"{prefix}{name.replace('.', '_') if flat else name}.diff": tensor for name, tensor in own.items()}
    made = read(tmp_path / "a.safetensors", diffs, {"transformer": sizes_of(expected)})["transformer"]
    assert made.keys() == expected.keys()
    for name, (a, b) in made.items():
        assert np.array_equal((a @ b).T, expected[name].numpy()), name


def flux_layers() -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of FLUX's layers in the authors' names, for two blocks of each kind."""
    wide = 3072
    double = {"attn_qkv": 3 * wide, "attn_proj": wide, "mlp_0": 4 * wide, "mlp_2": wide, "mod_lin": 6 * wide}
    layers = {
        f"double_blocks_{n}_{stream}_{name}": (4 * wide if name == "mlp_2" else wide, out)
        for n in range(2)
        for stream in ("img", "txt")
        for name, out in double.items()
    }
    single = {"linear1": (wide, 7 * wide), "linear2": (5 * wide, wide), "modulation_lin": (wide, 3 * wide)}
    layers |= {f"single_blocks_{n}_{name}": size for n in range(2) for name, size in single.items()}
    return layers | {
        "img_in": (64, wide),
        "txt_in": (4096, wide),
        "time_in_in_layer": (256, wide),
        "guidance_in_out_layer": (wide, wide),
        "vector_in_in_layer": (768, wide),
        "final_layer_linear": (wide, 64),
        "final_layer_adaLN_modulation_1": (wide, 2 * wide),
    }


def pairs(layers: Mapping[str, tuple[int, ...]], alpha: float | None, template: str = "{}.lora_{}.weight") -> Tensors:
    """Return random matrices of rank 1 for layers of these sizes."""
    random = torch.Generator().manual_seed(1)
    tensors: Tensors = {}
    for name, (wide, *kernel, out) in layers.items():
        tensors[template.format(name, "down")] = torch.randn((1, wide, *kernel), generator=random)
        tensors[template.format(name, "up")] = torch.randn((out, 1, *(1 for _ in kernel)), generator=random)
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def flux_cases() -> Iterator[tuple[str, Tensors]]:
    layers = flux_layers()
    clip = {f"lora_te1_text_model_encoder_layers_0_{name}": (8, 8) for name in ("self_attn_q_proj", "mlp_fc1")}
    inner = {name: size for name, size in layers.items() if "blocks" in name}
    yield "kohya", pairs({f"lora_unet_{name}": size for name, size in inner.items()} | clip, 0.5)
    # diffusers ignores the alpha of the last layers, and names the layers outside blocks without a component.
    yield "kohya, without alpha", pairs({f"lora_unet_{name}": size for name, size in layers.items()}, None)
    yield (
        "OneTrainer",
        pairs(
            {
                "lora_transformer_transformer_blocks_1_attn_add_q_proj": (3072, 3072),
                "lora_transformer_transformer_blocks_1_attn_to_out_0": (3072, 3072),
                "lora_transformer_single_transformer_blocks_0_attn_to_v": (3072, 3072),
                "lora_transformer_time_text_embed_guidance_embedder_linear_1": (256, 3072),
                "lora_transformer_norm_out_linear": (3072, 6144),
                "lora_transformer_x_embedder": (64, 3072),
            }
            | clip,
            0.25,
        ),
    )
    xlabs = {f"double_blocks.0.processor.{name}{n}": (8, 24) for name in ("qkv_lora",) for n in (1, 2)}
    xlabs |= {f"double_blocks.0.processor.proj_lora{n}": (8, 8) for n in (1, 2)}
    xlabs |= {"single_blocks.1.processor.qkv_lora": (8, 24), "single_blocks.1.processor.proj_lora": (8, 8)}
    yield "XLabs", pairs(xlabs, None, "{}.{}.weight")
    peft = {
        "transformer.transformer_blocks.0.attn.to_q": (8, 8),
        "transformer.single_transformer_blocks.1.proj_mlp": (8, 8),
    }
    yield "ai-toolkit", peft_pairs(peft)


def peft_pairs(layers: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Return random matrices of rank 1 with PEFT's names."""
    named = pairs(layers, None)
    return {name.replace("lora_down", "lora_A").replace("lora_up", "lora_B"): t for name, t in named.items()}


FLUX = dict(flux_cases())


@pytest.mark.parametrize("scheme", FLUX)
def test_adapters_of_flux_are_those_of_diffusers(scheme: str, tmp_path: Path) -> None:
    """The same matrices for the same layers; several layers that are one in the file share its first matrix."""
    theirs = lora_pipeline.FluxLoraLoaderMixin.lora_state_dict(copied(FLUX[scheme]))
    parts = ("transformer.", "text_encoder.")
    theirs = {name if name.startswith(parts) else f"transformer.{name}": tensor for name, tensor in theirs.items()}
    compare(tmp_path, FLUX[scheme], theirs)


def flux2_cases() -> Iterator[tuple[str, Tensors]]:
    layers = {name.removesuffix(".weight"): (8, 24) for name in flux2_weights()}
    # diffusers' converter of adapters keeps the order of the last norm's halves, which that of checkpoints turns.
    layers = {name: size for name, size in layers.items() if "adaLN" not in name}
    kohya = {f"lora_unet_{name.replace('.', '_')}": size for name, size in layers.items()}
    kohya = {name: size for name, size in kohya.items() if "modulation" not in name and "guidance" not in name}
    yield "kohya", pairs(kohya, 0.5)
    for prefix in ("diffusion_model.", "base_model.model."):
        yield prefix, peft_pairs({f"{prefix}{name}": size for name, size in layers.items()})
    expanded = {"single_transformer_blocks.1.attn.to_out": (8, 8), "transformer_blocks.0.attn.to_out.0": (8, 8)}
    expanded |= {"sformer_blocks.1.attn.to_q": (8, 8), "single_transformer_blocks.0.attn.to_qkv_mlp_proj": (8, 8)}
    yield "expanded", peft_pairs({f"diffusion_model.{name}": size for name, size in expanded.items()})


FLUX2 = dict(flux2_cases())


@pytest.mark.parametrize("scheme", FLUX2)
def test_adapters_of_flux2_are_those_of_diffusers(scheme: str, tmp_path: Path) -> None:
    """The same matrices for the same layers; query, key and value of a block for image and text are one in the file."""
    compare(tmp_path, FLUX2[scheme], lora_pipeline.Flux2LoraLoaderMixin.lora_state_dict(copied(FLUX2[scheme])))


def z_image_cases() -> Iterator[tuple[str, Tensors]]:
    blocks = [*(f"{kind}.1" for kind in ("layers", "noise_refiner", "context_refiner")), "layers.0"]
    inner = [*("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"), "adaLN_modulation.0"]
    inner += [f"feed_forward.w{n}" for n in (1, 2, 3)]
    names = [f"{block}.{name}" for block in blocks for name in inner if "context" not in block or "adaLN" not in name]
    names += ["cap_embedder.1", "t_embedder.mlp.0", "t_embedder.mlp.2", "all_x_embedder.2-1"]
    names += ["all_final_layer.2-1.linear", "all_final_layer.2-1.adaLN_modulation.1"]
    for prefix in ("diffusion_model.", "transformer."):  # ai-toolkit's and diffusers'
        yield prefix, peft_pairs({f"{prefix}{name}": (8, 24) for name in names})
    kohya = {f"lora_unet_{name.replace('.', '_')}": (8, 24) for name in names if "2-1" not in name}
    yield "kohya", pairs(kohya, 0.5)
    original = {f"diffusion_model.layers.{n}.attention.{name}": (8, 24) for n in range(2) for name in ("qkv", "out")}
    yield "the authors'", pairs(original, 0.25, "{}.lora.{}.weight")
    parts = {f"diffusion_model.layers.0.attention.to_{name}": (8, 8) for name in ("q", "k", "v", "out.0")}
    repeated = {"diffusion_model.layers.0.attention.qkv": (8, 24), "diffusion_model.layers.0.attention.out": (8, 8)}
    yield "repeated", pairs(parts | repeated, None, "{}.lora.{}.weight")


Z_IMAGE = dict(z_image_cases())


@pytest.mark.parametrize("scheme", Z_IMAGE)
def test_adapters_of_z_image_are_those_of_diffusers(scheme: str, tmp_path: Path) -> None:
    """The same matrices for the same layers; a layer that the file has joined and in parts is changed once."""
    published = Z_IMAGE[scheme]
    compare(tmp_path, published, lora_pipeline.ZImageLoraLoaderMixin.lora_state_dict(copied(published)))


def test_adapters_of_lumina2_are_those_of_diffusers(tmp_path: Path) -> None:
    """The same matrices for the same layers; query has more rows than key and value."""
    layers = {f"attention.{name}": (8, out) for name, out in (("qkv", 2304 + 2 * 768), ("out", 8))}
    layers |= {f"feed_forward.w{n}": (8, 24) for n in (1, 2, 3)}
    blocks = {f"{kind}.{n}.{name}": size for kind in LUMINA2 for n in (0, 1) for name, size in layers.items()}
    blocks |= {f"{kind}.{n}.adaLN_modulation.1": (8, 24) for kind in LUMINA2[:2] for n in (0, 1)}
    published = peft_pairs({f"diffusion_model.{name}": size for name, size in blocks.items()})
    compare(tmp_path, published, lora_pipeline.Lumina2LoraLoaderMixin.lora_state_dict(copied(published)))


def qwen_cases() -> Iterator[tuple[str, Tensors]]:
    inner = [f"attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0", "to_add_out")]
    inner += [f"attn.add_{name}_proj" for name in "qkv"]
    inner += [f"{side}_{name}" for side in ("img", "txt") for name in ("mod.1", "mlp.net.0.proj", "mlp.net.2")]
    names = [f"transformer_blocks.{n}.{name}" for n in (0, 11) for name in inner]
    names += ["img_in", "txt_in", "proj_out", "norm_out.linear"]
    names += [f"time_text_embed.timestep_embedder.linear_{n}" for n in (1, 2)]
    for prefix in ("transformer.", "diffusion_model."):  # diffusers', ai-toolkit's and ComfyUI's
        yield prefix, peft_pairs({f"{prefix}{name}": (8, 24) for name in names})
    yield "Lightning", pairs(dict.fromkeys(names, (8, 24)), 0.5)
    yield "kohya", pairs({f"lora_unet_{name.replace('.', '_')}": (8, 24) for name in names}, 0.5)
    named = peft_pairs(dict.fromkeys(names, (8, 24)))
    yield "DiffSynth", {name.replace(".weight", ".default.weight"): tensor for name, tensor in named.items()}


QWEN = dict(qwen_cases())


@pytest.mark.parametrize("scheme", QWEN)
def test_adapters_of_qwen_image_are_those_of_diffusers(scheme: str, tmp_path: Path) -> None:
    """The same matrices for the same layers, with the names of every trainer."""
    published = QWEN[scheme]
    compare(tmp_path, published, lora_pipeline.QwenImageLoraLoaderMixin.lora_state_dict(copied(published)))


def copied(tensors: Tensors) -> Tensors:
    """Return copies, which a converter may change in place."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


RESNET = {"in_layers_2": (4, 3, 3, 6), "emb_layers_1": (4, 6), "out_layers_3": (4, 3, 3, 6)}
ATTENTION = dict.fromkeys(
    ("proj_in", "proj_out", *(f"transformer_blocks_0_{name}" for name in ("attn1_to_q", "attn2_to_out_0"))), (4, 6)
)
SHORTCUT = {"skip_connection": (4, 6)}


def sdxl_blocks() -> Iterator[tuple[str, Mapping[str, tuple[int, ...]]]]:
    """Yield the blocks of SDXL's UNet in the authors' names, with some of their layers."""
    for block in (1, 2, 4, 5, 7, 8):
        yield f"input_blocks_{block}_0", RESNET | (SHORTCUT if block in (4, 7) else {})
    for block in (3, 6):
        yield f"input_blocks_{block}_0", {"op": (4, 3, 3, 6)}
    yield from ((f"input_blocks_{block}_1", ATTENTION) for block in (4, 5, 7, 8))
    yield from (("middle_block_0", RESNET), ("middle_block_1", ATTENTION), ("middle_block_2", RESNET))
    yield from ((f"output_blocks_{block}_0", RESNET | SHORTCUT) for block in range(9))
    yield from ((f"output_blocks_{block}_1", ATTENTION) for block in range(6))
    yield from ((f"output_blocks_{block}_2", {"conv": (4, 3, 3, 6)}) for block in (2, 5))


def unet_cases() -> Iterator[tuple[str, Tensors]]:
    sdxl = {f"lora_unet_{block}_{name}": size for block, rows in sdxl_blocks() for name, size in rows.items()}
    sdxl |= {f"lora_unet_{name}": (4, 6) for name in ("time_embed_0", "time_embed_2", "label_emb_0_0", "label_emb_0_2")}
    sdxl |= {"lora_unet_input_blocks_0_0": (4, 3, 3, 6), "lora_unet_out_2": (4, 3, 3, 6)}
    encoders = {
        f"lora_{encoder}_text_model_encoder_layers_1_{name}": (5, 7)
        for encoder in ("te1", "te2")
        for name in ("self_attn_q_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2")
    }
    yield "SDXL, kohya", pairs(sdxl | encoders, None)
    sd = {
        "down_blocks_0_resnets_1_conv2": (4, 3, 3, 6),
        "down_blocks_0_resnets_1_time_emb_proj": (4, 6),
        "down_blocks_1_resnets_0_conv_shortcut": (4, 6),
        "down_blocks_1_attentions_0_proj_in": (4, 6),
        "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k": (4, 6),
        "mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj": (4, 6),
        "up_blocks_1_upsamplers_0_conv": (4, 3, 3, 6),
        "down_blocks_0_downsamplers_0_conv": (4, 3, 3, 6),
        "time_embedding_linear_1": (4, 6),
        "conv_in": (4, 3, 3, 6),
    }
    te = {"lora_te_text_model_encoder_layers_0_self_attn_v_proj": (5, 7)}
    yield "SD, kohya", pairs({f"lora_unet_{name}": size for name, size in sd.items()} | te, None)


UNETS = dict(unet_cases())


@pytest.mark.parametrize("scheme", UNETS)
def test_adapters_of_unets_are_those_of_diffusers(scheme: str, tmp_path: Path) -> None:
    """The same matrices for the same layers, of the UNet and the text encoders."""
    mixin = lora_pipeline.StableDiffusionXLLoraLoaderMixin
    found = mixin.lora_state_dict(copied(UNETS[scheme]), unet_config=SimpleNamespace(layers_per_block=2))
    compare(tmp_path, UNETS[scheme], found[0])


def compare(tmp_path: Path, published: Tensors, theirs: Tensors) -> None:
    """Compare a file with what diffusers made of it, which is read in the same way, but whose names are its own."""
    sizes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, a, b in theirs_by_layer(theirs):
        component, _, layer = name.partition(".")
        sizes.setdefault(component, {})[layer] = (*a.shape[1:], len(b))
    ours = read(tmp_path / "ours.safetensors", published, sizes)
    assert {part: layers.keys() for part, layers in ours.items()} == {part: one.keys() for part, one in sizes.items()}
    for name, down, up in theirs_by_layer(theirs):
        component, _, layer = name.partition(".")
        a, b = ours[component][layer]
        first, flat = up.reshape(len(up)), down.flatten()  # the rank is 1: one row and one column tell everything
        np.testing.assert_allclose((a.reshape(-1, 1) @ b[:, :1])[:, 0], flat * first[0], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose((a.reshape(-1, 1)[:1] @ b)[0], flat[0] * first, rtol=1e-5, err_msg=name)


def theirs_by_layer(tensors: Tensors) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the layers of a file in diffusers' names, with A and B."""
    for name, down in tensors.items():
        if found := DOWN.search(name):
            layer = name[: found.start()].replace(".processor", "")
            up = name[: found.start()] + found[0].replace("lora_A", "lora_B").replace("down", "up")
            older = OLDER_ENCODER if "self_attn" in layer else {"to_out": "to_out.0"}
            older = {} if "single_transformer_blocks" in layer else older
            front, _, last = layer.rpartition(".")
            yield f"{front}.{older.get(last, last)}", down, tensors[up]
