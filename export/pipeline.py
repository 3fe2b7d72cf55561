"""The source as torch modules, with float32 weights, and rounded where half of the bits must do.

Few machines hold a large pipeline in float32. So it is outlined first, with the structure of each part and no weights,
and its parts are read one at a time.
"""

from __future__ import annotations

import contextlib
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch

from .errors import Refused
from .quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .source import Source

# The safety checker is no part of drawing.
LEFT_OUT = {"safety_checker": None, "requires_safety_checker": False}
# torch's device where tensors have shapes, and no values.
NOWHERE = "meta"


class Reader:
    """What `source` holds: the whole pipeline, its outline, or one part. A repository is fetched first, all of it.

    Raises Refused where something is missing or damaged.
    """

    def __init__(self, source: Source) -> None:
        diffusers.utils.logging.disable_progress_bar()
        self._source = source
        self._pipeline: Any
        with self._refusing():
            self._pipeline = getattr(diffusers, source.pipeline)
            self._folder = self._fetched()
            index = json.loads((self._folder / "model_index.json").read_text(encoding="utf-8"))
        self._named = {part: index[part] for part in source.family.parts if part not in source.absent}

    def whole(self) -> Any:
        """Return diffusers' pipeline, float32, on the CPU."""
        with self._refusing():
            return self._read(torch_dtype=torch.float32)

    def outline(self) -> Any:
        """Return diffusers' pipeline with parts that have no weights; they can be asked for all but work."""
        with self._refusing():
            return self._read(**{part: self._bare(part) for part in self._named})

    def part(self, part: str) -> torch.nn.Module:
        """Return one part of the pipeline, float32, on the CPU."""
        with self._refusing():
            module: torch.nn.Module = self._class(part).from_pretrained(
                self._folder, subfolder=part, torch_dtype=torch.float32
            )
            return module

    @property
    def parts(self) -> tuple[str, ...]:
        """Which parts there are that become graphs."""
        return tuple(self._named)

    @property
    def folder(self) -> Path:
        """Where the source is, on this machine."""
        return self._folder

    def _fetched(self) -> Path:
        folder = Path(self._source.location)
        return folder if folder.is_dir() else Path(self._pipeline.download(self._source.location, **LEFT_OUT))

    def _read(self, **given: Any) -> Any:
        return self._pipeline.from_pretrained(self._folder, **LEFT_OUT, **dict.fromkeys(self._source.absent), **given)

    def _class(self, part: str) -> Any:
        library, name = self._named[part]
        return getattr(import_module(library), name)

    def _bare(self, part: str) -> torch.nn.Module:
        """Return the structure of a part, by its configuration."""
        kind = self._class(part)
        with torch.device(NOWHERE):
            if issubclass(kind, diffusers.ModelMixin):
                module: torch.nn.Module = kind.from_config(kind.load_config(self._folder, subfolder=part))
            else:
                module = kind(kind.config_class.from_pretrained(self._folder, subfolder=part))
        return module

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            with quiet():
                yield
        except (OSError, ValueError, RuntimeError, TypeError, AttributeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            raise Refused(f"{self._source.location} can't be read by diffusers: {reason}") from None


def parameters(module: torch.nn.Module) -> int:
    """Count the weights of a module, which needs to have none."""
    return sum(weight.numel() for weight in module.parameters())


def round_to_half(module: torch.nn.Module) -> float:
    """Round the weights, in place, to what float16 holds; those beyond its range stay. Return the largest change."""
    largest = 0.0
    with torch.no_grad():
        for weight in module.parameters():
            rounded = weight.half().float()
            if torch.isfinite(rounded).all():
                largest = max(largest, float((rounded - weight).abs().max()))
                weight.copy_(rounded)
    return largest
