"""Read the source as torch modules with float32 weights, and round weights to float16.

Few machines have enough memory for a large pipeline in float32. So the reader first makes an outline, the structure of
each part without weights, and then reads one part at a time.
"""

from __future__ import annotations

import contextlib
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers

from .console import quiet
from .errors import ExportRefusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .source import Source

# The safety checker does not take part in generation; the processor of texts with images is replaced (qwen_processor),
# and rewrites no prompts.
LEFT_OUT = {"safety_checker": None, "requires_safety_checker": False, "processor": None, "text_processor": None}
# torch's device for tensors that have shapes but no values.
META = "meta"


class PipelineReader:
    """Reads the whole pipeline of a source, its outline, or one part. A hub repository is first downloaded completely.

    Raises ExportRefusal for a missing or damaged file.
    """

    def __init__(self, source: Source) -> None:
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        self._source = source
        self._pipeline: Any
        with self._translate_errors():
            self._pipeline = getattr(diffusers, source.pipeline)
            self._folder = self._local_folder()
            index = json.loads((self._folder / "model_index.json").read_text(encoding="utf-8"))
        self._named = {part: index[part] for part in source.family.parts if part not in source.absent}

    def read_whole(self) -> Any:
        """Return diffusers' pipeline in float32 on the CPU."""
        with self._translate_errors():
            return self._read(torch_dtype=torch.float32)

    def read_outline(self) -> Any:
        """Return diffusers' pipeline, whose parts have no weights: they can be inspected, but not called."""
        with self._translate_errors():
            return self._read(**{part: self._without_weights(part) for part in self._named})

    def read_part(self, part: str) -> torch.nn.Module:
        """Return one part of the pipeline in float32 on the CPU."""
        with self._translate_errors():
            module: torch.nn.Module = self._class(part).from_pretrained(
                self._folder, subfolder=part, torch_dtype=torch.float32
            )
            return module

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that become graphs."""
        return tuple(self._named)

    @property
    def folder(self) -> Path:
        """The local folder of the source."""
        return self._folder

    def _local_folder(self) -> Path:
        folder = Path(self._source.location)
        return folder if folder.is_dir() else Path(self._pipeline.download(self._source.location, **LEFT_OUT))

    def _read(self, **options: Any) -> Any:
        return self._pipeline.from_pretrained(self._folder, **LEFT_OUT, **dict.fromkeys(self._source.absent), **options)

    def _class(self, part: str) -> Any:
        """Return a part's class; its library may be a package of diffusers.pipelines, as Kolors' is."""
        library, name = self._named[part]
        return getattr(getattr(diffusers.pipelines, library, None) or import_module(library), name)

    def _without_weights(self, part: str) -> torch.nn.Module:
        """Return a part's module, built from its configuration."""
        kind = self._class(part)
        with torch.device(META):
            if issubclass(kind, diffusers.ModelMixin):
                module: torch.nn.Module = kind.from_config(kind.load_config(self._folder, subfolder=part))
            else:
                module = kind(kind.config_class.from_pretrained(self._folder, subfolder=part))
        return module

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            with quiet():
                yield
        except (OSError, ValueError, RuntimeError, TypeError, AttributeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            raise ExportRefusal(f"{self._source.location} cannot be read by diffusers: {reason}") from None


def count_weights(module: torch.nn.Module) -> int:
    """Return the number of weights of a module, which may be part of an outline."""
    return sum(weight.numel() for weight in module.parameters())


def round_to_half(module: torch.nn.Module) -> float:
    """Round the weights in place to float16's precision; return the largest change.

    A tensor with values beyond float16's range is left unchanged.
    """
    largest = 0.0
    with torch.no_grad():
        for weight in module.parameters():
            rounded = weight.half().float()
            if torch.isfinite(rounded).all():
                largest = max(largest, float((rounded - weight).abs().max()))
                weight.copy_(rounded)
    return largest
