"""Published adapters are read as in their papers and in PEFT; other files are refused in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.adapter_files import write_tensors
from tintype.service.models.adapters.adapter_file import AdapterFile
from tintype.service.models.files import ModelFileError
from tintype.service.models.safetensors import TensorFile

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)
OUT, IN, R = 6, 4, 2
KERNEL = (3, 2)


def write(path: Path, tensors: dict[str, Any], **metadata: str) -> Path:
    return write_tensors(path, {name: np.asarray(tensor) for name, tensor in tensors.items()}, **metadata)


def read(path: Path, denoiser: str = "unet") -> AdapterFile:
    return AdapterFile(TensorFile(path), denoiser, path.with_suffix(".json"))


def noise(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return RANDOM.standard_normal(shape, np.float32)


def layer(**tensors: Any) -> Any:
    """Return the tensors, named as those of one layer."""
    return {f"unet.x.{role}": tensor for role, tensor in tensors.items()}


def lora() -> tuple[dict[str, Any], Any]:
    up, down = noise(OUT, R, 1, 1), noise(R, IN, *KERNEL)
    fields = {"unet.x.lora_up.weight": up, "unet.x.lora_down.weight": down}
    return fields, np.einsum("orhw,rijk->oijk", up, down)


def tucker() -> tuple[dict[str, Any], Any]:
    up, mid, down = noise(OUT, R, 1, 1), noise(R, 3, *KERNEL), noise(3, IN, 1, 1)
    fields = {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down}
    return layer(**fields), np.einsum("or,rsjk,si->oijk", up[..., 0, 0], mid, down[..., 0, 0])


def loha() -> tuple[dict[str, Any], Any]:
    sides = [(noise(OUT, R), noise(R, IN * 6)) for _ in range(2)]
    fields = {
        f"hada_w{n}_{side}": value for n, pair in enumerate(sides, 1) for side, value in zip("ab", pair, strict=True)
    }
    return layer(**fields), (sides[0][0] @ sides[0][1]) * (sides[1][0] @ sides[1][1])


def loha_tucker() -> tuple[dict[str, Any], Any]:
    sides = [(noise(R, R, *KERNEL), noise(R, OUT), noise(R, IN)) for _ in range(2)]
    first, second = (np.einsum("rsjk,ro,si->oijk", *side) for side in sides)
    fields = {
        f"hada_{x.format(n)}": v
        for n, side in enumerate(sides, 1)
        for x, v in zip(("t{}", "w{}_a", "w{}_b"), side, strict=True)
    }
    return layer(**fields), first * second


def lokr(*, low: bool) -> tuple[dict[str, Any], Any]:
    w1, a, b = noise(2, 2), noise(3, R), noise(R, 2 * 6)
    second = {"lokr_w2_a": a, "lokr_w2_b": b} if low else {"lokr_w2": (a @ b).reshape(3, 2, *KERNEL)}
    return layer(lokr_w1=w1, **second), np.kron(w1[..., None, None], (a @ b).reshape(3, 2, *KERNEL))


def lokr_tucker() -> tuple[dict[str, Any], Any]:
    w1_a, w1_b, core, a, b = noise(2, R), noise(R, 2), noise(R, R, *KERNEL), noise(R, 3), noise(R, 2)
    fields = {"lokr_w1_a": w1_a, "lokr_w1_b": w1_b, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b}
    return layer(**fields), np.kron((w1_a @ w1_b)[..., None, None], np.einsum("rsjk,ro,si->oijk", core, a, b))


def difference() -> tuple[dict[str, Any], Any]:
    diff = noise(OUT, IN, *KERNEL)
    return layer(diff=diff), diff


CASES = {
    "LoRA": lora(),
    "LoRA with a core": tucker(),
    "LoHa": loha(),
    "LoHa with cores": loha_tucker(),
    "LoKr": lokr(low=True),
    "LoKr of whole matrices": lokr(low=False),
    "LoKr with a core": lokr_tucker(),
    "full difference": difference(),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_equals_its_formula(case: str, tmp_path: Path) -> None:
    """The matrix to fuse, and the product for graph inputs, both equal the formula."""
    tensors, expected = CASES[case]
    (change,) = read(write(tmp_path / "a.safetensors", tensors)).changes()
    flat = expected.reshape(OUT, -1)
    assert change.kind.name in case
    assert change.size == flat.shape
    np.testing.assert_allclose(change.matrix(), flat, atol=1e-5)
    up, down = change.product()
    assert up.shape[1] == len(down) <= max(change.rank, min(flat.shape))
    np.testing.assert_allclose(up @ down, flat, atol=1e-5)


def write_and_read(tmp_path: Path, tensors: dict[str, Any], **metadata: str) -> AdapterFile:
    return read(write(tmp_path / "adapter.safetensors", tensors, **metadata))


@pytest.mark.parametrize(
    ("extra", "metadata", "peft_config", "scale"),
    [
        ({}, {}, None, 1),
        ({"alpha": 6.0}, {}, None, 3),
        ({"alpha": 6}, {"unet.lora_alpha": 1}, None, 3),
        ({"alpha": 6.0, "scalar": 0.5}, {}, None, 1.5),
        ({}, {"unet.r": 2, "unet.lora_alpha": 8}, None, 4),
        ({}, {"unet.lora_alpha": 8, "unet.use_rslora": True}, None, 8 / 2**0.5),
        ({}, {"unet.lora_alpha": 8, "unet.alpha_pattern": {"x": 1}}, None, 0.5),
        ({}, {"transformer.lora_alpha": 8}, None, 1),
        ({}, {}, {"peft_type": "LORA", "r": 2, "lora_alpha": 5}, 2.5),
        ({}, {}, {"peft_type": "LOKR", "r": 2, "alpha": 5}, 2.5),
    ],
)
def test_the_scale_is_alpha_divided_by_rank(
    extra: Any, metadata: Any, peft_config: Any, scale: float, tmp_path: Path
) -> None:
    """Alpha comes from the file's tensors, diffusers' metadata in its header, or PEFT's file next to it."""
    if peft_config:
        (tmp_path / "adapter.json").write_text(json.dumps(peft_config))
    header = {"lora_adapter_metadata": json.dumps(metadata)} if metadata else {}
    file = write_and_read(tmp_path, lora()[0] | layer(**extra), **header)
    assert file.scale(next(file.changes()), "unet", "x") == pytest.approx(scale)


