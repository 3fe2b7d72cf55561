"""What a single file is, by names and shapes alone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.complexity import GROWTH, check_linear, steps
from tests.support.models import header_shapes as shapes
from tintype.service.models.checkpoint.components import VAE_HALVES, denoiser, has_half, text_encoder, vae
from tintype.service.models.checkpoint.foreign import foreign_kinds
from tintype.service.models.checkpoint.published_values import model_index, prediction_type, vae_values
from tintype.service.models.checkpoint.recognition import Architecture, Checkpoint, Scheme, recognize
from tintype.service.models.checkpoint.unet_config import EDM_MARKERS
from tintype.service.models.files import ModelFileError

if TYPE_CHECKING:
    from tintype.service.models.checkpoint.header import Header

CLIP_L, CLIP_G = "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."
EXPECTED = {
    "sd1": (Architecture.SD1, {"text_encoder": (Scheme.TRANSFORMERS, "cond_stage_model.transformer.")}),
    "sd1 without root": (Architecture.SD1, {"text_encoder": (Scheme.ROOTLESS, "cond_stage_model.transformer.")}),
    "sd1 inpainting": (Architecture.SD1, {"text_encoder": (Scheme.TRANSFORMERS, "cond_stage_model.transformer.")}),
    "sd1 unet": (Architecture.SD1, {}),
    "sd2": (Architecture.SD2, {"text_encoder": (Scheme.OPEN_CLIP, "cond_stage_model.model.")}),
    "sd2 sgm": (Architecture.SD2, {"text_encoder": (Scheme.OPEN_CLIP, "conditioner.embedders.0.model.")}),
    "sdxl": (
        Architecture.SDXL,
        {
            "text_encoder": (Scheme.TRANSFORMERS, "conditioner.embedders.0.transformer."),
            "text_encoder_2": (Scheme.OPEN_CLIP, "conditioner.embedders.1.model."),
        },
    ),
    "sdxl unet": (Architecture.SDXL, {}),
    "refiner": (Architecture.REFINER, {"text_encoder_2": (Scheme.OPEN_CLIP, "conditioner.embedders.0.model.")}),
    "refiner unet": (Architecture.REFINER, {}),
    "flux": (Architecture.FLUX, {}),
    "flux schnell": (Architecture.FLUX, {}),
    "flux whole": (
        Architecture.FLUX,
        {
            "text_encoder": (Scheme.TRANSFORMERS, CLIP_L),
            "text_encoder_2": (Scheme.T5, "text_encoders.t5xxl.transformer."),
        },
    ),
    "flux_fill inpainting": (Architecture.FLUX, {}),
    "chroma": (Architecture.CHROMA, {}),
    "chroma whole": (
        Architecture.CHROMA,
        {"text_encoder": (Scheme.T5, "text_encoders.t5xxl.transformer.")},
    ),
    "aura_flow": (Architecture.AURA_FLOW, {}),
    "aura_flow whole": (
        Architecture.AURA_FLOW,
        {"text_encoder": (Scheme.T5, "text_encoders.pile_t5xl.transformer.")},
    ),
    "flux2_klein": (Architecture.FLUX2_KLEIN, {}),
    "flux2": (Architecture.FLUX2, {}),
    "qwen_image": (Architecture.QWEN_IMAGE, {}),
    "qwen_edit": (Architecture.QWEN_IMAGE_EDIT_PLUS, {}),
    "z_image": (Architecture.Z_IMAGE, {}),
    "lumina2 whole": (Architecture.LUMINA2, {}),
    "sd3": (Architecture.SD3, {}),
    "sd3 with clips": (
        Architecture.SD3,
        {"text_encoder": (Scheme.TRANSFORMERS, CLIP_L), "text_encoder_2": (Scheme.TRANSFORMERS, CLIP_G)},
    ),
    "sd3 whole": (
        Architecture.SD3,
        {
            "text_encoder": (Scheme.TRANSFORMERS, CLIP_L),
            "text_encoder_2": (Scheme.TRANSFORMERS, CLIP_G),
            "text_encoder_3": (Scheme.T5, "text_encoders.t5xxl.transformer."),
        },
    ),
}


WITHOUT_VAE = (
    *("flux", "flux schnell", "flux_fill inpainting", "chroma", "aura_flow"),
    *("flux2", "flux2_klein", "qwen_image", "qwen_edit", "z_image"),
)


@pytest.mark.parametrize("name", shapes.FILES)
def test_architecture_and_encoders(name: str) -> None:
    """The architecture, the text encoders with their places, the VAE, and whether the model inpaints."""
    found = recognize(shapes.header(shapes.FILES[name]))
    assert (found.architecture, found.encoders) == EXPECTED[name]
    assert (found.vae is None) == ("unet" in name or name in WITHOUT_VAE)
    assert found.inpaints == ("inpainting" in name)
    read_all(found)


def read_all(found: Checkpoint) -> None:
    """Read all configurations of a file."""
    denoiser(found, prediction_type(found))
    for component, (_, class_name) in (
        (key, value) for key, value in model_index(found).items() if key in found.encoders
    ):
        text_encoder(found, component, class_name)
    for half in VAE_HALVES:
        if found.vae and has_half(found.header, found.vae, half):
            vae(found.header, found.vae, vae_values(found))


@pytest.mark.parametrize(
    ("stem", "architecture"),
    [
        ("qwen_image_fp8_e4m3fn", Architecture.QWEN_IMAGE),
        ("qwen_image_2512_bf16", Architecture.QWEN_IMAGE),
        ("qwen_image_edit_fp8_e4m3fn", Architecture.QWEN_IMAGE_EDIT),
        ("Qwen-Image-Edit-2509_fp8", Architecture.QWEN_IMAGE_EDIT_PLUS),
        ("qwen_image_edit_2511_bf16", Architecture.QWEN_IMAGE_EDIT_PLUS),
        ("my-credits", Architecture.QWEN_IMAGE),
    ],
)
def test_qwen_image_is_told_by_its_name(stem: str, architecture: Architecture) -> None:
    """Models for text and for editing have the same tensors; without the word `edit` a file is one for text."""
    assert recognize(shapes.header(shapes.qwen_image(), Path(f"{stem}.safetensors"))).architecture is architecture


def test_the_marker_of_qwen_image_edit_2511_is_read() -> None:
    """It decides about the time of images to edit, whatever the file's name is."""
    for marked in (True, False):
        found = recognize(shapes.header(shapes.qwen_image(marked=marked), Path("edit-2511.safetensors")))
        assert found.architecture is Architecture.QWEN_IMAGE_EDIT_PLUS
        assert denoiser(found, "").config["zero_cond_t"] is marked


