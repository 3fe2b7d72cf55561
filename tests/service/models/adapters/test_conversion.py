"""Published adapters become a graph's matrices; what does not fit, or is made to harm, is one clear line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.adapter_files import write_tensors
from tintype.service.errors import InvalidField
from tintype.service.models.adapters import conversion, reading
from tintype.service.models.adapters.adapters import Adapters
from tintype.service.models.safetensors import TensorFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tintype.service.models.adapters.layer_sizes import Adapter

RANDOM = np.random.default_rng(0)
LAYER, KEY = "mid_block.attentions.0.proj_in", "unet.mid_block.attentions.0.proj_in"
UNET: dict[str, Any] = {
    "unet": {LAYER: (8, 6), "mid_block.resnets.0.conv1": (4, 3, 3, 5), "conv_in": (4, 3, 3, 8)},
    "text_encoder": {"text_model.encoder.layers.0.self_attn.q_proj": (4, 4)},
}
BLOCK = "transformer_blocks.0.attn"
FLUX: dict[str, Any] = {
    "transformer": {**{f"{BLOCK}.to_{side}": (4, 6) for side in "qkv"}, "norm_out.linear": (4, 6)},
    "text_encoder": {},
    "text_encoder_2": {},
}


def noise(*shape: int) -> Any:
    return RANDOM.standard_normal(shape, np.float32)


def pair(name: str, wide: int, out: int, rank: int = 2, **others: float) -> dict[str, Any]:
    """Return a linear layer's LoRA in kohya's layout; `others` are further tensors of the layer."""
    tensors = {f"{name}.lora_down.weight": noise(rank, wide), f"{name}.lora_up.weight": noise(out, rank)}
    return tensors | {f"{name}.{role}": np.float32(value).reshape(()) for role, value in others.items()}


def read(folder: Path, tensors: Mapping[str, Any], sizes: Any = None, **metadata: str) -> Adapter:
    """Return the content of an adapter as the service reads it. Raises InvalidField."""
    write_tensors(folder / "loras" / "ink.safetensors", {n: np.asarray(t) for n, t in tensors.items()}, **metadata)
    return Adapters(folder, sizes or UNET).check((("ink", 1.0),))[0]


def change(adapter: Adapter, component: str, layer: str) -> Any:
    """Return the change [out, in, ...] of a layer."""
    a, b = adapter[component][layer]
    return np.moveaxis(a @ b, -1, 0)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in", {}),
        ("lora_unet_middle_block_1_proj_in", {}),
        (KEY, {}),
        (f"base_model.model.{LAYER}", {}),
        ("diffusion_model.middle_block.1.proj_in", {}),
        (KEY, {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 6})}),
    ],
)
def test_every_name_of_a_layer_is_understood(name: str, metadata: dict[str, str], tmp_path: Path) -> None:
    """Names of kohya, PEFT, diffusers and the authors; alpha / rank comes from a tensor or the metadata."""
    tensors = pair(name, 8, 6) | ({} if metadata else {f"{name}.alpha": np.float32(6)})
    adapter = read(tmp_path, tensors, **metadata)
    expected = 3 * tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]
    np.testing.assert_allclose(change(adapter, "unet", LAYER), expected, atol=1e-5)


def test_pefts_configuration_has_the_name_of_the_adapter(tmp_path: Path) -> None:
    """PEFT's adapter_config.json, copied as `loras/NAME.json`, has the alpha of NAME only."""
    tensors = pair(f"base_model.model.{LAYER}", 8, 6)
    plain = change(read(tmp_path, tensors), "unet", LAYER)
    config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 8, "alpha_pattern": None})
    (tmp_path / "loras" / "adapter_config.json").write_text(config)
    np.testing.assert_array_equal(change(read(tmp_path, tensors), "unet", LAYER), plain)
    (tmp_path / "loras" / "ink.json").write_text(config)
    np.testing.assert_allclose(change(read(tmp_path, tensors), "unet", LAYER), 4 * plain, rtol=1e-5)


def test_convolutions_keep_their_kernel(tmp_path: Path) -> None:
    """LoCon: A has the kernel and B is 1 by 1; a difference of the whole weight is the same change."""
    down, up, layer = noise(2, 4, 3, 3), noise(5, 2, 1, 1), "mid_block.resnets.0.conv1"
    expected = np.einsum("or,rijk->oijk", up[..., 0, 0], down)
    name = "lora_unet_middle_block_0_in_layers_2"
    for tensors in (
        {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up},
        {f"unet.{layer}.diff": expected},
    ):
        np.testing.assert_allclose(change(read(tmp_path, tensors), "unet", layer), expected, atol=1e-5)


