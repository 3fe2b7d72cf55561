"""Names under which published files store a parameter when they do not store it under its own.

diffusers and transformers rename these when they load a model, and so does the service. A rule replaces the end of a
name, so that it holds for names with a prefix as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .pieces import Naming, Piece

RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # T5's input embedding is one parameter with two names; a file has either or both.
        (r"(?:^|(?<=\.))shared\.weight$", "encoder.embed_tokens.weight"),
        (r"(?:^|(?<=\.))encoder\.embed_tokens\.weight$", "shared.weight"),
        # Attention of VAEs that diffusers saved before version 0.15, among them Stable Diffusion 1.5's.
        (r"(?<=attentions\.\d)\.to_q\.(weight|bias)$", r".query.\1"),
        (r"(?<=attentions\.\d)\.to_k\.(weight|bias)$", r".key.\1"),
        (r"(?<=attentions\.\d)\.to_v\.(weight|bias)$", r".value.\1"),
        (r"(?<=attentions\.\d)\.to_out\.0\.(weight|bias)$", r".proj_attn.\1"),
        # CLIP's text encoder as transformers 5 saves one that it did not read from a file.
        (r"^text_model\.", ""),
        # Gemma, saved with or without the head that continues a text.
        (r"^(embed_tokens|layers|norm)\.", r"model.\1."),
        # Language models that read images, and their vision towers, as transformers 4.52 and later save them.
        (r"^(embed_tokens|layers|norm)\.", r"model.language_model.\1."),
        (r"^(embed_tokens|layers|norm)\.", r"language_model.model.\1."),
        (r"^(embed_tokens|layers|norm)\.", r"language_model.\1."),
        (r"^visual\.", "model.visual."),
    )
)


def aliases(name: str) -> Iterator[str]:
    """Yield the other names under which a file may store a tensor."""
    return (pattern.sub(replacement, name) for pattern, replacement in RULES if pattern.search(name))


def with_aliases(naming: Naming, stored: Container[str]) -> Naming:
    """Return a naming whose pieces are those of `naming`, under the names that `stored` has."""

    def find(piece: Piece) -> Piece:
        if piece.name in stored:
            return piece
        return piece._replace(name=next((name for name in aliases(piece.name) if name in stored), piece.name))

    return lambda parameter: tuple(map(find, naming(parameter)))