UNET = shapes.DENOISER
FOREIGN = {
    "lora_unet_down_blocks_0_proj_in.lora_down.weight": "a LoRA, not a model; put it into the folder loras/",
    "unet.down_blocks.0.attentions.0.proj_in.lora.down.weight": "a LoRA",
    "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": "a LoRA",
    "lycoris_blocks_0_attn.lokr_w1": "a LoRA",
    "diffusion_model.blocks.0.hada_w1_a": "a LoRA",
    "controlnet_cond_embedding.conv_in.weight": "a ControlNet",
    "control_model.time_embed.0.weight": "a ControlNet",
    "image_proj.proj.weight": "an IP-Adapter",
    "down_blocks.0.motion_modules.0.temporal_transformer.norm.bias": "a motion module",
    "first_stage_model.decoder.up.0.block.0.norm1.weight": "a VAE, not a model; name it with --vae",
    "encoder.down_blocks.0.resnets.0.conv1.weight": "a VAE",
    "text_model.encoder.layers.0.layer_norm1.weight": "a text encoder, not a model; name a folder",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "a text encoder",
    "model.layers.0.self_attn.q_proj.weight": "a language model",
    "vision_model.embeddings.class_embedding": "an image encoder",
    "model.1.sub.0.RDB1.conv1.0.weight": "an upscaler",
    "body.0.rdb1.conv1.weight": "an upscaler",
    "decoder.layers.0.weight": "a TAESD",
    f"{UNET}cap_embedder.0.weight": "a part of a Z-Image or Lumina-Image 2 model; the whole transformer must be",
    "noise_refiner.0.adaLN_modulation.1.weight": "a part of a Z-Image or Lumina-Image 2",
    "all_x_embedder.2-1.weight": "a transformer of Z-Image; it has diffusers' names",
    "time_caption_embed.caption_embedder.0.weight": "a transformer of Lumina-Image 2; it has diffusers' names",
    "siglip_embedder.0.weight": "Z-Image-Omni",
    "blocks.0.cross_attn.q_linear.weight": "a PixArt or Sana",
    "single_transformer_blocks.0.attn.to_q.weight": "a transformer of FLUX.1; it has diffusers' names",
    "transformer_blocks.0.attn.to_q.weight": "a transformer; it has diffusers' names",
    "down_blocks.0.resnets.0.conv1.weight": "a UNet; it has diffusers' names",
    "transformer_blocks.0.qkv_proj.qweight": "a model quantized by Nunchaku",
    "emb_params": "a textual inversion embedding",
    "clip_g": "a textual inversion embedding",
    "strange": "a textual inversion embedding",
}


