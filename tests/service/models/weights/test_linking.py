"""Stored tensors are matched with parameters by name and shape, and each fault is named."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models.small_template import write_stored
from tintype.service.models.files import ModelFileError
from tintype.service.models.weights.aliases import aliases, with_aliases
from tintype.service.models.weights.linking import Link, link
from tintype.service.models.weights.pieces import ComponentWeights, Piece, as_published
from tintype.service.models.weights.tensor_files import TensorFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tintype.service.models.weights.pieces import Naming

    Shapes = Mapping[str, tuple[int, ...]]


def link_stored(
    path: Path, stored: Shapes, wanted: Shapes, naming: Naming = as_published, *, dtype: str = "F32", scope: str = ""
) -> tuple[Link, ...]:
    """Link parameters of `wanted` to a file with zeros of the shapes `stored`."""
    kind = {"F32": np.float32, "I64": np.int64}[dtype]
    write_stored(path, {name: (dtype, np.zeros(shape, kind)) for name, shape in stored.items()})
    weights = ComponentWeights((path,), naming, scope, ignored=lambda name: name.endswith("extra"))
    return link(wanted, TensorFiles(weights.files), weights, unused=(f"{scope}decoder.",))


def only(piece: Piece, _: str) -> tuple[Piece]:
    """Name one piece for any parameter."""
    return (piece,)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place for a file."""
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ((4, 4, 1, 1), (4, 4)),
        ((4, 4), (4, 4, 1, 1)),
        ((4,), (4, 1)),
        ((), (1,)),
        ((2, 3, 3), (2, 3, 3)),
    ],
)
def test_axes_of_length_1_do_not_matter(path: Path, stored: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """A 1 x 1 convolution has the bytes of a linear layer."""
    assert link_stored(path, {"w": stored}, {"w": wanted}) == (Link("w", wanted, (Piece("w"),)),)


@pytest.mark.parametrize("stored", [(4, 3), (4, 4, 2), (16,), (4, 4, 1, 2), (1, 4, 4), (4,), ()])
def test_other_shapes_are_refused(path: Path, stored: tuple[int, ...]) -> None:
    """The message names the tensor, its shape and the right one."""
    with pytest.raises(ModelFileError, match=r"unsuitable: w has the shape \[.*\] instead of \[4, 4\]"):
        link_stored(path, {"w": stored}, {"w": (4, 4)})


def test_pieces_must_fit_together(path: Path) -> None:
    """Rows and transposes of stored tensors are checked as well."""
    pieces = {
        "rows": (Piece("w", 2, 4),),
        "swapped": (Piece("w", 3, 6), Piece("w", 0, 3)),
        "turned": (Piece("w", transposed=True),),
        "joined": (Piece("w"), Piece("v")),
    }
    stored = {"w": (6, 4), "v": (2, 4)}
    wanted = {"rows": (2, 4), "swapped": (6, 4), "turned": (4, 6), "joined": (8, 4)}
    assert [each.shape for each in link_stored(path, stored, wanted, pieces.__getitem__)] == list(wanted.values())
    for name, shape in {"rows": (3, 4), "swapped": (5, 4), "turned": (6, 4), "joined": (8, 3)}.items():
        with pytest.raises(ModelFileError, match="unsuitable"):
            link_stored(path, stored, {**wanted, name: shape}, pieces.__getitem__)
    for rows in (Piece("w", 5, 7), Piece("w", 3, 3), Piece("w", -1, 2), Piece("v3", transposed=True)):
        with pytest.raises(ModelFileError, match="unsuitable"):
            link_stored(path, {**stored, "v3": (2, 4, 1)}, {"rows": (2, 4)}, partial(only, rows))


def test_every_fault_is_named(path: Path) -> None:
    """One message has the missing, the unsuitable and the unknown tensors, a few names of each and their number."""
    stored: Shapes = {"shape": (3,), **{f"unknown{n}": (1,) for n in range(9)}}
    with pytest.raises(ModelFileError) as caught:
        link_stored(path, stored, {"shape": (2,), "lost": (1,)})
    assert str(caught.value) == (
        "missing: lost; unsuitable: shape has the shape [3] instead of [2]; "
        "unknown: unknown0, unknown1, unknown2, unknown3 and 5 more"
    )


def test_integers_are_not_weights(path: Path) -> None:
    """A parameter must be stored as floating-point numbers."""
    with pytest.raises(ModelFileError, match="w is I64 instead of F32, F16, BF16, F8_E4M3 or F8_E5M2"):
        link_stored(path, {"w": (2,)}, {"w": (2,)}, dtype="I64")


def test_what_no_graph_reads_may_be_stored(path: Path) -> None:
    """Buffers, the other half of a VAE, other components, and what the naming ignores are not unknown."""
    others: Shapes = dict.fromkeys(
        ("x.position_ids", "x.text_model.embeddings.position_ids", "x.logit_scale", "x.decoder.w", "y.w", "x.extra"),
        (1,),
    )
    naming = lambda name: (Piece(f"x.{name}"),)  # noqa: E731
    assert link_stored(path, {"x.w": (2,), **others}, {"w": (2,)}, naming, scope="x.")
    with pytest.raises(ModelFileError, match=r"unknown: x\.position_ids_too"):
        link_stored(path, {"x.w": (2,), "x.position_ids_too": (1,)}, {"w": (2,)}, naming, scope="x.")


def test_scales_are_not_unknown(path: Path) -> None:
    """Tensors that describe 8-bit weights belong to them; without the weight they are unknown."""
    stored = dict.fromkeys(("l.weight", "l.scale_weight", "l.scale_input", "l.comfy_quant", "scaled_fp8"), (1,))
    assert link_stored(path, stored, {"l.weight": (1,)})
    with pytest.raises(ModelFileError, match=r"unknown: other\.scale_weight"):
        link_stored(path, {**stored, "other.scale_weight": (1,)}, {"l.weight": (1,)})


@pytest.mark.parametrize("stored", [("shared.weight",), ("encoder.embed_tokens.weight",), None])
@pytest.mark.parametrize("prefix", ["", "text_encoders.t5xxl.transformer."])
def test_t5_has_one_embedding_with_two_names(path: Path, stored: tuple[str, ...] | None, prefix: str) -> None:
    """A file has either name, or both."""
    names = [prefix + name for name in stored or ("encoder.embed_tokens.weight", "shared.weight")]
    found = link_stored(
        path,
        dict.fromkeys(names, (8, 2)),
        {"shared.weight": (8, 2)},
        lambda name: (Piece(prefix + name),),
        scope=prefix,
    )
    assert found[0].pieces == (Piece(names[-1]),)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("decoder.mid_block.attentions.0.to_q.weight", "decoder.mid_block.attentions.0.query.weight"),
        ("encoder.mid_block.attentions.0.to_out.0.bias", "encoder.mid_block.attentions.0.proj_attn.bias"),
        ("layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"),
        ("text_model.final_layer_norm.weight", "final_layer_norm.weight"),
    ],
)
def test_older_names(name: str, other: str) -> None:
    """Files have the names of the version that saved them; the parameter's own name comes first."""
    assert with_aliases(as_published, {other})(name) == (Piece(other),)
    assert with_aliases(as_published, {other, name})(name) == (Piece(name),)
    assert with_aliases(as_published, set())(name) == (Piece(name),)


@pytest.mark.parametrize(
    "name",
    [
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
        "vision_model.encoder.layers.0.mlp.fc1.weight",
        "shared.weight.more",
        "unshared.weight",
    ],
)
def test_other_names_have_no_alias(name: str) -> None:
    """The rules hold only for the layers that were renamed."""
    assert list(aliases(name)) == []
