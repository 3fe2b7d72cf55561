"""A graph states what a missing configuration would have said; what it does not state is left to the family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.onnx_files import FLOAT, INT64, external, graph, model, node, value
from tintype.service.models.families.table import FAMILIES, by_pipeline
from tintype.service.models.files import ModelFileError
from tintype.service.models.folder.graph_config import decoder_config, denoiser_config, encoder_config, index_of
from tintype.service.models.folder.graph_facts import GraphFacts, read_facts
from tintype.service.models.folder.usual_schedulers import usual_scheduler
from tintype.service.numerics import Diffusion, Prediction, make_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Read = Callable[..., GraphFacts]

INT32 = 6
FREE = ("batch", "channels", "height", "width")
PROMPT = {"encoder_hidden_states": ("batch", "sequence", 768)}
SD = {"sample": FREE, "timestep": ("batch",), **PROMPT}
SDXL = {**SD, "text_embeds": ("batch", 1280), "time_ids": ("batch", 6)}
FLOW = {"hidden_states": ("batch", 16, "height", "width"), "timestep": ("batch",), **PROMPT}
FLUX = {
    **FLOW,
    "hidden_states": ("batch", "tokens", 64),
    "pooled_projections": ("batch", 768),
    "img_ids": ("tokens", 3),
    "txt_ids": ("sequence", 3),
}
MASKED = {**FLOW, "encoder_attention_mask": ("batch", "sequence")}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that writes a graph and reads its facts."""

    def made(
        inputs: dict[str, Sequence[int | str]],
        nodes: Sequence[bytes] = (),
        weights: dict[str, Sequence[int]] | None = None,
        *,
        dtype: int = FLOAT,
        outputs: Sequence[str] = (),
    ) -> GraphFacts:
        ports = [value(name, dtype, shape) for name, shape in inputs.items()]
        made = [value(name, FLOAT, FREE) for name in outputs]
        stored = [external(name, shape, "weights.pb") for name, shape in (weights or {}).items()]
        (tmp_path / "model.onnx").write_bytes(model(graph("main", nodes, ports, made, stored)))
        return read_facts(tmp_path / "model.onnx")

    return made


def resizes(count: int) -> list[bytes]:
    return [node("Resize", [f"r{n}"], [f"r{n + 1}"]) for n in range(count)]


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ([node("Conv", ["sample", "w"], ["y"])], [320, 9, 3, 3]),
        ([node("Cast", ["sample"], ["x"]), node("Conv", ["x", "w"], ["y"])], [320, 9, 3, 3]),
        ([node("Transpose", ["sample"], ["x"]), node("NhwcConv", ["x", "w"], ["y"])], [320, 3, 3, 9]),
    ],
    ids=["plain", "half", "fused"],
)
def test_free_channels_are_those_of_the_first_convolution(read: Read, nodes: list[bytes], shape: list[int]) -> None:
    """A legacy export leaves the channels of latents free, and its first layer has them."""
    config = denoiser_config(read(SD, [*nodes, *resizes(3)], {"w": shape}))
    assert config == {
        "in_channels": 9,
        "down_block_types": ["?"] * 4,
        "cross_attention_dim": 768,
    }


def test_fixed_axes_win(read: Read) -> None:
    """A fixed axis is the channels or the size; equal height and width are the native size."""
    inputs = {**SD, "sample": (2, 4, 96, 96), "timestep_cond": ("batch", 256)}
    config = denoiser_config(read(inputs, [node("Conv", ["sample", "w"], ["y"])], {"w": [320, 4, 3, 3]}))
    assert (config["in_channels"], config["sample_size"], config["time_cond_proj_dim"]) == (4, 96, 256)
    assert "sample_size" not in denoiser_config(read({**SD, "sample": (2, 4, 64, 96)}))


def test_tokens_of_latents(read: Read) -> None:
    """A denoiser that takes latents as tokens has its channels in the last axis, and no size."""
    config = denoiser_config(read({**FLUX, "guidance": ("batch",)}))
    assert config == {
        "in_channels": 64,
        "guidance_embeds": True,
        "joint_attention_dim": 768,
    }


def test_a_free_width_is_what_the_first_product_reads(read: Read) -> None:
    """An export may leave every axis free."""
    inputs = {**SD, "timestep_cond": ("batch", "width")}
    facts = read(inputs, [node("MatMul", ["timestep_cond", "w"], ["y"])], {"w": [256, 320]})
    assert denoiser_config(facts)["time_cond_proj_dim"] == 256