def test_one_layer_of_the_authors_is_several_here(tmp_path: Path) -> None:
    """The rows of a joint layer are split; the halves of FLUX's last norm are exchanged; layers share A."""
    joint, norm = "lora_unet_double_blocks_0_img_attn_qkv", "diffusion_model.final_layer.adaLN_modulation.1"
    tensors = pair(joint, 4, 18, alpha=1.0) | pair(norm, 4, 6)
    adapter = read(tmp_path, tensors, FLUX)
    whole = tensors[f"{joint}.lora_up.weight"] @ tensors[f"{joint}.lora_down.weight"] / 2
    for side, rows in zip("qkv", np.split(whole, 3), strict=True):
        np.testing.assert_allclose(change(adapter, "transformer", f"{BLOCK}.to_{side}"), rows, atol=1e-5)
    halves = tensors[f"{norm}.lora_up.weight"] @ tensors[f"{norm}.lora_down.weight"]
    np.testing.assert_allclose(change(adapter, "transformer", "norm_out.linear"), np.roll(halves, 3, 0), atol=1e-5)
    first, second = (adapter["transformer"][f"{BLOCK}.to_{side}"][0] for side in "qk")
    assert first is second


def test_changes_without_effect_may_be_of_any_layer(tmp_path: Path) -> None:
    """Trainers write zeros for a T5 that they did not train, and for biases."""
    unused = pair("lora_te3_encoder_block_0_layer_0_SelfAttention_q", 4, 4)
    unused["lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_up.weight"][:] = 0
    norm = {"lora_unet_final_layer_linear.diff_b": np.zeros(5, np.float32)}
    tensors = (
        unused | norm | pair(f"transformer.{BLOCK}.to_q", 4, 6) | {f"transformer.{BLOCK}.to_q.diff_b": np.zeros(6)}
    )
    assert {part: list(layers) for part, layers in read(tmp_path, tensors, FLUX).items()} == {
        "transformer": [f"{BLOCK}.to_q"]
    }


