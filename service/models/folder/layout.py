"""The interface of a model's files: what a reader needs from a folder or a file, whatever their arrangement is.

A layout answers by the paths of an ONNX folder (`unet/config.json`, `vae_decoder/config.json`, `scheduler/…`), so the
reader and everything after it know one arrangement only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..family import Family, TextEncoderSpec
    from ..graph_source import GraphSource

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
ABSENT = [None, None]  # library and class of a component that model_index.json says is missing


class Layout(Protocol):
    """The files of one model.

    `name` is the model's name unless tintype.json has another. `folder` has the model's `tintype.json`, adapters and
    embeddings; it may be missing.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def folder(self) -> Path: ...  # noqa: D102

    def json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """Return the JSON object at a path such as `unet/config.json`; {} if it is `optional` and missing.

        Raises:
            ModelFileError: it is missing, or not a JSON object.
        """

    def has(self, family: Family, component: str) -> bool:
        """Return whether the model has the graph of a component, without reading it."""

    def missing(self, family: Family, listed: Mapping[str, str], index: Mapping[str, Any]) -> Iterator[str]:
        """Yield a message for each file that is missing.

        `listed` are the files that tintype.json lists, `index` is model_index.json.
        """

    def graphs(self, family: Family) -> dict[str, GraphSource]:
        """Return the graphs of all components that the model has, by component.

        Raises:
            ModelFileError: a component cannot be served; each fault is named.
        """

    def tokenizer(self, encoder: TextEncoderSpec) -> Path:
        """Return the folder of a text encoder's tokenizer."""
