"""Where a component's graph and its weights come from: an ONNX file, or a template that published weights fill.

A runtime opens a source and makes a session of its content. Nothing else knows which kind of source it is.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from . import external_data
from .files import component_bytes, component_files, label

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path


SharedFiles: TypeAlias = "Mapping[tuple[Path, ...], str]"
"""The files of components that several models have, each with the digest of its content."""


class GraphContent(NamedTuple):
    """A graph as a runtime reads it: its file or its bytes, and the folder of its external data.

    `folder` is None for the folder of the file. Names of external data are relative to it.
    """

    model: Path | bytes
    folder: Path | None = None


class GraphSource(Protocol):
    """The graph of one component. Equal sources give equal graphs; a source may be a key of a mapping."""

    @property
    def component(self) -> str:
        """The component's folder in the family, such as `unet`."""

    @property
    def label(self) -> str:
        """The file, with its folder, for messages."""

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights once they are in memory."""

    def bytes_on(self, provider: str) -> int:
        """Return the bytes of the weights in memory with a provider."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the graph and its weights are read from."""

    @property
    def choices(self) -> Hashable:
        """All that the graph depends on except the content of its files."""

    def open(self, provider: str) -> AbstractContextManager[GraphContent]:
        """Return the content for a session of `provider`, which is valid inside the block.

        Raises:
            ModelFileError: a file is missing, damaged or refused.
            OSError: a file cannot be read, or the disk is full.
        """


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """The graph in an ONNX file, `COMPONENT/model.onnx`, with its weights in the same folder.

    `widening` is the ratio of bytes in memory to bytes on disk.
    """

    path: Path
    widening: int = 1

    @property
    def component(self) -> str:
        """The name of the file's folder."""
        return self.path.parent.name

    @property
    def label(self) -> str:
        """The file with its folder."""
        return label(self.path)

    @property
    def weights_bytes(self) -> int:
        """Bytes of the file and its external data, once they are in memory."""
        return component_bytes(self.path.parent) * self.widening

    def bytes_on(self, provider: str) -> int:  # noqa: ARG002 - the same for all
        """Return the bytes of the weights in memory."""
        return self.weights_bytes

    @property
    def files(self) -> tuple[Path, ...]:
        """The file and its external data."""
        return component_files(self.path.parent)

    @property
    def choices(self) -> Hashable:
        """The bytes in memory for each one on disk."""
        return self.widening

    @contextmanager
    def open(self, provider: str) -> Iterator[GraphContent]:  # noqa: ARG002 - the same for all
        """Yield the file, once its weights are known to be in its folder."""
        external_data.check(self.path)
        yield GraphContent(self.path)