@pytest.mark.parametrize(("channels", "derived"), [(3, {"block_out_channels": ["?"] * 4}), (48, {})])
def test_the_decoder(read: Read, channels: int, derived: dict[str, Any]) -> None:
    """The decoder states the channels of latents, and by how much it enlarges them if it ends in colours."""
    first = node("Conv", ["latent_sample", "w"], ["y"])
    last = [node("Conv", ["r3", "o"], ["c"]), node("Cast", ["c"], ["sample"])]
    weights = {"w": [4, 16, 1, 1], "o": [channels, 128, 3, 3]}
    facts = read({"latent_sample": FREE}, [first, *resizes(3), *last], weights, outputs=["sample"])
    assert decoder_config(facts) == {"latent_channels": 16, **derived}
    assert decoder_config(read({"latent_sample": FREE})) == {}


def test_a_text_encoder(read: Read) -> None:
    """The table of embeddings has the rows of the vocabulary; a fixed length is the longest prompt."""
    nodes = [
        node("Cast", ["input_ids"], ["ids"]),
        node("Reshape", ["ids", "s"], ["r"]),
        node("Gather", ["w", "r"], ["y"]),
    ]
    facts = read({"input_ids": (1, 77)}, nodes, {"w": [49408, 768]}, dtype=INT32)
    assert encoder_config(facts) == {"vocab_size": 49408, "max_position_embeddings": 77}
    assert encoder_config(read({"input_ids": ("batch", "sequence")}, dtype=INT64)) == {}


@pytest.mark.parametrize(
    ("family", "inputs", "encoders"),
    [
        ("sd", SD, 1),
        ("lcm", {**SD, "timestep_cond": ("batch", 256)}, 1),
        ("sdxl", SDXL, 2),
        ("sdxl_refiner", {**SDXL, "time_ids": ("batch", 5)}, 0),
        ("sd3", {**FLOW, "pooled_projections": ("batch", 2048)}, 2),
        ("flux", FLUX, 2),
        ("flux", {**FLUX, "guidance": ("batch",)}, 2),
        ("flux_fill", {**FLUX, "hidden_states": ("batch", "tokens", 384)}, 2),
        ("chroma", {**MASKED, "img_ids": ("tokens", 3), "txt_ids": ("words", 3)}, 1),
        ("aura_flow", FLOW, 1),
        ("pixart_alpha", {**MASKED, "resolution": ("batch", 2), "aspect_ratio": ("batch", 1)}, 1),
        ("pixart_sigma", {**MASKED, "hidden_states": ("batch", 4, "height", "width")}, 1),
        ("sana", {**MASKED, "hidden_states": ("batch", 32, "height", "width")}, 1),
    ],
)
def test_the_family_is_known_by_inputs(read: Read, family: str, inputs: dict[str, Any], encoders: int) -> None:
    """The inputs of the denoiser are enough to name each family."""
    denoiser = "transformer" if "hidden_states" in inputs else "unet"
    texts = ["text_encoder", "text_encoder_2"][:encoders] or ["text_encoder_2"]
    index = index_of(denoiser, read(inputs), [denoiser, "vae_decoder", *texts])
    absent = [name for name, value in index.items() if value == [None, None]]
    found = by_pipeline(index["_class_name"], absent)
    assert found is FAMILIES[family]
    assert index.get("requires_aesthetics_score", False) is (family == "sdxl_refiner")


@pytest.mark.parametrize(
    ("denoiser", "inputs"),
    [
        ("unet", {**SD, "image_embeds": ("batch", 768)}),
        ("unet", {**SD, "class_labels": ("batch",)}),
        ("transformer", MASKED),
        ("transformer", {"hidden_states": FREE, "timestep": ("batch",)}),
    ],
)
def test_other_graphs_are_described(read: Read, denoiser: str, inputs: dict[str, Any]) -> None:
    """Graphs that fit no family are an error that lists what was found and what to write."""
    with pytest.raises(
        ModelFileError, match=r"model_index\.json is missing.*name one in tintype\.json: sd, "
    ) as caught:
        index_of(denoiser, read(inputs), [denoiser, "text_encoder"])
    assert all(name in str(caught.value) for name in (*inputs, "text_encoder"))


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_usual_schedulers_are_read(family: str, *, guided: bool) -> None:
    """Each family has usual settings, which its pipeline's sampler accepts."""
    diffusion = Diffusion.from_config(usual_scheduler(FAMILIES[family], guided=guided))
    noise = ("sd", "lcm", "sdxl", "sdxl_refiner", "kolors", "pixart_sigma", "pixart_alpha")
    others = {**dict.fromkeys(noise, Prediction.EPSILON), "sana_sprint": Prediction.V}
    assert diffusion.prediction is others.get(family, Prediction.FLOW)
    assert diffusion.train_steps == (1100 if family == "kolors" else 1000)
    assert len(make_table(diffusion, 4, image_tokens=1024).sigmas) >= 5
