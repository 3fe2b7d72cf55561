"""Embedding files (textual inversion, Gal et al. 2208.01618): learned vectors for names in prompts.

A file is `embeddings/NAME.safetensors` in the model's folder, in a published layout: `emb_params` (web UI), one tensor
under any name (diffusers), or `clip_l` and `clip_g` (SDXL), each [dim] or [vectors, dim].

A request names files. Each NAME in its prompts is then a token, as diffusers' `load_textual_inversion` adds it. The
tokens of several files have ids in the order in which the request names the files.

The vectors are an optional input of the encoder's graph, [rows, dim]: an id from `FIRST_ID` on is a row of it. These
ids are above those of any vocabulary, because CLIP finds the end of a text by the largest id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InvalidField
from ..files import ModelFileError
from ..runtime.array_cache import freeze
from ..safetensors import read_tensors
from ..text.added_tokens import AddedToken

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..model import Array

FOLDER, SUFFIX = "embeddings", ".safetensors"
PICKLE_SUFFIXES = (".pt", ".bin", ".pth", ".ckpt")
INPUT = "embeddings"
FIRST_ID = 2**30
MAX_BYTES = 4 * 2**20  # 75 vectors for both of SDXL's encoders take 0.6 MB
MAX_VECTORS = 75
CACHED_FILES = 32
# Encoders by the names of their tensors: those of the web UI, then those of older trainers.
ENCODERS = {
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
    "text_encoders_0": "text_encoder",
    "text_encoders_1": "text_encoder_2",
}


def names(folder: Path) -> tuple[str, ...]:
    """Return the names of the embeddings in a model's folder, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in (folder / FOLDER).glob(f"*{SUFFIX}")))


def pickled_files(folder: Path) -> tuple[str, ...]:
    """Return the pickled embedding files, sorted; they are not read, because reading a pickle can run code."""
    return tuple(sorted(path.name for path in (folder / FOLDER).glob("*") if path.suffix in PICKLE_SUFFIXES))


def pickle_advice(name: str, files: tuple[str, ...]) -> str:
    """Return advice on converting the pickled file of this name; "" if there is none."""
    found = next((file for file in files if file.rpartition(".")[0] == name), "")
    return f"{FOLDER}/{found} is a pickle, which can run code: convert it to {name}{SUFFIX}" if found else ""


class Embeddings:
    """The embeddings of one model.

    `widths` are the lengths of the vectors of its text encoders; None for an encoder whose graph takes no embeddings.
    """

    def __init__(self, folder: Path, widths: Mapping[str, int | None]) -> None:
        self._folder, self._widths = folder, widths
        self._load = lru_cache(CACHED_FILES)(self._read)
        self._cached_rows = lru_cache(CACHED_FILES)(self._rows)

    def tokens(self, encoder: str, chosen: tuple[str, ...]) -> list[AddedToken]:
        """Return the tokens that the chosen embeddings add to an encoder's tokenizer.

        Raises:
            InvalidField: an embedding cannot be used with this model.
        """
        tokens: list[AddedToken] = []
        for name in chosen:
            count = len(self._vectors(name).get(encoder, ()))
            contents = [name, *(f"{name}_{number}" for number in range(1, count))][:count]
            tokens += [AddedToken(content, FIRST_ID + len(tokens) + n) for n, content in enumerate(contents)]
        return tokens

    def vectors(self, encoder: str, chosen: tuple[str, ...]) -> Array:
        """Return the vectors [rows, dim] of these tokens, read-only; rows are padded to a multiple of 75."""
        return self._cached_rows(encoder, chosen)

    def _rows(self, encoder: str, chosen: tuple[str, ...]) -> Array:
        rows = np.concatenate([self._vectors(name)[encoder] for name in chosen if encoder in self._vectors(name)])
        # Padding keeps the number of lengths small: a provider may prepare itself for each one that it sees.
        padded: Array = freeze(np.pad(rows, ((0, -len(rows) % MAX_VECTORS), (0, 0))))
        return padded

    def _vectors(self, name: str) -> dict[str, Array]:
        try:
            return self._load(name)
        except ModelFileError as error:
            raise InvalidField("embeddings", f"embedding {name!r} {error}") from error

    def _read(self, name: str) -> dict[str, Array]:
        """Return the vectors of a file by encoder.

        Raises:
            ModelFileError: the file is damaged, or does not fit this model.
        """
        path = self._folder / FOLDER / f"{name}{SUFFIX}"
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"must have at most {MAX_BYTES} bytes, not {path.stat().st_size}")
        tensors = {key: np.atleast_2d(tensor) for key, tensor in read_tensors(path).items()}
        for key, tensor in tensors.items():
            _check_vectors(key, tensor)
        by_encoder = self._by_encoder(tensors)
        for encoder, tensor in by_encoder.items():
            self._check_width(encoder, tensor.shape[1])
        return by_encoder

    def _by_encoder(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        if len(tensors) == 1 and not tensors.keys() & ENCODERS.keys():
            (tensor,) = tensors.values()
            return {self._encoder_of_width(tensor.shape[1]): tensor}
        if not tensors or not tensors.keys() <= ENCODERS.keys():
            found = ", ".join(sorted(tensors)[:5])
            raise ModelFileError(f"must hold one tensor, or clip_l and clip_g; it holds {found}")
        by_encoder = {ENCODERS[key]: tensor for key, tensor in tensors.items()}
        if len(by_encoder) < len(tensors):
            raise ModelFileError(f"holds two tensors for one encoder: {', '.join(sorted(tensors))}")
        return by_encoder

    def _encoder_of_width(self, width: int) -> str:
        """Return the first encoder with vectors of this width; if there is none, the first that takes embeddings."""
        takers = [encoder for encoder, own in self._widths.items() if own]
        found = (encoder for encoder in takers if self._widths[encoder] == width)
        return next(found, takers[0] if takers else next(iter(self._widths), "text_encoder"))

    def _check_width(self, encoder: str, width: int) -> None:
        if encoder not in self._widths:
            raise ModelFileError(f"is for {encoder}, which this model does not have: it was made for another model")
        if (own := self._widths[encoder]) is None:
            raise ModelFileError(
                f"needs {encoder}, whose graph takes no embeddings: export the model again with `tintype export` "
                "(OpenVINO's own runtime takes none)"
            )
        if own != width:
            raise ModelFileError(f"must have vectors of {own} numbers for {encoder} of this model, not {width}")


def _check_vectors(key: str, tensor: Array) -> None:
    if tensor.ndim != 2 or not 1 <= len(tensor) <= MAX_VECTORS or not np.isfinite(tensor).all():
        shape = list(tensor.shape)
        raise ModelFileError(f"must hold 1 to {MAX_VECTORS} vectors of finite numbers, not {key!r} of shape {shape}")
