"""`--fuse-lora` also adds changes that a request cannot choose: norms of DoRA, biases, norms of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

from tintype import export  # noqa: E402 - it needs torch
from tintype.export.adapters.fuse import AdapterFusion, FusedAdapter  # noqa: E402
from tintype.export.errors import ExportRefusal  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Net(torch.nn.Module):  # type: ignore[name-defined]
    """A convolution, linear layers, and a norm, one named as in FLUX."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.norm = torch.nn.Conv2d(4, 4, 3), torch.nn.Linear(4, 6), torch.nn.GroupNorm(2, 4)
        self.norm_out = torch.nn.ModuleDict({"linear": torch.nn.Linear(4, 8)})
        self.bare = torch.nn.Linear(4, 6, bias=False)


def fuse(tmp_path: Path, tensors: dict[str, Any], *, weight: float = 1.0, part: str = "transformer") -> tuple[Any, Any]:
    """Return a net, and the same one with a fused adapter."""
    from safetensors.torch import save_file  # noqa: PLC0415

    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "ink.safetensors")
    torch.manual_seed(0)
    plain, changed = Net(), Net()
    changed.load_state_dict(plain.state_dict())
    fusion = AdapterFusion([FusedAdapter(tmp_path / "ink.safetensors", weight)], {part: changed})
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
def test_a_dora_sets_the_norms(role: str, shape: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    """Each output, or input in LyCORIS's second layout, has the file's norm and the direction of the sum."""
    down, up, norms = torch.randn(2, 4, 3, 3) / 4, torch.randn(4, 2, 1, 1) / 4, torch.rand(shape) + 0.5
    tensors = {"conv.lora_A.weight": down, "conv.lora_B.weight": up, f"conv.{role}": norms}
    plain, changed = fuse(tmp_path, tensors, weight=0.5)
    total = plain.conv.weight + 0.5 * torch.einsum("orhw,rijk->oijk", up, down)
    others = [other for other in range(4) if other != axis]
    view = [4 if other == axis else 1 for other in range(4)]
    expected = total / total.square().sum(others, keepdim=True).sqrt() * norms.view(view)
    torch.testing.assert_close(changed.conv.weight, expected)
    torch.testing.assert_close(changed.conv.bias, plain.conv.bias)


def test_norms_and_biases_can_be_changed(tmp_path: Path) -> None:
    """Differences are multiplied by the adapter's weight; a bias of B also by the scale of the product."""
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


def test_the_halves_of_flux_last_norm_are_swapped(tmp_path: Path) -> None:
    """Shift and scale of FLUX's last norm have the opposite order in its authors' code."""
    tensors = pair("diffusion_model.final_layer.adaLN_modulation.1", (2, 4), (8, 2))
    plain, changed = fuse(tmp_path, tensors)
    down, up = tensors.values()
    expected = plain.norm_out["linear"].weight + torch.cat([(up @ down)[4:], (up @ down)[:4]])
    torch.testing.assert_close(changed.norm_out["linear"].weight, expected)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        (pair("nowhere", (2, 4), (6, 2)), "changes transformer.nowhere, which this model does not have"),
        (pair("fc", (2, 5), (6, 2)), "changes fc from 5 to 6, which is from 4 to 6 in this model"),
        (pair("conv", (2, 4, 1, 1), (4, 2, 1, 1)), "changes conv from 4 to 4, which is from 4 to 4 by 3 x 3"),
        (
            {"bare.diff_b": torch.zeros(6)},
            "changes the bias of transformer.bare by 6 numbers; that bias does not exist",
        ),
        ({"fc.diff_b": torch.zeros(5)}, "changes the bias of transformer.fc by 5 numbers; that bias has 6 numbers"),
        (
            pair("fc", (2, 4), (6, 2)) | {"fc.dora_scale": torch.ones(5)},
            "has 5 norms for transformer.fc, which needs 6",
        ),
        ({"norm.diff": torch.zeros(5)}, "changes norm from 1 to 5, which is from 1 to 4 in this model"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(tensors: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """The message names the layer, before any weights are read."""
    with pytest.raises(ExportRefusal, match=problem):
        fuse(tmp_path, tensors)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ("no.safetensors", "no.safetensors is not a file"),
        ("no.safetensors:0.5", "no.safetensors is not a file"),
        ("{file}:x", "ink.safetensors:x is not a file"),
        ("{file}:9", "the weight must be from -4 to 4"),
        ("{file}:nan", "the weight must be from -4 to 4"),
        ("{file}", "holds no adapter: it is empty"),
    ],
)
def test_an_invalid_argument_is_refused(
    choice: str, problem: str, pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is one line, and no files are left."""
    from safetensors.torch import save_file  # noqa: PLC0415

    save_file({}, tmp_path / "ink.safetensors")
    argument = choice.format(file=tmp_path / "ink.safetensors")
    capsys.readouterr()
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--fuse-lora", argument]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert [line for line in error.splitlines() if line.startswith("tintype export: ")] == error.splitlines()[-1:]
    assert [path.name for path in tmp_path.iterdir()] == ["ink.safetensors"]