@pytest.mark.parametrize(("name", "problem"), FOREIGN.items())
def test_foreign_file(name: str, problem: str) -> None:
    """A file of another kind is refused in one line that says what it is and what to do."""
    with pytest.raises(ModelFileError, match=rf"^models/dreamshaper\.safetensors: .*{problem}") as raised:
        recognize(shapes.header({name: (2, 768)}))
    assert "\n" not in str(raised.value)


def test_unknown_architecture() -> None:
    """A file of an unknown architecture gets the list of those that are served."""
    with pytest.raises(ModelFileError, match="its architecture is unknown: single files of Stable Diffusion 1 and 2"):
        recognize(shapes.header({"strange.0.weight": (3, 3, 3, 3), "strange.1.weight": (3,)}))
    with pytest.raises(ModelFileError, match="its architecture is unknown"):
        recognize(shapes.header({}))


MARKED = {
    f"{UNET}input_blocks.1.0.time_stack.in_layers.0.weight": "a video model",
    "embedder.model.visual.proj": "Stable Diffusion 2.1 unCLIP",
    f"{UNET}input_blocks.1.1.proj_in.weight.absmax": "a model quantized by bitsandbytes",
}


@pytest.mark.parametrize(("name", "problem"), MARKED.items())
def test_marked_model(name: str, problem: str) -> None:
    """A model with a marker is not taken for one of its relatives that is served."""
    with pytest.raises(ModelFileError) as raised:
        recognize(shapes.header({**shapes.FILES["sdxl"], name: (1,)}))
    assert problem in str(raised.value)


@pytest.mark.parametrize("marker", EDM_MARKERS)
def test_edm_models(marker: str) -> None:
    """EDM models are SDXL's, with markers, of which none is a weight; those of other architectures are refused."""
    for name in ("sdxl", "sdxl unet"):
        found = recognize(shapes.header({**shapes.FILES[name], marker: (0,)}))
        assert found.architecture is Architecture.SDXL
        assert denoiser(found, "v_prediction").weights.ignored(marker) or found.prefix
    with pytest.raises(ModelFileError, match="it is an EDM model of Stable Diffusion 1; of EDM models tintype serves"):
        recognize(shapes.header({**shapes.FILES["sd1"], marker: (0,)}))


def test_edit_model_of_cosxl() -> None:
    """CosXL-Edit takes an image with its latents: it is not taken for CosXL."""
    tensors = shapes.unet(linear=True, text=2048, sizes=2816, channels=8) | {"edm_vpred.sigma_max": ()}
    with pytest.raises(ModelFileError, match=r"an editing model \(InstructPix2Pix\), which takes 8 channels"):
        recognize(shapes.header(tensors))


