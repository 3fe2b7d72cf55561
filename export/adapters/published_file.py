"""Published adapters on the command line: where PEFT's metadata is, and errors that name the file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tintype.service.models.adapters.adapter_file import AdapterFile
from tintype.service.models.files import ModelFileError, label
from tintype.service.models.safetensors import TensorFile

from ..errors import ExportRefusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PEFT_CONFIG = "adapter_config.json"
"""PEFT's metadata, in the folder of the adapter."""


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Raise a ModelFileError of an adapter as ExportRefusal, with the path of the file."""
    try:
        yield
    except ModelFileError as error:
        problem = str(error).removeprefix(label(path)).lstrip(": ")
        raise ExportRefusal(f"{path}: {problem}") from None


def read(path: Path, denoiser: str) -> AdapterFile:
    """Read the header of an adapter file; PEFT's metadata applies to the component `denoiser`. Raises ExportRefusal."""
    with refusals(path):
        AdapterFile(TensorFile(path, most=2**63), denoiser, path.with_name(PEFT_CONFIG))
        # With the size limit only now: wrong contents are reported before a wrong size.
        return AdapterFile(TensorFile(path), denoiser, path.with_name(PEFT_CONFIG))