@pytest.mark.parametrize("alpha", [None, "many", [1], {"x": 1}, float("inf"), float("nan")])
def test_an_invalid_alpha_in_metadata_is_refused(alpha: Any, tmp_path: Path) -> None:
    """Any JSON value other than a finite number is an error in one line; null means no alpha."""
    header = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": alpha})}
    file = write_and_read(tmp_path, lora()[0], **header)
    if alpha is None:
        assert file.scale(next(file.changes()), "unet", "x") == 1
        return
    with pytest.raises(ModelFileError, match="the alpha in its metadata for "):
        file.scale(next(file.changes()), "unet", "x")


@pytest.mark.parametrize("patterns", [{"(": 1}, [1], "x", {"x": "y"}])
def test_invalid_patterns_are_refused(patterns: Any, tmp_path: Path) -> None:
    """A pattern that is not a regular expression, and values that are not a table of patterns."""
    header = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 1, "unet.alpha_pattern": patterns})}
    file = write_and_read(tmp_path, lora()[0], **header)
    with pytest.raises(ModelFileError, match="the alpha in its metadata for "):
        file.scale(next(file.changes()), "unet", "x")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is not a safetensors file"),
        (b"\x80\x04\x95pickle" * 9, "is a pickle"),
        (b"PK\x03\x04" * 9, "is a pickle"),
        ((2).to_bytes(8, "little") + b"{}", "holds no adapter: it is empty"),
        ((2**62).to_bytes(8, "little") + b"{}", "is not a safetensors file"),
    ],
)
def test_a_file_of_another_format_is_refused(data: bytes, problem: str, tmp_path: Path) -> None:
    """One line gives the reason."""
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ModelFileError, match=problem):
        read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("length", [9, 60, -8, -1])
def test_a_truncated_file_is_refused(length: int, tmp_path: Path) -> None:
    """The end is missing in the header, or in the numbers."""
    path = write(tmp_path / "a.safetensors", lora()[0])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError, match=r"cut off|not a safetensors file"):
        read(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"lora_down.weight": noise(R, IN), "lora_up.weight": noise(1)[0]},
        {"lora_down.weight": noise(0, IN), "lora_up.weight": noise(OUT, 0)},
        {"lora_mid.weight": noise(R, R, 3, 3)},
        {"hada_w1_a": noise(OUT, R), "hada_w1_b": noise(R, IN), "hada_w2_a": noise(OUT, R), "hada_w2_b": noise(R, 9)},
        {"lokr_w1": noise(2, 2), "lokr_w2": noise(3, 2), "lokr_w2_a": noise(3, R), "lokr_w2_b": noise(R, 2)},
        {"lokr_w1": noise(2, 2)},
    ],
)
def test_tensors_that_do_not_fit_are_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    """The message has the layer and its shapes in the file."""
    with pytest.raises(
        ModelFileError, match=r"no adapter|unet\.x: the tensors of its .* (lack|do not fit together)|no matrices"
    ):
        list(write_and_read(tmp_path, layer(**fields)).changes())


@pytest.mark.torch
def test_types_of_few_bits_are_read(tmp_path: Path) -> None:
    """Small files use them; alphas may be whole numbers."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file  # noqa: PLC0415

    up, down = torch.ones(OUT, R), torch.full((R, IN), 0.5)
    for kind in (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64):
        tensors = {"lora_up.weight": up.to(kind), "lora_down.weight": down.to(kind), "alpha": torch.tensor(4)}
        save_file(layer(**tensors), tmp_path / "few.safetensors")
        file = read(tmp_path / "few.safetensors")
        assert next(file.changes()).matrix().tolist() == [[1.0] * IN] * OUT
        assert file.scale(next(file.changes()), "unet", "x") == 2