def test_other_parts_do_not_matter() -> None:
    """A model may contain a ControlNet, averaged weights and buffers of training."""
    others = ("control_model.time_embed.0.weight", "model_ema.decay", "betas", "motion_modules.0.weight")
    found = recognize(shapes.header({**dict.fromkeys(others, (1,)), **shapes.FILES["sd1"]}))
    assert found.architecture is Architecture.SD1


@pytest.mark.parametrize("channels", [5, 7, 8])
def test_channels_of_other_tasks(channels: int) -> None:
    """A UNet that takes another image with its latents is refused by what it does."""
    with pytest.raises(ModelFileError, match=f"takes {channels} channels"):
        recognize(shapes.header(shapes.unet(channels=channels)))


def test_chroma_radiance() -> None:
    """A relative of Chroma that draws pixels is not taken for it."""
    with pytest.raises(ModelFileError, match="it is a Chroma Radiance model"):
        recognize(shapes.header({**shapes.FILES["chroma"], "nerf_blocks.0.norm.scale": (64,)}))


@pytest.mark.parametrize("channels", [96, 128])
def test_channels_of_flux_tools(channels: int) -> None:
    """So are FLUX.1's tools."""
    with pytest.raises(ModelFileError, match=f"FLUX.1.*takes {channels} channels"):
        recognize(shapes.header(shapes.flux(channels=channels)))


def test_vocabulary() -> None:
    """A text encoder with other tokens than CLIP's is refused, since the file has no tokenizer."""
    tensors = {**shapes.FILES["sd1"], **shapes.below("cond_stage_model.transformer.", shapes.clip(tokens=49410))}
    with pytest.raises(ModelFileError, match="must have 49408 tokens, as CLIP's tokenizer has; got 49410"):
        read_all(recognize(shapes.header(tensors)))


def test_damaged_unet() -> None:
    """A UNet whose blocks do not pair, or that has no attention, is refused."""
    tensors = dict(shapes.FILES["sd1"])
    del tensors[f"{UNET}output_blocks.3.0.in_layers.0.weight"]
    with pytest.raises(ModelFileError, match="the blocks of its UNet do not pair"):
        read_all(recognize(shapes.header(tensors)))
    plain = {name: shape for name, shape in shapes.FILES["sd1"].items() if "proj_in" not in name}
    with pytest.raises(ModelFileError, match="its UNet has no attention"):
        read_all(recognize(shapes.header(plain)))


NAMES = sorted({name for file in shapes.FILES.values() for name in file})
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 9, 64, 128, 768, 10**30]), max_size=5).map(tuple)


@given(
    base=st.sampled_from([{}, *shapes.FILES.values()]),
    changed=st.dictionaries(
        st.one_of(st.sampled_from(NAMES), st.sampled_from([*sorted(FOREIGN), *EDM_MARKERS]), st.text()), SHAPES
    ),
    removed=st.sets(st.sampled_from(NAMES), max_size=5),
)
def test_any_header(base: dict[str, tuple[int, ...]], changed: dict[str, tuple[int, ...]], removed: set[str]) -> None:
    """No names and shapes raise another error."""
    tensors = {name: shape for name, shape in {**base, **changed}.items() if name not in removed}
    with suppress(ModelFileError):
        read_all(recognize(shapes.header(tensors)))


def refused(header: Header) -> None:
    with suppress(ModelFileError):
        recognize(header)


@pytest.mark.parametrize("stem", ["strange.", f"{UNET}double_blocks.", "a." * 40, "lora"])
def test_linear_in_tensors(stem: str) -> None:
    """The work grows in proportion to the number of tensors."""

    def work(count: int) -> int:
        names = (f"{stem}{number}.img_mod.lin.weight" for number in range(count))
        header = shapes.header(dict.fromkeys(names, (1, 1)))
        return steps(lambda: refused(header))

    assert work(4000) < GROWTH * work(2000)


@pytest.mark.parametrize("unit", ["a", "a.", "lora", ".quant_state", "transformer_blocks.0"])
def test_linear_in_names(unit: str) -> None:
    """The work grows in proportion to the length of a name."""
    check_linear(lambda name: foreign_kinds(shapes.header({name: (1,)})), lambda n: unit * (n // len(unit)))
