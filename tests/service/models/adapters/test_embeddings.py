"""Embedding files are read in their published layouts; the error for other files gives the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.adapter_files import write_tensors
from tintype.service.errors import InvalidField
from tintype.service.models.adapters import embeddings
from tintype.service.models.adapters.embeddings import FIRST_ID, MAX_BYTES, Embeddings

if TYPE_CHECKING:
    from pathlib import Path

ONE: dict[str, int | None] = {"text_encoder": 4}
TWO: dict[str, int | None] = {"text_encoder": 4, "text_encoder_2": 6}


def rows(count: int, width: int, first: float = 1.0) -> Any:
    return np.full((count, width), first, np.float32) + np.arange(count, dtype=np.float32)[:, None]


def write(folder: Path, name: str, **tensors: Any) -> None:
    write_tensors(folder / "embeddings" / f"{name}.safetensors", tensors)


def test_files_are_listed_by_name(tmp_path: Path) -> None:
    """Names of safetensors files are sorted; pickled files are listed separately."""
    write(tmp_path, "<b>", emb_params=rows(1, 4))
    write(tmp_path, "a", emb_params=rows(1, 4))
    for name in ("old.pt", "older.bin", "notes.txt"):
        (tmp_path / "embeddings" / name).write_bytes(b"")
    assert embeddings.names(tmp_path) == ("<b>", "a")
    assert embeddings.pickled_files(tmp_path) == ("old.pt", "older.bin")
    assert embeddings.names(tmp_path / "none") == ()
    assert "convert it to old.safetensors" in embeddings.pickle_advice("old", ("old.pt",))
    assert embeddings.pickle_advice("a", ("old.pt",)) == ""


@pytest.mark.parametrize(
    ("widths", "tensors", "counts"),
    [
        (ONE, {"emb_params": rows(3, 4)}, (3, 0)),
        (ONE, {"<cat-toy>": rows(1, 4)[0]}, (1, 0)),
        (ONE, {"clip_l": rows(2, 4)}, (2, 0)),
        (TWO, {"clip_l": rows(2, 4), "clip_g": rows(3, 6)}, (2, 3)),
        (TWO, {"clip_g": rows(1, 6)}, (0, 1)),
        (TWO, {"text_encoders_0": rows(1, 4), "text_encoders_1": rows(1, 6)}, (1, 1)),
        (TWO, {"emb_params": rows(2, 6)}, (0, 2)),
        (TWO, {"emb_params": rows(2, 4).astype(np.float16)}, (2, 0)),
    ],
)
def test_each_published_layout_is_read(
    tmp_path: Path, widths: dict[str, int | None], tensors: dict[str, Any], counts: tuple[int, int]
) -> None:
    """Each encoder gets its vectors, as tokens NAME, NAME_1, and so on."""
    write(tmp_path, "cat", **tensors)
    made = Embeddings(tmp_path, widths)
    for encoder, count in zip(("text_encoder", "text_encoder_2"), counts, strict=True):
        tokens = made.tokens(encoder, ("cat",))
        assert [token.content for token in tokens] == ["cat", "cat_1", "cat_2"][:count]
        assert [token.id for token in tokens] == list(range(FIRST_ID, FIRST_ID + count))


def test_several_files_follow_each_other(tmp_path: Path) -> None:
    """Ids and rows are in the order in which a request names the files; rows are padded with zeros."""
    write(tmp_path, "a", emb_params=rows(2, 4, 10))
    write(tmp_path, "b", emb_params=rows(1, 4, 20))
    made = Embeddings(tmp_path, ONE)
    for chosen, first in ((("a", "b"), [10, 11, 20, 0]), (("b", "a"), [20, 10, 11, 0])):
        tokens = made.tokens("text_encoder", chosen)
        assert [token.id - FIRST_ID for token in tokens] == [0, 1, 2]
        fed = made.vectors("text_encoder", chosen)
        assert (fed.shape, fed[:4, 0].tolist()) == ((75, 4), first)
        assert not fed.flags.writeable


@pytest.mark.parametrize(
    ("widths", "tensors", "problem"),
    [
        (ONE, {"emb_params": rows(76, 4)}, r"must hold 1 to 75 vectors of finite numbers, not .* of shape \[76, 4\]"),
        (ONE, {"emb_params": rows(0, 4)}, r"must hold 1 to 75 vectors .* of shape \[0, 4\]"),
        (ONE, {"emb_params": np.zeros((1, 1, 4), np.float32)}, "must hold 1 to 75 vectors"),
        (ONE, {"emb_params": np.full((1, 4), np.nan, np.float32)}, "of finite numbers"),
        (ONE, {"emb_params": rows(1, 5)}, "must have vectors of 4 numbers for text_encoder of this model, not 5"),
        (ONE, {"a": rows(1, 4), "b": rows(1, 4)}, "must hold one tensor, or clip_l and clip_g; it holds a, b"),
        (ONE, {"clip_l": rows(1, 4), "clip_g": rows(1, 6)}, "text_encoder_2, which this model does not have"),
        (
            TWO,
            {"clip_l": rows(1, 4), "clip_g": rows(1, 4)},
            "must have vectors of 6 numbers for text_encoder_2 of this model, not 4",
        ),
        (TWO, {"clip_l": rows(1, 4), "text_encoders_0": rows(1, 4)}, "two tensors for one encoder"),
        ({"text_encoder": None}, {"emb_params": rows(1, 4)}, "takes no embeddings: export the model again"),
        ({}, {"emb_params": rows(1, 4)}, "text_encoder, which this model does not have"),
    ],
)
def test_unsuitable_files_are_rejected(
    tmp_path: Path, widths: dict[str, int | None], tensors: dict[str, Any], problem: str
) -> None:
    """The error names the request's field and the embedding, and gives the reason in one line."""
    write(tmp_path, "cat", **tensors)
    with pytest.raises(InvalidField, match=problem) as caught:
        Embeddings(tmp_path, widths).tokens("text_encoder", ("cat",))
    assert caught.value.field == "embeddings"
    assert "embedding 'cat'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """The size is checked before the file is read; a file of another type is named."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    with (folder / "big.safetensors").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (folder / "odd.safetensors").write_bytes(b"odd")
    made = Embeddings(tmp_path, ONE)
    with pytest.raises(InvalidField, match=f"must have at most {MAX_BYTES} bytes, not {MAX_BYTES + 1}"):
        made.tokens("text_encoder", ("big",))
    with pytest.raises(InvalidField, match="safetensors"):
        made.tokens("text_encoder", ("odd",))
