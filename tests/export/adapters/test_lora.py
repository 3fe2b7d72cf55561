"""Adapters that do not fit are refused with the reason; alphas from every source are multiplied in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

LAYER = "mid_block.attentions.0.proj_in"  # a convolution of 1 by 1, from 64 to 64
KEY = f"unet.{LAYER}.lora"


def pair(down: tuple[int, ...] = (2, 64, 1, 1), up: tuple[int, ...] = (64, 2, 1, 1), key: str = KEY) -> dict[str, Any]:
    return {f"{key}_A.weight": torch.ones(down), f"{key}_B.weight": torch.ones(up)}


@pytest.fixture
def model(exported: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a copy of the exported model without the adapters of other tests."""
    nothing = shutil.ignore_patterns("loras")
    return shutil.copytree(exported("sd15", "fp32", "--with-lora"), tmp_path / "model", ignore=nothing)


def run(tensors: dict[str, Any], model: Path, tmp_path: Path, *options: str, **notes: str) -> int:
    from safetensors.torch import save_file  # noqa: PLC0415

    save_file(tensors, tmp_path / "ink.safetensors", notes or None)
    return export.main(["--lora", str(tmp_path / "ink.safetensors"), str(model), *options])


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (pair(key="unet.mid_block.nowhere.lora"), "changes unet.mid_block.nowhere, which this model does not have"),
        (
            pair(key="transformer.blocks.0.to_q.lora"),
            "changes transformer.blocks.0.to_q, which this model does not have",
        ),
        (pair(down=(2, 32, 1, 1)), "from 32 to 64, which is from 64 to 64 in this model"),
        (
            pair(down=(2, 64, 3, 3)),
            f"changes unet.{LAYER} from 64 to 64 by 3 x 3, which is from 64 to 64 in this model",
        ),
        (pair(down=(3, 64, 1, 1)), "the tensors of its LoRA do not fit together: down [3, 64, 1, 1], up [64, 2, 1, 1]"),
        ({f"{KEY}_A.weight": torch.ones(2, 64)}, "the tensors of its LoRA lack 'up': down [2, 64]"),
        (
            pair() | {f"unet.{LAYER}.dora_scale": torch.ones(64)},
            "by a DoRA, which a request cannot choose: use `tintype exp",
        ),
        (pair() | {f"unet.{LAYER}.diff_b": torch.ones(64)}, "by a change of a bias, which a request cannot choose"),
        (pair() | {f"unet.{LAYER}.diff": torch.ones(64)}, "has changes of several kinds: LoRA and full difference"),
        (pair() | {f"unet.{LAYER}.alpha": torch.tensor(float("nan"))}, "its alpha holds numbers that are not finite"),
        (pair() | {f"unet.{LAYER}.alpha": torch.ones(2)}, "its alpha must be one number; got 2"),
        (pair() | pair(key="lora_unet_mid_block_attentions_0_proj_in.lora"), f"changes unet.{LAYER} twice"),
        (pair() | pair(key="unet.nowhere.lora"), "changes unet.nowhere, which this model does not have"),
        (pair() | {"unet.x.y": torch.ones(1)}, "holds unet.x.y, which is not part of an adapter"),
        (
            {"unet.mid_block.resnets.0.norm1.diff": torch.ones(64)},
            "which takes no adapters; use `tintype export MODEL OUT",
        ),
        ({"unet.x.oft_diag": torch.ones(64)}, "is an adapter of the kind OFT; supported: LoRA, LoHa"),
        ({f"unet.{LAYER}.weight": torch.ones(64, 64)}, "holds no adapter: it has tensors such as unet.mid_block"),
        ({f"unet.{LAYER}.alpha": torch.ones(1)}, "has no matrices, only alpha"),
        ({"unet.a\nb.lora_A.weight": torch.ones(2, 64), "unet.a\nb.lora_B.weight": torch.ones(64, 2)}, r"unet.a\nb, "),
        ({}, "holds no adapter: it is empty"),
    ],
)
def test_an_invalid_adapter_is_refused(
    tensors: dict[str, Any], reason: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line gives the reason, and no file is left."""
    before = sorted(model.rglob("*"))
    capsys.readouterr()
    assert run(tensors, model, tmp_path) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert [path for path in sorted(model.rglob("*")) if path.is_file()] == [path for path in before if path.is_file()]


def test_an_adapter_of_another_width_is_refused(exported: Callable[..., Path], tmp_path: Path, capsys: Any) -> None:
    """The message has the layer and its sizes in the file and in the model, also if several layers are one."""
    model = exported("flux_dev", "fp32", "--with-lora")
    for key, sizes, reason in (
        ("double_blocks_0_img_mlp_0", (72, 288), "from 72 to 288, which is from 32 to 128 in this model"),
        ("double_blocks_0_img_attn_qkv", (72, 216), "from 72 to 216, which is from 32 to 96 in this model"),
        ("single_blocks_0_linear1", (72, 504), "from 72 to 504, which is from 32 to 224 in this model"),
    ):
        down, up = torch.ones(6, sizes[0]), torch.ones(sizes[1], 6)
        name = f"lora_unet_{key}"
        tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(1.0)}
        capsys.readouterr()
        assert run(tensors, model, tmp_path, "--name", "wide") == 2
        error = capsys.readouterr().err
        assert f"changes {name} {reason}" in error
        assert error.count("\n") == 1


def test_an_older_export_takes_no_convolutions(model: Path, tmp_path: Path, capsys: Any) -> None:
    """The message recommends a new export; other layers still take adapters."""
    layer = "mid_block.resnets.0.conv1"
    remove_convolution_inputs(model / "unet" / "model.onnx")
    assert run(pair((2, 64, 3, 3), key=f"unet.{layer}.lora"), model, tmp_path) == 2
    error = capsys.readouterr().err
    assert (
        f"changes unet.{layer}, but no convolution of this model takes adapters: export it again with --with-lora"
        in error
    )
    assert run(pair(), model, tmp_path) == 0


def remove_convolution_inputs(path: Path) -> None:
    """Remove the inputs of convolutions from a graph, as in older exports."""
    import onnx  # noqa: PLC0415

    model = onnx.load(path)
    kept = [entry for entry in model.graph.input if len(entry.type.tensor_type.shape.dim) != 5]
    gone = {entry.name.removesuffix(".A") for entry in model.graph.input} - {
        entry.name.removesuffix(".A") for entry in kept
    }
    del model.graph.input[:]
    model.graph.input.extend(entry for entry in kept if entry.name.removesuffix(".B") not in gone)
    onnx.save(model, path)


def test_a_loha_that_is_too_large_is_refused(
    model: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before it is computed; the message recommends --fuse-lora."""
    from tintype.service.models.adapters import conversion  # noqa: PLC0415

    monkeypatch.setattr(conversion, "MAX_NUMBERS", 16 * 128 - 1)
    sides = {"hada_w1_a": (64, 4), "hada_w1_b": (4, 64), "hada_w2_a": (64, 4), "hada_w2_b": (4, 64)}
    tensors = {f"unet.{LAYER}.{side}": torch.ones(shape) for side, shape in sides.items()}
    assert run(tensors, model, tmp_path) == 2
    assert "use `tintype export MODEL OUT --fuse-lora ink.safetensors`" in capsys.readouterr().err


def test_a_conversion_needs_no_torch() -> None:
    """The module that converts imports neither torch nor diffusers."""
    code = "import sys, tintype.export.adapters.lora; print({'torch', 'diffusers'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"


def test_a_model_without_adapter_inputs_is_refused(
    exported: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message recommends a new export with --with-lora."""
    assert run(pair(), exported("sd15"), tmp_path) == 2
    assert "--with-lora" in capsys.readouterr().err


def test_a_file_that_is_not_an_adapter_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file, a damaged file, and a folder without a model are named."""
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    for file, folder, problem in (
        (tmp_path / "no", model, f"{tmp_path / 'no'} is not a file"),
        (tmp_path / "damaged.safetensors", model, f"{tmp_path / 'damaged.safetensors'}: is not a safetensors file"),
        (tmp_path / "damaged.safetensors", tmp_path, f"{tmp_path} is not an exported model"),
    ):
        assert export.main(["--lora", str(file), str(folder)]) == 2
        assert capsys.readouterr().err.startswith(f"tintype export: {problem}")


def test_alpha_is_multiplied_in(model: Path, tmp_path: Path) -> None:
    """An alpha in diffusers' note in the header multiplies B; an existing adapter is not replaced."""
    from safetensors.torch import load_file  # noqa: PLC0415

    notes = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 8})}
    assert run(pair(), model, tmp_path, "--name", "folded", **notes) == 0
    made = load_file(model / "loras" / "folded.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == {
        f"unet.{LAYER}.A": (64, 2),
        f"unet.{LAYER}.B": (2, 64),
    }
    assert float(made[f"unet.{LAYER}.A"].mean()) == 1
    assert float(made[f"unet.{LAYER}.B"].mean()) == 4
    assert run(pair(), model, tmp_path, "--name", "folded") == 2


