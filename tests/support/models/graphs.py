"""Graphs with known results, in place of onnxruntime's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from tintype.service.models.adapters.adapters import Adapters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tintype.service.models.runtime.session import Session


NONE = Adapters(Path("nowhere"), {})
"""No adapters."""


def as_session(graph: object) -> Session:
    """Return a test's graph typed as the session that it replaces."""
    return cast("Session", graph)


class TextGraph:
    """A text encoder whose embeddings are the ids [1, tokens, 1], plus 100 where the mask is 0.

    The pooled output is the sum of the first chunk's ids. `calls` counts the calls, `fed` holds the last one's inputs.
    """

    outputs = ("last_hidden_state", "hidden_states.0", "hidden_states.1", "hidden_states.2", "pooler_output")

    def __init__(self, *, masked: bool = False, placed: bool = False) -> None:
        self.inputs: dict[str, None] = {"input_ids": None}
        self.inputs |= {"attention_mask": None} if masked else {}
        self.inputs |= {"position_ids": None} if placed else {}
        self.fed: Mapping[str, NDArray[np.int64]] = {}
        self.calls = 0
        self.asked: list[str] = []

    def require(self, *, inputs: tuple[str, ...], output: str, optional: tuple[str, ...]) -> None:
        assert (inputs, optional) == (("input_ids",), ("attention_mask", "position_ids", "image_embeds"))
        assert output in self.outputs

    def compute(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        assert feeds.keys() == self.inputs.keys()
        self.calls += 1
        self.fed = feeds
        self.asked = list(outputs)
        ids = feeds["input_ids"]
        hidden = (1 - feeds.get("attention_mask", np.ones_like(ids))) * 100
        embeds = (ids + hidden)[..., None].astype(np.float32)
        return [ids.sum(1, keepdims=True).astype(np.float32) if "pool" in name else embeds for name in outputs]