@pytest.mark.parametrize(
    ("tensors", "sizes", "problem"),
    [
        (pair("unet.nowhere", 8, 6), UNET, "changes unet.nowhere, which this model does not have: it was made for an"),
        (pair("lora_te2_fc1", 8, 6), UNET, "changes text_encoder_2.fc1, which this model does not have"),
        (pair(KEY, 9, 6), UNET, f"changes {KEY} from 9 to 6, which is from 8 to 6 in this model"),
        (pair(KEY, 8, 6) | pair("lora_unet_middle_block_1_proj_in", 8, 6), UNET, f"changes {KEY} twice, also as"),
        (pair(KEY, 8, 6, dora_scale=1.0), UNET, "by a DoRA, which a request cannot choose: use `tintype export MODEL"),
        (pair(KEY, 8, 6, diff_b=1.0), UNET, "has changes of several kinds|by a change of a bias"),
        ({"unet.mid_block.norm.diff": noise(6)}, UNET, "changes unet.mid_block.norm, which takes no adapters; use `t"),
        (pair("lora_te3_encoder", 4, 4), FLUX, "changes the text_encoder_2, which takes no adapters in this model: u"),
        (pair(KEY, 8, 6), {"unet": {}}, "cannot be used, as this model takes no adapters: export it with --with-lora"),
        (
            {"unet.conv.lora_down.weight": noise(2, 4, 3, 3), "unet.conv.lora_up.weight": noise(5, 2, 1, 1)},
            {"unet": {LAYER: (8, 6)}},
            "changes unet.conv, but no convolution of this model takes adapters: export it again with --with-lora",
        ),
        (pair(KEY, 8, 6, alpha=np.nan), UNET, "its alpha holds numbers that are not finite"),
        (pair("unet.a\nb\x1b[2J", 8, 6), UNET, r"changes unet\.a\\nb\\x1b\[2J, which this model does not have"),
        (pair(f"unet.{'x' * 5000}", 8, 6), UNET, r"changes unet\.x{115}\.\.\., which this model does not have"),
        ({"unet.x.oft_diag": noise(3)}, UNET, "is an adapter of the kind OFT; supported: LoRA, LoHa, LoKr"),
        ({f"{KEY}.weight": noise(6, 8)}, UNET, "holds no adapter: it has tensors such as unet.mid_block"),
        (pair(KEY, 8, 6) | {"unet.x.weight": noise(3)}, UNET, "holds unet.x.weight, which is not part of an adapter"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_fit_is_refused(
    tensors: dict[str, Any], sizes: Any, problem: str, tmp_path: Path
) -> None:
    """One line of the field names the layer and the reason."""
    with pytest.raises(InvalidField, match=f"loras: adapter 'ink' .*({problem})") as refused:
        read(tmp_path, tensors, sizes)
    assert "\n" not in str(refused.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """In either matrix, and of any kind; large numbers whose squares overflow are finite."""
    for value, name in ((np.nan, "lora_down"), (np.inf, "lora_up")):
        tensors = pair(KEY, 8, 6)
        tensors[f"{KEY}.{name}.weight"][1, 1] = value
        with pytest.raises(InvalidField, match=f"its {name[5:]} holds numbers that are not finite"):
            read(tmp_path, tensors)
    tensors = pair(KEY, 8, 6)
    tensors[f"{KEY}.lora_up.weight"][:] = 1e30
    assert read(tmp_path, tensors)
    with pytest.raises(InvalidField, match=f"changes {KEY} by numbers that are not finite"):
        read(tmp_path, tensors | {f"{KEY}.alpha": np.float32(1e38)})


def test_files_that_are_made_to_harm_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many tensors, numbers, ranks, and products that are far larger than the file."""
    many = {f"unet.{n}.alpha": np.zeros((), np.float32) for n in range(8)}
    monkeypatch.setattr(reading, "MAX_TENSORS", 7)
    core = {"hada_t1": noise(9, 2, 1, 1), "hada_w1_a": noise(9, 6), "hada_w1_b": noise(2, 8)}
    core |= {name.replace("1", "2", 1): tensor for name, tensor in core.items()}
    monkeypatch.setattr(conversion, "MAX_RANK", 5)
    monkeypatch.setattr("tintype.service.models.adapters.changes.MAX_CORE", 18 * 8 - 1)
    cases: list[tuple[dict[str, Any], str]] = [
        (many, "holds 8 tensors; the limit is 7"),
        (pair(KEY, 8, 6, rank=6), f"changes {KEY} by the rank 6; the limit is 5"),
        ({f"{KEY}.{role}": tensor for role, tensor in core.items()}, "the tensors of its LoHa do not fit together"),
    ]
    for tensors, problem in cases:
        with pytest.raises(InvalidField, match=problem):
            read(tmp_path, tensors)
    monkeypatch.setattr(reading, "MAX_NUMBERS", 27)
    for name in (KEY, "unet.mid_block.attentions.0.proj_in.A"):
        with pytest.raises(InvalidField, match=r"holds \d+ numbers; the limit is 27"):
            read(tmp_path, pair(name, 8, 6) if name == KEY else {name: noise(8, 8)})


def test_a_product_that_takes_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LoHa's rank is the product of two; the limit holds for all layers together, before anything is computed."""
    sides = {"hada_w1_a": (6, 3), "hada_w1_b": (3, 8), "hada_w2_a": (6, 3), "hada_w2_b": (3, 8)}
    tensors = {f"{KEY}.{role}": noise(*shape) for role, shape in sides.items()}
    monkeypatch.setattr(conversion, "MAX_NUMBERS", 6 * 14)
    assert read(tmp_path, tensors)
    monkeypatch.setattr(conversion, "MAX_NUMBERS", 6 * 14 - 1)
    with pytest.raises(InvalidField, match=r"takes more than 0 MiB, as two matrices .* use `tintype export MODEL OUT"):
        read(tmp_path, tensors)


def test_names_are_resolved_before_numbers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file for another model costs its header only, and one layer for the message."""
    write_tensors(
        tmp_path / "loras" / "ink.safetensors",
        {name: tensor for n in range(9) for name, tensor in pair(f"unet.layer_{n}", 8, 6).items()} | pair(KEY, 8, 6),
    )
    seen: list[str] = []
    original = TensorFile.read

    def note(file: TensorFile, name: str) -> Any:
        seen.append(name)
        return original(file, name)

    monkeypatch.setattr(TensorFile, "read", note)
    with pytest.raises(InvalidField, match=r"changes unet\.layer_0, which this model does not have"):
        Adapters(tmp_path, UNET).check((("ink", 1.0),))
    assert seen == ["unet.layer_0.lora_down.weight", "unet.layer_0.lora_up.weight"]
