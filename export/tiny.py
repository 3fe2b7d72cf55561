"""A random pipeline of each family, made offline in seconds: for tests, benchmarks and a first try of the export.

    python -m tintype.export.tiny FOLDER [family ...]        # writes FOLDER/<family>/ in diffusers' layout

Nothing is downloaded: shapes are literal, weights are random, the tokenizer is trained on `CORPUS`.
The last layers are scaled until what comes out is as lively as from a trained model: two pictures of a random model
would else be the same grey, and comparing them would prove nothing.
A family is one function and one row of `FAMILIES`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from .graphs import write_noise

if TYPE_CHECKING:
    from collections.abc import Callable

CORPUS = (
    "a photograph of an astronaut riding a horse on the moon , highly detailed , 4k , trending",
    "a serene mountain lake at sunset , watercolor , soft colours , wide angle lens , 35mm film photo",
    "the quick brown fox jumps over the lazy dog ! a cat holding a sign that says hello world .",
    "it's isn't we're they'll i've i'd don't café naïve straße 日本語 привет γειά 1girl 2024",
    "low quality , blurry , bad anatomy , extra fingers , watermark , text , signature , jpeg artifacts",
)
# What OpenAI's CLIP takes for a word, before merging: https://github.com/openai/CLIP/blob/main/clip/simple_tokenizer.py
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
START, END = "<|startoftext|>", "<|endoftext|>"
TRAINING_NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
# Layers of the denoiser, and by how much they are scaled; found by looking at pictures.
GAINS = {"conv_out": 3.0, "attn2.to_out": 8.0}


def learn_merges(corpus: tuple[str, ...], count: int) -> list[tuple[str, str]]:
    """Learn byte-level BPE merges as CLIP's tokenizer wants them: `</w>` ends a word."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=512 + count,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]][:count]


def clip_tokenizer(*, pad: str = END, length: int = 77) -> transformers.CLIPTokenizer:
    """A small CLIP tokenizer: every byte, every byte that ends a word, the merges, start and end."""
    merges = learn_merges(CORPUS, 400)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(a + "</w>" for a in alphabet), *map("".join, merges), START, END]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    with TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab_file.write_text(json.dumps(vocab), encoding="utf-8")
        lines = ("#version: 0.2", *map(" ".join, merges))
        merges_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return transformers.CLIPTokenizer(str(vocab_file), str(merges_file), model_max_length=length, pad_token=pad)


def clip_text_encoder(tokens: int, *, act: str = "quick_gelu") -> transformers.CLIPTextModel:
    """Three layers, 32 wide. `eos_token_id=2`, wrong as it is, is what the published models carry."""
    config = transformers.CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=act,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return transformers.CLIPTextModel(config).eval()


def autoencoder(*, scaling: float = 0.18215) -> diffusers.AutoencoderKL:
    """Four levels, as the published ones: latents have an eighth of the picture's size."""
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=scaling,
    )
    return vae.eval()


def unet(**options: Any) -> diffusers.UNet2DConditionModel:
    """Two levels, attention on the lower; `options` replace the shape's parts."""
    shape = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    return diffusers.UNet2DConditionModel(**{**shape, **options}).eval()


def sd(
    unet: diffusers.UNet2DConditionModel, noise: Any, *, pad: str = END, act: str = "quick_gelu"
) -> diffusers.StableDiffusionPipeline:
    """Compose a Stable Diffusion pipeline, without the checker that would need pictures to judge."""
    tokenizer = clip_tokenizer(pad=pad)
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip_text_encoder(len(tokenizer), act=act),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=noise,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd15() -> diffusers.StableDiffusionPipeline:
    """Stable Diffusion 1.x: predicts epsilon, PNDM."""
    return sd(unet(), diffusers.PNDMScheduler(**TRAINING_NOISE, skip_prk_steps=True))


def sd21() -> diffusers.StableDiffusionPipeline:
    """Stable Diffusion 2.x: predicts v, DDIM, pads with `!`, linear projections, heads of one width."""
    noise = diffusers.DDIMScheduler(**TRAINING_NOISE, clip_sample=False, prediction_type="v_prediction")
    return sd(unet(use_linear_projection=True, attention_head_dim=(4, 8)), noise, pad="!", act="gelu")


FAMILIES: dict[str, Callable[[], diffusers.DiffusionPipeline]] = {"sd15": sd15, "sd21": sd21}


def enliven(pipeline: Any) -> None:
    """Scale what a trained model would have learned to make large: its output, and what it takes from the prompt."""
    with torch.no_grad():
        for name, parameter in pipeline.unet.named_parameters():
            parameter.mul_(next((gain for layer, gain in GAINS.items() if layer in name), 1.0))


def make(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write `folder`/`family` in diffusers' layout; the same `seed` gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = FAMILIES[family]()
    enliven(pipeline)
    pipeline.save_pretrained(folder / family)
    write_noise(pipeline.scheduler, folder / family / "scheduler")  # as sparse as the published ones
    return folder / family


if __name__ == "__main__":
    for name in sys.argv[2:] or FAMILIES:
        sys.stdout.write(f"{make(name, Path(sys.argv[1]))}\n")
