"""Which files of a repository are chosen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.service.fake_hub import SERVED, pipeline_files
from tintype.service.models.hub.choice import Choice, Wish, choose
from tintype.service.models.hub.errors import HubError, NotOnHub, NotServable


def picked(names: list[str], index: str = "", **wish: Any) -> set[str]:
    """Return the chosen files; `index` has the components that model_index.json names, or is empty without it."""
    parts = {name: ["diffusers", "X"] for name in index.split()} | {"vae_1": [None, None], "flag": True}
    chosen = choose(dict.fromkeys(names, 1), parts if index else None, Wish(**wish))
    return set(chosen.files)


def weights(folder: str, *names: str, stem: str = "diffusion_pytorch_model") -> list[str]:
    return [f"{folder}/{name.format(stem)}" for name in names]


UNET = weights("unet", "{}.safetensors", "{}.fp16.safetensors", "{}.bf16.safetensors", "{}.non_ema.safetensors")


def test_a_published_pipeline() -> None:
    """One precision of each component that is named, its configurations and the README; nothing for safety checks."""
    sizes = {path: len(data) for path, data in pipeline_files().items()}
    names = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "safety_checker")
    index = {name: ["diffusers", "X"] for name in names}
    assert choose(sizes, index, Wish()) == Choice(tuple(sorted(SERVED)))


@pytest.mark.parametrize(
    ("precision", "without", "name"),
    [
        ("", "", "fp16."),
        ("", "fp16", "bf16."),
        ("", "fp16 bf16", ""),
        ("bf16", "", "bf16."),
        ("bf16", "bf16", "fp16."),
        ("fp32", "", ""),
    ],
)
def test_precisions(precision: str, without: str, name: str) -> None:
    """The precision that is asked for, otherwise the nearest one; never a training variant."""
    names = [path for path in UNET if not any(f".{kind}." in path for kind in without.split())]
    assert picked(names, "unet", precision=precision) == {f"unet/diffusion_pytorch_model.{name}safetensors"}


def test_weights_that_are_here_come_first() -> None:
    """Without a precision, weights in the cache are used rather than others downloaded; a precision is obeyed."""
    plain = "unet/diffusion_pytorch_model.safetensors"
    assert picked(UNET, "unet", present={plain}) == {plain}
    assert picked(UNET, "unet", present={plain}, precision="fp16") != {plain}


def test_shards() -> None:
    """Shards come with their index. Shards under two spellings, as in SD3, are chosen once."""
    flux = weights(
        "transformer", "{}.safetensors.index.json", *(f"{{}}-0000{n}-of-00003.safetensors" for n in (1, 2, 3))
    )
    assert picked([*flux, "flux1-dev.safetensors", "ae.safetensors"], "transformer") == set(flux)
    index = "text_encoder_3/model.safetensors.index.fp16.json"
    early = weights("text_encoder_3", *(f"model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)))
    late = weights("text_encoder_3", *(f"model-0000{n}-of-00002.fp16.safetensors" for n in (1, 2)))
    plain = weights("text_encoder_3", "model.safetensors.index.json", "model-00001-of-00001.safetensors")
    assert picked([*early, *late, *plain, index], "text_encoder_3") == {*early, index}
    assert picked([*late, *plain, index], "text_encoder_3") == {*late, index}
    assert picked([*early, *late, *plain, index], "text_encoder_3", precision="fp32") == set(plain)


def test_missing_shards() -> None:
    """A repository without all shards is refused before anything is downloaded."""
    with pytest.raises(NotServable, match=r"unet/ lacks shard 2 of 3"):
        picked(weights("unet", "{}-00001-of-00003.safetensors", "{}-00003-of-00003.safetensors"), "unet")


def test_shards_without_an_index() -> None:
    """The service cannot read them, so they are refused before anything is downloaded."""
    with pytest.raises(NotServable, match=r"unet/ has shards, but no index of them"):
        picked(weights("unet", "{}-00001-of-00002.safetensors", "{}-00002-of-00002.safetensors"), "unet")


def test_graphs_only_without_safetensors() -> None:
    """ONNX graphs are chosen for components without .safetensors, with their data; another VAE is not."""
    graphs = [
        "unet/model.onnx",
        "unet/model.onnx_data",
        "unet/weights.pb",
        "vae_decoder/model.onnx",
        "unet/model_2.onnx",
    ]
    names = [*UNET, *graphs, "vae/diffusion_pytorch_model.safetensors", "vae_1_0/diffusion_pytorch_model.safetensors"]
    assert picked(names, "unet vae", precision="fp16") == {UNET[1], "vae/diffusion_pytorch_model.safetensors"}
    onnx = [*graphs, "vae_encoder/model.onnx", "vae_decoder/config.json", "unet/config.json", "unet/model.bin"]
    assert picked(onnx, "unet vae") == set(onnx) - {"unet/model_2.onnx", "unet/model.bin"}


def test_legacy_graphs() -> None:
    """A repository of graphs without model_index.json is served too."""
    names = ["unet/model.onnx", "vae_decoder/model.onnx", "tokenizer/vocab.json", "tokenizer/other.txt", "x/model.onnx"]
    assert picked(names) == set(names[:3])


def test_safety_checkers() -> None:
    """A checker that is an ONNX graph comes with its preprocessor if it is wanted; other checkers never do."""
    needed = ["unet/model.onnx", "model_index.json"]
    checker = [f"safety_checker/{name}" for name in ("model.onnx", "config.json")]
    checker += ["feature_extractor/preprocessor_config.json"]
    index = "unet safety_checker feature_extractor"
    assert picked(needed + checker, index, safety=True) == {*needed, *checker}
    assert picked(needed + checker, index) == set(needed)
    assert picked(needed[:1] + checker, safety=True) == {*needed[:1], *checker}
    torch = [*needed, "safety_checker/model.safetensors", *checker[1:]]
    assert picked(torch, index, safety=True) == set(needed)


def test_our_own_folders() -> None:
    """A folder of `tintype export` comes with tintype.json, its adapters and its embeddings."""
    names = ["model_index.json", "tintype.json", "unet/model.onnx", "loras/a.safetensors", "embeddings/b.safetensors"]
    assert picked(names, "unet") == set(names)
    assert picked(names[:1] + names[2:], "unet") == {"model_index.json", "unet/model.onnx"}


def test_single_files() -> None:
    """The only .safetensors file in the root is the model; with several, one is named."""
    sizes = dict.fromkeys(["a.safetensors", "README.md", "sub/b.safetensors", "a.ckpt"], 1)
    assert choose(sizes, None, Wish()) == Choice(("README.md", "a.safetensors"), "a.safetensors")
    assert choose(sizes, None, Wish(file="sub/b.safetensors")).target == "sub/b.safetensors"
    with pytest.raises(NotOnHub, match=r"it has no file aa\.safetensors; it has a\.safetensors"):
        picked(list(sizes), file="aa.safetensors")


def test_parts() -> None:
    """The VAE or the text encoders of a pipeline, or a repository that is a VAE itself."""
    files = list(pipeline_files())
    vae = {"vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors", "model_index.json", "README.md"}
    assert picked(files, "unet vae text_encoder tokenizer", part="vae") == vae
    text = picked(files, "unet vae text_encoder tokenizer", part="text_encoders")
    assert {path.partition("/")[0] for path in text} == {"text_encoder", "tokenizer", "model_index.json", "README.md"}
    bare = ["config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", "sdxl_vae.safetensors"]
    assert picked(bare, part="vae") == set(bare[:2])
    assert choose({"sdxl_vae.safetensors": 1}, None, Wish(part="vae")).target == "sdxl_vae.safetensors"
    with pytest.raises(NotServable, match=r"model_index\.json names no text encoders"):
        picked(files, "unet vae", part="text_encoders")


@pytest.mark.parametrize(
    ("names", "index", "message"),
    [
        (["unet/diffusion_pytorch_model.bin"], "unet", r"its weights only as a pickle.*: diffusion_pytorch_model\.bin"),
        (["unet/config.json"], "unet", r"unet/ has neither \.safetensors nor model\.onnx"),
        (["vae/config.json"], "unet", r"model_index\.json names unet, but there is no folder unet/"),
        (["unet/model.onnx"], "unet tokenizer", r"there is no folder tokenizer/"),
        (["a.ckpt", "x/b.bin"], "", r"neither model_index\.json .* pickles, which can run code .*: a\.ckpt, x/b\.bin"),
        (["a.gguf", "b.txt"], "", r"it has a\.gguf, b\.txt"),
        ([], "", r"it has no files"),
        (
            [f"{n}.safetensors" for n in range(9)],
            "",
            r"name one as OWNER/NAME/FILE\.safetensors: 0.*4\.safetensors and 4 m",
        ),
        (["pytorch_lora_weights.safetensors"], "", r"it is an adapter \(pytorch_lora.*copy pytorch_lora.*loras folder"),
        (["adapter_config.json", "adapter_model.safetensors"], "", r"it is an adapter"),
        (["config.json", "diffusion_pytorch_model.safetensors"], "", r"one component, not a whole model; .* --vae"),
    ],
)
def test_what_cannot_be_served(names: list[str], index: str, message: str) -> None:
    """A repository without usable files is an error that says what it has."""
    with pytest.raises(HubError, match=message):
        picked(names, index)


def test_large_documents_are_left_out() -> None:
    """A README is not chosen if it is huge."""
    sizes = {"a.safetensors": 1, "README.md": 5 << 20, "LICENSE.txt": 10}
    assert choose(sizes, None, Wish()).files == ("LICENSE.txt", "a.safetensors")