@pytest.mark.parametrize(
    ("pattern", "alpha"), [("proj_in", 8), ("0.proj_in", 8), (f"^{LAYER}", 8), (LAYER, 8), ("in", 2), ("proj_out", 2)]
)
def test_alpha_patterns_apply_to_some_layers(pattern: str, alpha: int, model: Path, tmp_path: Path) -> None:
    """A pattern matches the end of a name, as in PEFT; other layers use the adapter's alpha."""
    from safetensors.torch import load_file  # noqa: PLC0415

    notes = json.dumps({"unet.r": 2, "unet.lora_alpha": 2, "unet.alpha_pattern": {pattern: 8}})
    assert run(pair(), model, tmp_path, "--name", "some", "--force", lora_adapter_metadata=notes) == 0
    assert float(load_file(model / "loras" / "some.safetensors")[f"unet.{LAYER}.B"].mean()) == alpha / 2


@pytest.mark.parametrize(
    ("family", "key", "out", "layers"),
    [
        (
            "flux_dev",
            "lora_unet_double_blocks_0_img_attn_qkv",
            96,
            [f"transformer.transformer_blocks.0.attn.to_{side}" for side in "kqv"],
        ),
        (
            "flux_dev",
            "lora_unet_single_blocks_0_linear1",
            224,
            [
                f"transformer.single_transformer_blocks.0.{side}"
                for side in ("attn.to_k", "attn.to_q", "attn.to_v", "proj_mlp")
            ],
        ),
        (
            "sdxl",
            "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q",
            64,
            ["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"],
        ),
    ],
)
def test_layers_are_found_by_the_names_of_the_original_code(
    family: str, key: str, out: int, layers: list[str], exported: Callable[..., Path], tmp_path: Path
) -> None:
    """Kohya's names are found, split into diffusers' layers, and alpha is applied once."""
    from safetensors.torch import load_file  # noqa: PLC0415

    down, up = torch.randn(2, 32 if family == "flux_dev" else 64), torch.randn(out, 2)
    tensors = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.0)}
    model = exported(family, "fp32", "--with-lora")
    assert run(tensors, model, tmp_path, "--name", "original", "--force") == 0
    made = load_file(model / "loras" / "original.safetensors")
    assert sorted(made) == [f"{layer}.{side}" for layer in layers for side in "AB"]
    change = sum((made[f"{layers[0]}.A"] @ made[f"{layers[0]}.B"]).flatten())
    rows = made[f"{layers[0]}.B"].shape[1]
    begin = rows if family == "flux_dev" else 0  # k comes second
    assert float(change) == pytest.approx(float((up[begin : begin + rows] @ down).sum() / 2), rel=1e-3, abs=1e-3)
