"""Embedding files (textual inversion): names in prompts for learned vectors.

Textual inversion is Gal et al. 2208.01618. A file is `embeddings/NAME.safetensors` in the model's folder, in a
published layout: `emb_params` (web UI), one tensor under any name (diffusers), or `clip_l` and `clip_g` (SDXL), each
[dim] or [vectors, dim]. A request names files; each NAME in its prompts then is a token as diffusers'
`load_textual_inversion` adds it, and the tokens of several files have ids in the order in which the request names them.

The vectors are an optional input of the encoder's graph, [rows, dim]: an id from `FIRST_ID` on is a row of it. The ids
are above those of any vocabulary, because CLIP looks for the end of a text at the largest id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InvalidField
from ..files import ModelFileError
from ..runtime.array_cache import freeze
from ..safetensors import read_tensors
from .added_tokens import AddedToken

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..model import Array

FOLDER, SUFFIX = "embeddings", ".safetensors"
PICKLED = (".pt", ".bin", ".pth", ".ckpt")
INPUT = "embeddings"
FIRST_ID = 2**30
MOST_BYTES = 4 * 2**20  # 75 vectors for both of SDXL's encoders take 0.6 MB
MOST_VECTORS = 75
KEPT = 32  # files that stay in memory
# The encoders of tensors that are named after them: as the web UI does, and as older trainers did.
ENCODERS = {
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
    "text_encoders_0": "text_encoder",
    "text_encoders_1": "text_encoder_2",
}


def names(folder: Path) -> tuple[str, ...]:
    """Return the embeddings that a model's folder holds, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in (folder / FOLDER).glob(f"*{SUFFIX}")))


def pickled(folder: Path) -> tuple[str, ...]:
    """Return the pickled files, sorted; reading a pickle can run code."""
    return tuple(sorted(path.name for path in (folder / FOLDER).glob("*") if path.suffix in PICKLED))


def advice(name: str, files: tuple[str, ...]) -> str:
    """Return advice if only a pickled file has the name; else nothing."""
    found = next((file for file in files if file.rpartition(".")[0] == name), "")
    return f"{FOLDER}/{found} is a pickle, which can run code: convert it to {name}{SUFFIX}" if found else ""


class Embeddings:
    """The embeddings of one model.

    `widths` are those of its encoders' vectors, None for one that takes none.
    """

    def __init__(self, folder: Path, widths: Mapping[str, int | None]) -> None:
        self._folder, self._widths = folder, widths
        self._load = lru_cache(KEPT)(self._read)
        self._fed = lru_cache(KEPT)(self._joined)

    def tokens(self, encoder: str, chosen: tuple[str, ...]) -> list[AddedToken]:
        """Return the tokens that an encoder's tokenizer is to know.

        Raises InvalidField, with the reason.
        """
        tokens: list[AddedToken] = []
        for name in chosen:
            count = len(self._vectors(name).get(encoder, ()))
            contents = [name, *(f"{name}_{number}" for number in range(1, count))][:count]
            tokens += [AddedToken(content, FIRST_ID + len(tokens) + n) for n, content in enumerate(contents)]
        return tokens

    def vectors(self, encoder: str, chosen: tuple[str, ...]) -> Array:
        """Return the vectors [rows, dim] of the tokens, read-only.

        Rows are filled up to a multiple of 75.
        """
        return self._fed(encoder, chosen)

    def _joined(self, encoder: str, chosen: tuple[str, ...]) -> Array:
        rows = [self._vectors(name)[encoder] for name in chosen if encoder in self._vectors(name)]
        joined = np.concatenate(rows)
        # Few lengths: a provider may prepare itself for each that it sees.
        made: Array = freeze(np.pad(joined, ((0, -len(joined) % MOST_VECTORS), (0, 0))))
        return made

    def _vectors(self, name: str) -> dict[str, Array]:
        try:
            return self._load(name)
        except ModelFileError as error:
            raise InvalidField("embeddings", f"embedding {name!r} {error}") from error

    def _read(self, name: str) -> dict[str, Array]:
        """Return the vectors of a file by encoder.

        Raises ModelFileError.
        """
        path = self._folder / FOLDER / f"{name}{SUFFIX}"
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise ModelFileError(f"has {path.stat().st_size} bytes, and may have {MOST_BYTES}")
        tensors = {key: np.atleast_2d(tensor) for key, tensor in read_tensors(path).items()}
        for key, tensor in tensors.items():
            if tensor.ndim != 2 or not 1 <= len(tensor) <= MOST_VECTORS or not np.isfinite(tensor).all():
                shape = list(tensor.shape)
                raise ModelFileError(
                    f"holds {key!r} of shape {shape}; it must be 1 to {MOST_VECTORS} vectors of finite numbers"
                )
        if len(tensors) == 1 and not tensors.keys() & ENCODERS.keys():
            (tensor,) = tensors.values()
            return {self._of_width(tensor.shape[1]): tensor}
        if not tensors or not tensors.keys() <= ENCODERS.keys():
            raise ModelFileError(
                f"holds {', '.join(sorted(tensors)[:5])}; it must hold one tensor, or clip_l and clip_g"
            )
        parts = {ENCODERS[key]: tensor for key, tensor in tensors.items()}
        if len(parts) < len(tensors):
            raise ModelFileError(f"holds {', '.join(sorted(tensors))}: two tensors for one encoder")
        for encoder, tensor in parts.items():
            self._check(encoder, tensor.shape[1])
        return parts

    def _of_width(self, width: int) -> str:
        """Return the first encoder with vectors of this width."""
        takers = [encoder for encoder, own in self._widths.items() if own]
        found = next((encoder for encoder in takers if self._widths[encoder] == width), None)
        if found is None:
            self._check(takers[0] if takers else next(iter(self._widths), "text_encoder"), width)
        assert found  # noqa: S101
        return found

    def _check(self, encoder: str, width: int) -> None:
        if encoder not in self._widths:
            raise ModelFileError(f"is for {encoder}, which this model does not have: it was made for another one")
        if (own := self._widths[encoder]) is None:
            raise ModelFileError(
                f"needs the {encoder}, whose graph takes none: export the model again with `tintype export` "
                "(OpenVINO's own runtime takes none)"
            )
        if own != width:
            raise ModelFileError(f"has vectors of {width} numbers, and the {encoder} of this model takes {own}")
