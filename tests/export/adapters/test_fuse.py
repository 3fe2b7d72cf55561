"""`--fuse-lora` adds what no request can choose to the weights: norms of DoRA, biases, norms of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

from tintype import export  # noqa: E402 - it needs torch
from tintype.export.adapters.fuse import Chosen, Fusion  # noqa: E402
from tintype.export.errors import Refused  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Net(torch.nn.Module):  # type: ignore[name-defined]
    """A convolution, a linear layer, a norm, and layers that are one in FLUX's own code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.norm = torch.nn.Conv2d(4, 4, 3), torch.nn.Linear(4, 6), torch.nn.GroupNorm(2, 4)
        self.norm_out = torch.nn.ModuleDict({"linear": torch.nn.Linear(4, 8)})
        self.bare = torch.nn.Linear(4, 6, bias=False)


def fuse(tmp_path: Path, tensors: dict[str, Any], *, weight: float = 1.0, part: str = "transformer") -> tuple[Any, Any]:
    """Return a net and the same one with an adapter in it."""
    from safetensors.torch import save_file  # noqa: PLC0415

    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "ink.safetensors")
    torch.manual_seed(0)
    plain, changed = Net(), Net()
    changed.load_state_dict(plain.state_dict())
    fusion = Fusion([Chosen(tmp_path / "ink.safetensors", weight)], {part: changed}, tmp_path)
    assert len(list(fusion.fuse(part, changed))) == 1
    assert list(fusion.fuse("text_encoder", changed)) == []
    return plain, changed


def pair(name: str, down: tuple[int, ...], up: tuple[int, ...]) -> dict[str, Any]:
    return {f"{name}.lora_A.weight": torch.randn(down) / 4, f"{name}.lora_B.weight": torch.randn(up) / 4}


@pytest.mark.parametrize(("role", "shape", "axis"), [
    ("lora_magnitude_vector", (1, 4, 1, 1), 0),
    ("dora_scale", (4, 1, 1, 1), 0),
    ("dora_scale", (1, 4, 1, 1), 1),
])  # fmt: skip
def test_norms_of_a_dora(role: str, shape: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    """Each output's, or each input's where LyCORIS says so, is the file's; the direction is that of the sum."""
    down, up, norms = torch.randn(2, 4, 3, 3) / 4, torch.randn(4, 2, 1, 1) / 4, torch.rand(shape) + 0.5
    tensors = {"conv.lora_A.weight": down, "conv.lora_B.weight": up, f"conv.{role}": norms}
    plain, changed = fuse(tmp_path, tensors, weight=0.5)
    total = plain.conv.weight + 0.5 * torch.einsum("orhw,rijk->oijk", up, down)
    others = [place for place in range(4) if place != axis]
    view = [4 if place == axis else 1 for place in range(4)]
    expected = total / total.square().sum(others, keepdim=True).sqrt() * norms.view(view)
    torch.testing.assert_close(changed.conv.weight, expected)
    torch.testing.assert_close(changed.conv.bias, plain.conv.bias)


def test_differences_of_norms_and_biases(tmp_path: Path) -> None:
    """Times the adapter's weight; a bias of B has the scale of the product as well."""
    tensors = {
        "norm.diff": torch.randn(4),
        "norm.diff_b": torch.randn(4),
        "conv.w_norm": torch.randn(4, 4, 3, 3),
        **pair("fc", (2, 4), (6, 2)),
        "fc.lora_B.bias": torch.randn(6),
        "fc.alpha": torch.tensor(6.0),
    }
    plain, changed = fuse(tmp_path, tensors, weight=-2)
    torch.testing.assert_close(changed.norm.weight, plain.norm.weight - 2 * tensors["norm.diff"])
    torch.testing.assert_close(changed.norm.bias, plain.norm.bias - 2 * tensors["norm.diff_b"])
    torch.testing.assert_close(changed.conv.weight, plain.conv.weight - 2 * tensors["conv.w_norm"])
    product = tensors["fc.lora_B.weight"] @ tensors["fc.lora_A.weight"]
    torch.testing.assert_close(changed.fc.weight, plain.fc.weight - 6 * product)
    torch.testing.assert_close(changed.fc.bias, plain.fc.bias - 6 * tensors["fc.lora_B.bias"])
    torch.testing.assert_close(changed.bare.weight, plain.bare.weight)


def test_halves_are_where_the_model_has_them(tmp_path: Path) -> None:
    """Shift and scale of FLUX's last norm are the other way round in its own code."""
    tensors = pair("diffusion_model.final_layer.adaLN_modulation.1", (2, 4), (8, 2))
    plain, changed = fuse(tmp_path, tensors)
    down, up = tensors.values()
    expected = plain.norm_out["linear"].weight + torch.cat([(up @ down)[4:], (up @ down)[:4]])
    torch.testing.assert_close(changed.norm_out["linear"].weight, expected)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        (pair("nowhere", (2, 4), (6, 2)), "changes transformer.nowhere, which takes none in this model"),
        (pair("fc", (2, 5), (6, 2)), "changes fc from 5 to 6, which is from 4 to 6 in this model"),
        (pair("conv", (2, 4, 1, 1), (4, 2, 1, 1)), "changes conv from 4 to 4, which is from 4 to 4 by 3 x 3"),
        ({"bare.diff_b": torch.zeros(6)}, "changes the bias of transformer.bare by 6 numbers, which has none here"),
        ({"fc.diff_b": torch.zeros(5)}, "changes the bias of transformer.fc by 5 numbers, which has 6 numbers here"),
        (pair("fc", (2, 4), (6, 2)) | {"fc.dora_scale": torch.ones(5)}, "tells 5 norms of transformer.fc, which has 6"),
        ({"norm.diff": torch.zeros(5)}, "changes norm from 1 to 5, which is from 1 to 4 in this model"),
    ],
)
def test_what_does_not_fit_is_told(tensors: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """Before any weight is read, with the layer."""
    with pytest.raises(Refused, match=problem):
        fuse(tmp_path, tensors)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ("no.safetensors", "no.safetensors is not a file"),
        ("no.safetensors:0.5", "no.safetensors is not a file"),
        ("{there}:x", "ink.safetensors:x is not a file"),
        ("{there}:9", "the weight must be from -4 to 4"),
        ("{there}:nan", "the weight must be from -4 to 4"),
        ("{there}", "holds no adapter: empty"),
    ],
)
def test_a_wrong_choice_is_told(
    choice: str, problem: str, pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line; nothing is left."""
    from safetensors.torch import save_file  # noqa: PLC0415

    save_file({}, tmp_path / "ink.safetensors")
    there = choice.format(there=tmp_path / "ink.safetensors")
    capsys.readouterr()
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--fuse-lora", there]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert [line for line in error.splitlines() if line.startswith("tintype export: ")] == error.splitlines()[-1:]
    assert [path.name for path in tmp_path.iterdir()] == ["ink.safetensors"]
