"""ControlNets in a model's folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tintype.service.models.control.files import find, flux_block, memory_bytes, modes, sd3_block
from tintype.service.models.files import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path


def add(folder: Path, name: str, class_name: str = "ControlNetModel", size: int = 0) -> None:
    own = folder / "controlnets" / name
    own.mkdir(parents=True)
    (own / "config.json").write_text(json.dumps({"_class_name": class_name}))
    (own / "diffusion_pytorch_model.safetensors").write_bytes(bytes(size))


def test_unions_have_a_number_of_kinds(tmp_path: Path) -> None:
    """Only ControlNets with several kinds are named; a damaged configuration has none."""
    configs = {
        "union": '{"num_mode": 10}',
        "pro2": '{"num_mode": null}',
        "canny": "{}",
        "bad": "{",
        "odd": '{"num_mode": "x"}',
    }
    for name, config in configs.items():
        add(tmp_path, name)
        (tmp_path / "controlnets" / name / "config.json").write_text(config)
    assert modes(tmp_path, configs) == {"union": 10}


def test_the_two_largest_count_as_memory(tmp_path: Path) -> None:
    """At most two are in memory at once."""
    for size, name in enumerate(("a", "b", "c"), 1):
        add(tmp_path, name, size=1000 * size)
    assert memory_bytes(tmp_path) == 5000


def test_another_class_is_refused_by_name(tmp_path: Path) -> None:
    """The error names the file, the field, the value and what would be right."""
    add(tmp_path, "adapter", "T2IAdapter")
    with pytest.raises(ModelFileError, match=r"_class_name must be ControlNetModel or .*; got T2IAdapter"):
        find(tmp_path, "adapter")


def test_hints_of_sd3_are_not_shifted_if_the_text_is_zeros(tmp_path: Path) -> None:
    """InstantX's ControlNets, and by default all of SD3's, read zeros for the pooled text."""
    add(tmp_path, "sd3", "SD3ControlNetModel")
    add(tmp_path, "canny")
    assert find(tmp_path, "sd3").without_text
    assert not find(tmp_path, "canny").without_text


@pytest.mark.parametrize(
    ("function", "own", "others", "expected"),
    [
        (sd3_block, 24, 6, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5]),
        (flux_block, 19, 5, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4]),
        (flux_block, 38, 10, [n // 4 for n in range(38)]),
    ],
)
def test_each_block_of_a_controlnet_changes_several(
    function: object, own: int, others: int, expected: list[int]
) -> None:
    """The blocks are those that diffusers takes."""
    assert callable(function)
    assert [function(block, own, others) for block in range(own)] == expected
